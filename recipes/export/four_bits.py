"""Weights of four bits in an integer file: int4 tensors in place of int8 ones of which no more is used."""

from typing import Any

import numpy as np

from recipes.tflite.writing import packed, unpacked

FINEST, COARSEST = 127, 7  # the largest integers of a weight of eight and of four bits
# By operation the place of its bias; the weights are the input before it.
_BIAS = {"CONV_2D": 2, "DEPTHWISE_CONV_2D": 2, "FULLY_CONNECTED": 2}


def with_four_bits(content: bytes) -> bytes:
    """A file whose weights are on 15 levels a channel, with these levels as int4; values between layers stay int8.

    The converter writes level k of 7 as the int8 nearest to 127 k / 7. Here it is k again, its scale 127 / 7 times
    as large, and so are those of the biases: the sums are those of a model that was trained with four bits.
    Weights that are on other levels, as those of a blur, stay as they are.
    """
    from ai_edge_litert import schema_py_generated as schema

    model = unpacked(content)
    codes = {getattr(schema.BuiltinOperator, name): place for name, place in _BIAS.items()}
    for graph in model.subgraphs:
        made: set[int] = set()
        for operator in graph.operators:
            code = model.operatorCodes[operator.opcodeIndex]
            place = codes.get(max(code.builtinCode, code.deprecatedBuiltinCode))
            if place is None:
                continue
            weights = graph.tensors[operator.inputs[place - 1]]
            bias = graph.tensors[operator.inputs[place]] if operator.inputs[place] >= 0 else None
            if operator.inputs[place - 1] not in made and not _narrowed(model, weights, schema):
                continue
            made |= {int(operator.inputs[place - 1])}
            if bias is not None and operator.inputs[place] not in made:
                made |= {int(operator.inputs[place])}
                buffer = model.buffers[bias.buffer]
                sums = np.asarray(buffer.data, np.uint8).view("<i4")
                buffer.data = np.round(sums * (COARSEST / FINEST)).astype("<i4").view(np.uint8)
                _coarsen(bias)
    return packed(model)


def _narrowed(model: Any, weights: Any, schema: Any) -> bool:
    """Whether weights had no more than 15 levels, and have four bits now."""
    data = model.buffers[weights.buffer].data
    if weights.type != schema.TensorType.INT8 or data is None:
        return False
    values = np.asarray(data, np.uint8).view(np.int8).astype(float)
    levels = np.round(values * COARSEST / FINEST)
    if not np.array_equal(np.round(levels * FINEST / COARSEST), values):
        return False
    nibbles = levels.astype(np.int8).view(np.uint8) & 15
    nibbles = np.append(nibbles, np.zeros(len(nibbles) % 2, np.uint8))
    model.buffers[weights.buffer].data = nibbles[::2] | nibbles[1::2] << 4  # the first in the lower half
    weights.type = schema.TensorType.INT4
    _coarsen(weights)
    return True


def _coarsen(tensor: Any) -> None:
    scales = np.asarray(tensor.quantization.scale, np.float64) * (FINEST / COARSEST)
    tensor.quantization.scale = scales.astype(np.float32)
