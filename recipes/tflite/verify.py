"""Whether a graph is one that an interpreter can be given: LiteRT trusts what a converter writes, and crashes.

Of operations that image classifiers are made of, operands are counted and their types compared; of all others only
what every graph must keep to. What is left is for the child process, see `recipes.tflite.isolated`.
"""

import math
import re

from recipes.tflite.flatbuffer import DamageError
from recipes.tflite.graph import Graph, Operator, Tensor, width

MAX_RANK = 8  # of a tensor: the most that LiteRT's kernels take
_SCALES = (1e-30, 1e30)  # products of three stay finite
_LIMITS = {"int8": (-128, 127), "uint8": (0, 255), "int16": (-(2**15), 2**15 - 1), "int4": (-8, 7)}
_QUANTISED = ("int8", "uint8", "int16")
# Operands of each kind, in order, and what is made of them: x is a value, all of one type; w and b are weights and
# biases, see `_WEIGHTS`; i is int32 or int64; c is bool; a is anything. ? may be missing, + is one or more.
_OPERANDS = {
    "CONV_2D": "xwb x",
    "DEPTHWISE_CONV_2D": "xwb x",
    "FULLY_CONNECTED": "xwb? x",
    "TRANSPOSE_CONV": "iwxb? x",
    "BATCH_MATMUL": "aa a",
    "QUANTIZE": "a a",
    "DEQUANTIZE": "a a",
    "CAST": "a a",
    "SHAPE": "a i",
    "SELECT_V2": "cxx x",
    "SELECT": "cxx x",
    "PRELU": "xx x",
    "ARG_MAX": "xi i",
    "ARG_MIN": "xi i",
    "PADV2": "xix x",
    "STRIDED_SLICE": "xiii x",
    "SLICE": "xii x",
    "TRANSPOSE": "xi x",
    "TILE": "xi x",
    "GATHER": "xi x",
    "EXPAND_DIMS": "xi x",
    "BROADCAST_TO": "xi x",
    "PAD": "xi x",
    "MIRROR_PAD": "xi x",
    "RESHAPE": "xi? x",
    "RESIZE_BILINEAR": "xi x",
    "RESIZE_NEAREST_NEIGHBOR": "xi x",
    "SPLIT": "ix x+",
    "SPLIT_V": "xii x+",
    "UNPACK": "x x+",
    "CONCATENATION": "x+ x",
    "PACK": "x+ x",
    "ADD_N": "x+ x",
    **dict.fromkeys(("MEAN", "SUM", "REDUCE_MAX", "REDUCE_MIN", "REDUCE_PROD"), "xi x"),
    **dict.fromkeys(("ADD", "SUB", "MUL", "DIV", "MAXIMUM", "MINIMUM", "POW", "SQUARED_DIFFERENCE"), "xx x"),
    **dict.fromkeys(("EQUAL", "NOT_EQUAL", "GREATER", "GREATER_EQUAL", "LESS", "LESS_EQUAL"), "xx c"),
    **dict.fromkeys(("RELU", "RELU6", "RELU_N1_TO_1", "RELU_0_TO_1", "LEAKY_RELU", "ELU", "GELU", "HARD_SWISH"), "x x"),
    **dict.fromkeys(("LOGISTIC", "TANH", "SOFTMAX", "LOG_SOFTMAX", "L2_NORMALIZATION"), "x x"),
    **dict.fromkeys(("ABS", "NEG", "EXP", "LOG", "SQRT", "RSQRT", "SQUARE", "SIN", "COS", "FLOOR", "CEIL"), "x x"),
    **dict.fromkeys(("AVERAGE_POOL_2D", "MAX_POOL_2D", "L2_POOL_2D", "LOCAL_RESPONSE_NORMALIZATION"), "x x"),
    **dict.fromkeys(("SPACE_TO_DEPTH", "DEPTH_TO_SPACE", "SQUEEZE", "ZEROS_LIKE"), "x x"),
}
# For the type of the values, those that weights and biases may have.
_WEIGHTS = {
    "float32": (("float32", "int8", "uint8", "int4", "float16"), ("float32",)),
    "int8": (("int8", "int4", "int2"), ("int32",)),
    "uint8": (("uint8",), ("int32",)),
    "int16": (("int8", "int4", "int2"), ("int64", "int32")),
}
_INTEGERS = ("int32", "int64")
_MAY_BE_BARE = ("RESHAPE", "SQUEEZE", "EXPAND_DIMS", "STRIDED_SLICE", "SLICE", "TRANSPOSE", "GATHER", "TILE", "CAST")
# Axis of the weights that outputs are along.
_OUT_AXIS = {"CONV_2D": 0, "DEPTHWISE_CONV_2D": 3, "FULLY_CONNECTED": 0, "TRANSPOSE_CONV": 0}
_FROM_ONE = ("stride_w", "stride_h", "dilation_w", "dilation_h", "filter_w", "filter_h", "multiplier")
_NEEDED = {"CONV_2D": _FROM_ONE[:2], "DEPTHWISE_CONV_2D": _FROM_ONE[:2]} | dict.fromkeys(
    ("AVERAGE_POOL_2D", "MAX_POOL_2D", "L2_POOL_2D"), (*_FROM_ONE[:2], *_FROM_ONE[4:6])
)


