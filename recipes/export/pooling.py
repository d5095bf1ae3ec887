"""Average pooling of an int8 file as the convolution that it is.

XNNPACK, which runs TFLite's convolutions on a CPU, has no average pooling of int8 values: the graph is cut in pieces
around it, and what is between them is copied. A depthwise convolution whose weights are all the same computes the same
means, to a level, in one piece.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from recipes.tflite.writing import packed, unpacked

MOST = 16  # places that a mean is taken over: of more, another kernel is faster, and its weights are many
_LEVELS = 127  # of the weights: all are the largest int8
_VERSION = 3  # of the depthwise convolution that has int8 values and a scale a channel


def pooling_as_convolution(content: bytes) -> bytes:
    """The file of int8 values with its average pooling, where it has no padding, as depthwise convolutions."""
    from ai_edge_litert import schema_py_generated as schema

    model = unpacked(content)
    graph, pool, depthwise = model.subgraphs[0], schema.BuiltinOperator.AVERAGE_POOL_2D, None
    for operator in graph.operators:
        given = graph.tensors[operator.inputs[0]]
        old = operator.builtinOptions
        if model.operatorCodes[operator.opcodeIndex].builtinCode != pool or given.type != schema.TensorType.INT8:
            continue
        places = old.filterHeight * old.filterWidth
        if old.padding != schema.Padding.VALID or places > MOST:
            continue
        if depthwise is None:
            depthwise = _code(model, schema.BuiltinOperator.DEPTHWISE_CONV_2D)
        channels, scale = int(given.shape[-1]), 1 / (_LEVELS * places)
        shape = (1, old.filterHeight, old.filterWidth, channels)
        kernel = _constant(model, b"mean/kernel", np.full(shape, _LEVELS, np.int8), [scale] * channels, axis=3)
        own = float(given.quantization.scale[0]) * scale
        bias = _constant(model, b"mean/bias", np.zeros(channels, np.int32), [own] * channels)
        options = schema.DepthwiseConv2DOptionsT()
        options.padding, options.strideH, options.strideW = old.padding, old.strideH, old.strideW
        options.depthMultiplier, options.fusedActivationFunction = 1, old.fusedActivationFunction
        operator.opcodeIndex, operator.inputs = depthwise, [operator.inputs[0], kernel, bias]
        operator.builtinOptionsType, operator.builtinOptions = schema.BuiltinOptions.DepthwiseConv2DOptions, options
    return content if depthwise is None else packed(model)


def _code(model: Any, number: int) -> int:
    """The place of an operation among those of the model, which it is added to if it is not there."""
    from ai_edge_litert.schema_py_generated import OperatorCodeT

    for place, code in enumerate(model.operatorCodes):
        if code.builtinCode == number:
            code.version = max(code.version, _VERSION)
            return place
    code = OperatorCodeT()
    code.builtinCode = code.deprecatedBuiltinCode = number
    code.version = _VERSION
    model.operatorCodes.append(code)
    return len(model.operatorCodes) - 1


def _constant(model: Any, name: bytes, values: np.ndarray, scales: Sequence[float], axis: int = 0) -> int:
    """The place of a new tensor among those of the graph."""
    from ai_edge_litert import schema_py_generated as schema

    buffer, tensor, graph = schema.BufferT(), schema.TensorT(), model.subgraphs[0]
    buffer.data = np.frombuffer(values.tobytes(), np.uint8)
    tensor.name, tensor.shape, tensor.buffer = name, list(values.shape), len(model.buffers)
    tensor.type = {"int8": schema.TensorType.INT8, "int32": schema.TensorType.INT32}[values.dtype.name]
    tensor.quantization = schema.QuantizationParametersT()
    tensor.quantization.scale, tensor.quantization.zeroPoint = list(scales), [0] * len(scales)
    tensor.quantization.quantizedDimension = axis
    model.buffers.append(buffer)
    graph.tensors.append(tensor)
    return len(graph.tensors) - 1
