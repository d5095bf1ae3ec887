"""Biases corrected for the mean error of rounding: a file that departs less from its network, at no bytes.

What rounding does to a layer is much the same for every image. A large part of it is a shift of each channel, which the
bias can take back: the empirical correction of Nagel and others 2019 (https://arxiv.org/abs/1906.04721, appendix D),
layer by layer, so that each is given what the corrected layers before it make.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from copy import copy
from typing import Any, NamedTuple

import numpy as np

from recipes.tflite.file import TFLiteFile
from recipes.tflite.writing import packed, unpacked

_BIAS = 2  # which input of an operation it is
_LIMITS = {1: (0.0, np.inf), 2: (-1.0, 1.0), 3: (0.0, 6.0)}  # of the activation in an operation: ReLU, -1 to 1, ReLU6
_LEAST = 0.05  # of a channel's values lie between the limits, or its bias stays: a few values tell nothing


class _Bias(NamedTuple):
    output: str  # name of what the operation makes
    limits: tuple[float, float]  # of that
    buffer: Any
    dtype: str
    scale: np.ndarray  # (C,), what 1 is worth in it


class _Means(NamedTuple):
    values: np.ndarray  # (C,)
    between: np.ndarray  # (C,), the share of the values that is between the limits


def corrected(file: TFLiteFile, exact: TFLiteFile, opened: Callable[[bytes], TFLiteFile], images: np.ndarray) -> bytes:
    """The file with biases by which each channel has the mean that it has in float32.

    Args:
        file: of integers, all of it or in part.
        exact: its float32 twin, which keeps all values, see `TFLiteFile`.
        opened: opens a file so that it keeps all values.
        images: uint8 (N, H, W, C), some dozens of those that were learnt from.
    """
    model = unpacked(file.content)
    biases = _biases(model)
    wanted = _means(exact, biases, images)
    for bias in biases:
        if bias.output not in wanted:  # it is another graph's, or between two that the converter made of one
            continue
        aim, now = wanted[bias.output], _means(opened(packed(model)), [bias], images)[bias.output]
        # What is at a limit stays there: the mean moves by what the other values move.
        shift = (aim.values - now.values) / np.maximum(now.between, _LEAST)
        levels = np.where(now.between < _LEAST, 0.0, shift) / bias.scale
        old = np.asarray(bias.buffer.data, np.uint8).view(bias.dtype)
        new = old + (levels if bias.dtype == "<f4" else levels.round())
        bias.buffer.data = new.astype(bias.dtype).view(np.uint8)
    return packed(model)


def _biases(model: Any) -> list[_Bias]:
    """The biases of a graph in the order of its operations; equal ones, which share a buffer, are parted."""
    from ai_edge_litert.schema_py_generated import BufferT, TensorType

    dtypes = {TensorType.FLOAT32: "<f4", TensorType.INT32: "<i4"}
    graph, found = model.subgraphs[0], []
    tensors_used = Counter(number for operator in graph.operators for number in set(operator.inputs))
    buffers_used = Counter(tensor.buffer for tensor in graph.tensors)
    for operator in graph.operators:
        number = operator.inputs[_BIAS] if len(operator.inputs) > _BIAS else -1
        activation = getattr(operator.builtinOptions, "fusedActivationFunction", None)
        if number < 0 or activation is None:
            continue
        tensor = graph.tensors[number]
        data = model.buffers[tensor.buffer].data
        if tensor.type not in dtypes or data is None:  # it is computed
            continue
        if tensors_used[number] > 1:
            tensor = copy(tensor)
            operator.inputs = [*operator.inputs[:_BIAS], len(graph.tensors), *operator.inputs[_BIAS + 1 :]]
            graph.tensors.append(tensor)
        if tensors_used[number] > 1 or buffers_used[tensor.buffer] > 1:
            tensor.buffer = len(model.buffers)
            model.buffers.append(BufferT())
        buffer, dtype = model.buffers[tensor.buffer], dtypes[tensor.type]
        buffer.data = data
        output = graph.tensors[operator.outputs[0]].name.decode()
        scale = np.ones(1) if dtype == "<f4" else np.asarray(tensor.quantization.scale, float)
        found.append(_Bias(output, _LIMITS.get(activation, (-np.inf, np.inf)), buffer, dtype, scale))
    return found


def _means(file: TFLiteFile, biases: Sequence[_Bias], images: np.ndarray) -> dict[str, _Means]:
    """Of what the operations with these biases make, by name; of those that the file has."""
    numbers = {tensor.name: number for number, tensor in reversed(list(enumerate(file.graph.tensors)))}
    there = [bias for bias in biases if bias.output in numbers]
    rows: dict[str, list[tuple[np.ndarray, np.ndarray]]] = {bias.output: [] for bias in there}
    for image in images:
        file.set_input(image)
        file.invoke()
        for bias in there:
            values, (low, high) = file.tensor(numbers[bias.output]), bias.limits
            values = values.reshape(-1, values.shape[-1])
            rows[bias.output].append((values.mean(axis=0), ((values > low) & (values < high)).mean(axis=0)))
    return {name: _Means(*(np.mean(column, axis=0) for column in zip(*row, strict=True))) for name, row in rows.items()}