def verify(graph: Graph) -> None:
    """Raises `DamageError` for a graph that no converter writes; custom operations are not looked at."""
    for tensor in graph.tensors:
        _verify_tensor(tensor)
    _verify_order(graph)
    for operator in graph.operators:
        _verify_operator(operator, graph.tensors)


def _verify_tensor(tensor: Tensor) -> None:
    name = repr(tensor.name[:60])
    if len(tensor.shape) > MAX_RANK or any(size < 0 for size in tensor.shape):
        raise DamageError(f"tensor {name} has the shape {list(tensor.shape[:9])}")
    fits = len(tensor.signature) == len(tensor.shape)
    if not fits or any(open_ not in (-1, size) for open_, size in zip(tensor.signature, tensor.shape, strict=True)):
        raise DamageError(f"tensor {name} {list(tensor.shape)} is said to be {list(tensor.signature[:9])}, too")
    if tensor.bytes and not tensor.sparse and tensor.dtype not in ("string", "resource", "variant"):
        per_byte = {"int4": 2, "uint4": 2, "int2": 4}.get(tensor.dtype, 1)
        asked = -(-math.prod(tensor.shape) * width(tensor.dtype) // per_byte)
        if asked != tensor.bytes:
            given = f"tensor {name} {list(tensor.shape)} of {tensor.dtype}"
            raise DamageError(f"{given} has {tensor.bytes:,} bytes, not {asked:,}")
    _verify_scales(tensor, name)


def _verify_scales(tensor: Tensor, name: str) -> None:
    scales, zeros = tensor.scales, tensor.zero_points
    if not scales or tensor.dtype == "float32":
        return
    if not all(_SCALES[0] <= scale <= _SCALES[1] for scale in scales):
        wrong = next(scale for scale in scales if not _SCALES[0] <= scale <= _SCALES[1])
        raise DamageError(f"tensor {name} has the scale {wrong}; allowed: numbers above 0")
    low, high = _LIMITS.get(tensor.dtype, (-(2**31), 2**31 - 1))
    if any(not low <= zero <= high for zero in zeros):
        raise DamageError(f"tensor {name} of {tensor.dtype} has a zero point outside of {low} to {high}")
    along = 0 <= tensor.channel_axis < len(tensor.shape) and tensor.shape[tensor.channel_axis]
    if len(scales) > 1 and len(scales) != along:
        shape = f"{list(tensor.shape)} along axis {tensor.channel_axis}"
        raise DamageError(f"tensor {name} {shape} has {len(scales)} scales")
    if len(zeros) not in (1, len(scales)):
        raise DamageError(f"tensor {name} has {len(scales)} scales and {len(zeros)} zero points")


def _verify_order(graph: Graph) -> None:
    """Every value is made once, before it is used, and constants are not written to."""
    known = {i for i, tensor in enumerate(graph.tensors) if tensor.bytes or tensor.variable}
    for what, places in (("input", graph.inputs), ("output", graph.outputs)):
        if -1 in places:
            raise DamageError(f"its {what} is no tensor")
    if known & set(graph.inputs):
        raise DamageError("its input is a constant")
    empty = {i for i, tensor in enumerate(graph.tensors) if 0 in tensor.shape}  # a constant without values has no bytes
    known |= set(graph.inputs) | empty
    for operator in graph.operators:
        if missing := {i for i in operator.inputs if i >= 0} - known:
            raise DamageError(f"{operator.kind} takes a value that nothing before it makes (tensor {min(missing)})")
        if not operator.outputs or -1 in operator.outputs or len(set(operator.outputs)) < len(operator.outputs):
            raise DamageError(f"{operator.kind} does not say what it makes")
        if (known - empty) & set(operator.outputs):
            raise DamageError(f"{operator.kind} writes over a value or a constant")
        known |= set(operator.outputs)
    if set(graph.outputs) - known:
        raise DamageError("nothing makes its output")


def _verify_operator(operator: Operator, tensors: tuple[Tensor, ...]) -> None:
    kind = operator.kind
    wrong = [name for name in _FROM_ONE if operator.options.get(name, 1) < (0 if name == "multiplier" else 1)]
    wrong += [name for name in _NEEDED.get(kind, ()) if name not in operator.options]
    if wrong:
        value = operator.options.get(wrong[0], 0)
        raise DamageError(f"{kind} has {wrong[0].replace('_', ' ')} {value}; allowed: from 1")
    if kind not in _OPERANDS:
        return
    takes, makes = _OPERANDS[kind].split()
    given = [*_named(kind, "inputs", takes, operator.inputs), *_named(kind, "outputs", makes, operator.outputs)]
    found = [(role, tensors[place]) for role, place in given if place >= 0]
    values = [tensor for role, tensor in found if role == "x"]
    if len({tensor.dtype for tensor in values}) > 1:
        raise DamageError(f"{kind} mixes {', '.join(sorted({tensor.dtype for tensor in values}))}")
    for role, tensor in found:
        _verify_role(kind, role, tensor, values[0].dtype if values else "")
    if kind in _OUT_AXIS:
        _verify_weights(kind, found)


def _named(kind: str, what: str, pattern: str, places: tuple[int, ...]) -> list[tuple[str, int]]:
    """(role, tensor) of each operand; raises `DamageError` where they are too few or too many."""
    roles = re.findall(r"(\w)([?+]?)", pattern)
    least, most = sum(mark != "?" for _, mark in roles), 2**31 if "+" in pattern else len(roles)
    if not least <= len(places) <= most:
        allowed = f"from {least}" if "+" in pattern else " or ".join(map(str, range(least, most + 1)))
        raise DamageError(f"{kind} has {len(places)} {what}; allowed: {allowed}")
    letters = roles[0][0] * len(places) if "+" in pattern and len(roles) == 1 else "".join(role for role, _ in roles)
    for letter, place in zip(letters, places, strict=False):
        if place < 0 and letter != "b":
            raise DamageError(f"{kind} lacks one of its {what}")
    return list(zip(letters, places, strict=False))


def _verify_role(kind: str, role: str, tensor: Tensor, value: str) -> None:
    if role in "wb" and value not in _WEIGHTS:
        raise DamageError(f"{kind} computes in {value}; allowed: {', '.join(_WEIGHTS)}")
    allowed: tuple[str, ...] = {"i": _INTEGERS, "c": ("bool",)}.get(role, ())
    if role in "wb":
        allowed = _WEIGHTS[value]["wb".index(role)]
    if allowed and tensor.dtype not in allowed:
        raise DamageError(f"{kind} has an operand of {tensor.dtype}; allowed: {' or '.join(allowed)}")
    quantised = role in "xw" and tensor.dtype in _QUANTISED and kind not in _MAY_BE_BARE
    if quantised and (not tensor.scales or (role == "x" and len(tensor.scales) != 1)):
        raise DamageError(f"{kind} has an operand of {tensor.dtype} with {len(tensor.scales)} scales")


def _verify_weights(kind: str, found: list[tuple[str, Tensor]]) -> None:
    """Compares the sizes of weights with those of the values and the biases."""
    value, made = [tensor.shape for role, tensor in found if role == "x"]
    weights = next(tensor for role, tensor in found if role == "w").shape
    biases = [tensor.shape for role, tensor in found if role == "b"]
    wide = kind != "FULLY_CONNECTED"
    if len(weights) != (4 if wide else 2) or 0 in weights or (wide and not len(value) == len(made) == 4):
        raise DamageError(f"{kind} has weights {list(weights)} for values {list(value)}")
    out = weights[_OUT_AXIS[kind]]
    if kind == "DEPTHWISE_CONV_2D":
        fits = weights[0] == 1 and value[3] > 0 and out % value[3] == 0
    elif kind == "FULLY_CONNECTED":
        fits = not value or math.prod(value) % weights[1] == 0
    else:
        fits = value[3] > 0 and value[3] % weights[3] == 0
    if not fits or (made and made[-1] != out) or any(math.prod(bias) != out for bias in biases):
        raise DamageError(f"{kind} has weights {list(weights)} from {list(value)} to {list(made)}")
