"""What a TFLite flatbuffer is made of, read without running it and without TensorFlow."""

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any

import numpy as np

from recipes.tflite.flatbuffer import TEXT, DamageError, Schema, read

ALIGNMENT = 16  # of tensors in an arena
# Types of tensors by their numbers.
DTYPES = (
    *("float32", "float16", "int32", "uint8", "int64", "string", "bool", "int16", "complex64", "int8", "float64"),
    *("complex128", "uint64", "resource", "variant", "uint32", "uint16", "int4", "bfloat16", "int2", "uint4"),
    *("float8_e4m3fn", "float8_e5m2"),
)
# What is read of TFLite's schema (tensorflow/compiler/mlir/lite/schema/schema.fbs).
_STRIDES = {"padding": "i1", "stride_w": "i4", "stride_h": "i4"}
_SCHEMA: Schema = {
    "Model": {
        "version": "u4",
        "operator_codes": ["OperatorCode"],
        "subgraphs": ["SubGraph"],
        "description": TEXT,
        "buffers": ["Buffer"],
        "metadata_buffer": "[i4]",
        "metadata": ["Metadata"],
        "signature_defs": ["SignatureDef"],
    },
    "OperatorCode": {"deprecated_builtin_code": "i1", "custom_code": TEXT, "version": "i4", "builtin_code": "i4"},
    "SubGraph": {
        "tensors": ["Tensor"],
        "inputs": "[i4]",
        "outputs": "[i4]",
        "operators": ["Operator"],
        "name": TEXT,
    },
    "Tensor": {
        "shape": "[i4]",
        "type": "i1",
        "buffer": "u4",
        "name": TEXT,
        "quantization": "Quantization",
        "is_variable": "u1",
        "sparsity": "Other",
        "shape_signature": "[i4]",
        "has_rank": "u1",
        "variant_tensors": ["Other"],
        "external_buffer": "u4",
    },
    "Quantization": {
        "min": "[f4]",
        "max": "[f4]",
        "scale": "[f4]",
        "zero_point": "[i8]",
        "details_type": "u1",
        "details": {None: "Other"},
        "quantized_dimension": "i4",
    },
    "Operator": {
        "opcode_index": "u4",
        "inputs": "[i4]",
        "outputs": "[i4]",
        "builtin_options_type": "u1",
        "builtin_options": {
            0: None,
            1: "Conv2D",
            2: "DepthwiseConv2D",
            5: "Pool2D",
            17: "Reshape",
            30: "Squeeze",
            None: "Other",
        },
        "custom_options": "[u1]",
        "custom_options_format": "i1",
        "mutating_variable_inputs": "[u1]",
        "intermediates": "[i4]",
    },
    "Conv2D": _STRIDES | {"activation": "i1", "dilation_w": "i4", "dilation_h": "i4"},
    "DepthwiseConv2D": _STRIDES | {"multiplier": "i4", "activation": "i1", "dilation_w": "i4", "dilation_h": "i4"},
    "Pool2D": _STRIDES | {"filter_w": "i4", "filter_h": "i4", "activation": "i1"},
    "Reshape": {"new_shape": "[i4]"},
    "Squeeze": {"squeeze_dims": "[i4]"},
    "Buffer": {"data": "[u1]", "offset": "u8", "size": "u8"},
    "Metadata": {"name": TEXT, "buffer": "u4"},
    "SignatureDef": {
        "inputs": ["TensorMap"],
        "outputs": ["TensorMap"],
        "signature_key": TEXT,
        "deprecated_tag": None,
        "subgraph_index": "u4",
    },
    "TensorMap": {"name": TEXT, "tensor_index": "u4"},
    "Other": {},
}


@dataclass(frozen=True)
class Operator:
    """One operation of a graph.

    Attributes:
        kind: TFLite's name, `CONV_2D`; a custom operation's own name.
        custom: only a runtime with extra kernels can run it. Flex (TensorFlow) operations are among them.
        layer: the Keras layer it comes from, as well as the converter's names tell.
        inputs, outputs: numbers of tensors; -1 for an input that is left out.
        options: strides and the like, of convolutions and pooling.
    """

    kind: str
    custom: bool
    layer: str
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    options: Mapping[str, Any] = field(default_factory=dict, compare=False)


@dataclass(frozen=True)
class Tensor:
    """One tensor of a graph.

    Attributes:
        name: the converter's.
        shape: as stored; an open dimension is 1 here.
        signature: the same with open dimensions as -1.
        dtype: numpy's name, such as `int8`.
        bytes: of the constant in the file, 0 for what is computed.
        scales: of quantised values, one or one a channel; empty if they are not quantised.
        zero_points: as many.
        channel_axis: the axis that scales are along, if there are several.
        variable: keeps its values from one run to the next.
        sparse: zeros of the constant are left out.
    """

    name: str
    shape: tuple[int, ...]
    signature: tuple[int, ...]
    dtype: str
    bytes: int
    scales: tuple[float, ...]
    zero_points: tuple[int, ...]
    channel_axis: int = 0
    variable: bool = False
    sparse: bool = False

    @property
    def size(self) -> int:
        """Bytes in memory."""
        return math.prod(self.shape) * width(self.dtype)


@dataclass(frozen=True)
class Graph:
    """The main graph of a model file."""

    tensors: tuple[Tensor, ...]
    operators: tuple[Operator, ...]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]

    @property
    def counts(self) -> dict[str, int]:
        """How often each kind of operation occurs."""
        return dict(sorted(Counter(operator.kind for operator in self.operators).items()))

    @property
    def custom(self) -> list[str]:
        """Kinds of operations that are not built in."""
        return sorted({operator.kind for operator in self.operators if operator.custom})

    @property
    def macs(self) -> int:
        """Multiply-adds for one run, of convolutions and fully connected layers."""
        return sum(self._macs(operator) for operator in self.operators)

    def _macs(self, operator: Operator) -> int:
        if operator.kind not in ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED", "TRANSPOSE_CONV"):
            return 0
        weights, made = self.tensors[operator.inputs[1]].shape, self.tensors[operator.outputs[0]].shape
        if operator.kind == "DEPTHWISE_CONV_2D":  # (1, height, width, channels)
            return math.prod(made) * weights[1] * weights[2]
        if operator.kind == "TRANSPOSE_CONV":  # every input value meets the whole kernel
            return math.prod(self.tensors[operator.inputs[2]].shape) * math.prod(weights[:3])
        return math.prod(made) * math.prod(weights[1:])

    @property
    def arena(self) -> int:
        """Bytes of all values that are alive at the busiest moment: the least that running the graph takes."""
        last = {tensor: step for step, operator in enumerate(self.operators) for tensor in operator.inputs}
        last |= dict.fromkeys(self.outputs, len(self.operators))
        alive = set(self.inputs)
        most = now = sum(_aligned(self.tensors[i].size) for i in alive)
        for step, operator in enumerate(self.operators):
            made = set(operator.outputs) - alive
            alive |= made
            now += sum(_aligned(self.tensors[i].size) for i in made)
            most = max(most, now)
            gone = {i for i in {*operator.inputs, *operator.outputs} & alive if last.get(i, -1) <= step}
            alive -= gone
            now -= sum(_aligned(self.tensors[i].size) for i in gone)
        return most

    def at_size(self, height: int, width: int) -> "Graph":
        """The graph for images of one size, of a file that takes any: open heights and widths of tensors are filled in.

        A convolution or a pooling divides them by its strides; what margins cut off is not looked at.
        """
        sizes = dict.fromkeys(self.inputs, (height, width))
        for operator in self.operators:
            high, wide = (max((sizes[i][axis] for i in operator.inputs if i in sizes), default=1) for axis in (0, 1))
            steps = [max(1, operator.options.get(name, 1)) for name in ("stride_h", "stride_w")]
            sizes |= dict.fromkeys(operator.outputs, (-(-high // steps[0]), -(-wide // steps[1])))
        return replace(self, tensors=tuple(_filled(t, sizes.get(i, (1, 1))) for i, t in enumerate(self.tensors)))

    @property
    def bytes_by_layer(self) -> dict[str, int]:
        """Bytes of constants each layer brings, in the order of the graph."""
        found: dict[str, int] = {}
        counted: set[int] = set()
        for operator in self.operators:
            constants = {i for i in operator.inputs if i >= 0 and self.tensors[i].bytes} - counted
            counted |= constants
            size = sum(self.tensors[i].bytes for i in constants)
            if size:
                found[operator.layer] = found.get(operator.layer, 0) + size
        return found


def read_graph(content: bytes) -> Graph:
    """The main graph of a TFLite flatbuffer, with every offset checked; see `recipes.tflite.verify` for the rest.

    Raises:
        DamageError: the bytes are not one.
    """
    return graph_of(read_model(content))


def read_model(content: bytes) -> dict[str, Any]:
    """A TFLite flatbuffer as a tree of the fields of `_SCHEMA`; raises `DamageError`."""
    return read(content, _SCHEMA, "Model")


def graph_of(model: Mapping[str, Any], number: int = 0) -> Graph:
    """One graph of a model as `read_model` gives it; the main one is the first.

    Raises:
        DamageError: it refers to an operation, a buffer, a type or a tensor that the file does not have.
    """
    graphs, buffers = model.get("subgraphs", []), model.get("buffers", [])
    if not graphs:
        raise DamageError("it has no graph")
    graph = graphs[number]
    tensors = tuple(_tensor(tensor, buffers) for tensor in graph.get("tensors", []))
    kinds = [_kind(code) for code in model.get("operator_codes", [])]

    def places(values: Iterable[int]) -> tuple[int, ...]:
        found = tuple(int(value) for value in values)
        if any(not -1 <= place < len(tensors) for place in found):
            raise DamageError(f"it refers to a tensor that it does not have (there are {len(tensors)})")
        return found

    operators = []
    for entry in graph.get("operators", []):
        kind, custom = _at(kinds, entry.get("opcode_index", 0), "operation")
        inputs, outputs = places(entry.get("inputs", ())), places(entry.get("outputs", ()))
        name = tensors[outputs[0]].name if outputs else ""
        operators.append(Operator(kind, custom, layer_name(name), inputs, outputs, entry.get("builtin_options", {})))
    return Graph(tensors, tuple(operators), places(graph.get("inputs", ())), places(graph.get("outputs", ())))


def _filled(tensor: Tensor, size: tuple[int, int]) -> Tensor:
    if len(tensor.signature) != 4 or len(tensor.shape) != 4:
        return tensor
    given = (tensor.signature[0], *size, tensor.signature[3])
    shape = (
        filled if open_ == -1 else old for open_, filled, old in zip(tensor.signature, given, tensor.shape, strict=True)
    )
    return replace(tensor, shape=tuple(max(1, value) for value in shape))


def layer_name(tensor: str) -> str:
    """`lenet5_1/backbone_1/conv1_1/Relu;lenet5_1/...` as `backbone/conv1`: the converter fuses, and numbers copies."""
    parts = tensor.split(";")[0].split("/")
    places = [part.removesuffix("_1") for part in parts[1:-1]]
    return "/".join(places) or parts[-1]


def _kind(code: Mapping[str, Any]) -> tuple[str, bool]:
    """TFLite's name of an operation, and whether it is custom."""
    if custom := code.get("custom_code"):
        return custom, True
    # Old files have the number in the deprecated field alone.
    number = max(code.get("builtin_code", 0), code.get("deprecated_builtin_code", 0))
    names = _operations()
    if number not in names:
        raise DamageError(f"operation {number} is not one of TFLite's")
    return names[number], False


def _tensor(tensor: Mapping[str, Any], buffers: Sequence[Mapping[str, Any]]) -> Tensor:
    quantised = tensor.get("quantization", {})
    shape = tuple(int(size) for size in tensor.get("shape", ()))
    buffer = _at(buffers, tensor.get("buffer", 0), "buffer")
    if buffer.get("offset", 0) > 1 or "external_buffer" in tensor:
        raise DamageError("it keeps weights outside of its flatbuffer")
    return Tensor(
        name=tensor.get("name", ""),
        shape=shape,
        signature=tuple(int(size) for size in tensor.get("shape_signature", ())) or shape,
        dtype=_at(DTYPES, tensor.get("type", 0), "type"),
        bytes=len(buffer.get("data", ())),
        scales=tuple(quantised.get("scale", np.zeros(0)).tolist()),
        zero_points=tuple(quantised.get("zero_point", np.zeros(0, np.int64)).tolist()),
        channel_axis=quantised.get("quantized_dimension", 0),
        variable=bool(tensor.get("is_variable", 0)),
        sparse="sparsity" in tensor,
    )


def _at(entries: Sequence[Any], number: int, what: str) -> Any:
    if not 0 <= number < len(entries):
        raise DamageError(f"{what} {number} does not exist (there are {len(entries)})")
    return entries[number]


@cache
def _operations() -> dict[int, str]:
    from ai_edge_litert import schema_py_generated as schema

    return {code: name for name, code in vars(schema.BuiltinOperator).items() if isinstance(code, int)}


def width(dtype: str) -> int:
    """Bytes of one value; what numpy does not know (strings, resources, halves of a byte) counts as one."""
    try:
        return np.dtype(dtype).itemsize
    except TypeError:
        return {"bfloat16": 2}.get(dtype, 1)


def _aligned(size: int) -> int:
    return -(-size // ALIGNMENT) * ALIGNMENT
