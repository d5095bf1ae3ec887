"""What a TFLite flatbuffer is made of, read without running it and without TensorFlow."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np

ALIGNMENT = 16  # of tensors in an arena


@dataclass(frozen=True)
class Operator:
    """One operation of a graph.

    Attributes:
        kind: TFLite's name, `CONV_2D`; a custom operation's own name.
        custom: only a runtime with extra kernels can run it. Flex (TensorFlow) operations are among them.
        layer: the Keras layer it comes from, as well as the converter's names tell.
        inputs, outputs: numbers of tensors.
    """

    kind: str
    custom: bool
    layer: str
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]


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
    """

    name: str
    shape: tuple[int, ...]
    signature: tuple[int, ...]
    dtype: str
    bytes: int
    scales: tuple[float, ...]
    zero_points: tuple[int, ...]

    @property
    def size(self) -> int:
        """Bytes in memory."""
        return int(np.prod(self.shape)) * _width(self.dtype)


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
            return int(np.prod(made)) * weights[1] * weights[2]
        if operator.kind == "TRANSPOSE_CONV":  # every input value meets the whole kernel
            return int(np.prod(self.tensors[operator.inputs[2]].shape)) * int(np.prod(weights[:3]))
        return int(np.prod(made)) * int(np.prod(weights[1:]))

    @property
    def arena(self) -> int:
        """Bytes of all values that are alive at the busiest moment: the least that running the graph takes."""
        last = {tensor: step for step, operator in enumerate(self.operators) for tensor in operator.inputs}
        last |= dict.fromkeys(self.outputs, len(self.operators))
        alive, most = set(self.inputs), 0
        for step, operator in enumerate(self.operators):
            alive |= set(operator.outputs)
            most = max(most, sum(_aligned(self.tensors[i].size) for i in alive))
            alive = {tensor for tensor in alive if last.get(tensor, -1) > step}
        return most

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
    """The main graph of a TFLite flatbuffer.

    Raises:
        Whatever the parser meets in nonsense: the caller knows the file's name.
    """
    from ai_edge_litert import schema_py_generated as schema

    model = schema.Model.GetRootAs(content, 0)
    graph = model.Subgraphs(0)
    tensors = tuple(_tensor(model, graph.Tensors(i)) for i in range(graph.TensorsLength()))
    kinds = list(_kinds(model))
    operators = []
    for i in range(graph.OperatorsLength()):
        operator = graph.Operators(i)
        kind, custom = kinds[operator.OpcodeIndex()]
        inputs = tuple(operator.Inputs(k) for k in range(operator.InputsLength()))
        outputs = tuple(operator.Outputs(k) for k in range(operator.OutputsLength()))
        name = tensors[outputs[0]].name if outputs else ""
        operators.append(Operator(kind, custom, layer_name(name), inputs, outputs))
    return Graph(
        tensors=tensors,
        operators=tuple(operators),
        inputs=tuple(graph.Inputs(i) for i in range(graph.InputsLength())),
        outputs=tuple(graph.Outputs(i) for i in range(graph.OutputsLength())),
    )


def layer_name(tensor: str) -> str:
    """`lenet5_1/backbone_1/conv1_1/Relu;lenet5_1/...` as `backbone/conv1`: the converter fuses, and numbers copies."""
    parts = tensor.split(";")[0].split("/")
    places = [part.removesuffix("_1") for part in parts[1:-1]]
    return "/".join(places) or parts[-1]


def _kinds(model: Any) -> Iterator[tuple[str, bool]]:
    for i in range(model.OperatorCodesLength()):
        code = model.OperatorCodes(i)
        if custom := code.CustomCode():
            yield custom.decode(), True
        else:  # old files have the number in the deprecated field alone
            yield _names("BuiltinOperator")[max(code.BuiltinCode(), code.DeprecatedBuiltinCode())], False


def _tensor(model: Any, tensor: Any) -> Tensor:
    shape = tuple(tensor.Shape(i) for i in range(tensor.ShapeLength()))
    quantised = tensor.Quantization()
    scales = quantised.ScaleAsNumpy() if quantised and quantised.ScaleLength() else ()
    zeros = quantised.ZeroPointAsNumpy() if quantised and quantised.ZeroPointLength() else ()
    return Tensor(
        name=(tensor.Name() or b"").decode("utf-8", "replace"),
        shape=shape,
        signature=tuple(tensor.ShapeSignature(i) for i in range(tensor.ShapeSignatureLength())) or shape,
        dtype=_names("TensorType")[tensor.Type()].lower(),
        bytes=model.Buffers(tensor.Buffer()).DataLength(),
        scales=tuple(float(scale) for scale in scales),
        zero_points=tuple(int(zero) for zero in zeros),
    )


@cache
def _names(enumeration: str) -> dict[int, str]:
    from ai_edge_litert import schema_py_generated as schema

    return {code: name for name, code in vars(getattr(schema, enumeration)).items() if isinstance(code, int)}


def _width(dtype: str) -> int:
    """Bytes of one value; what numpy does not know (strings, resources) has no fixed size."""
    try:
        return np.dtype(dtype).itemsize
    except TypeError:
        return 1


def _aligned(size: int) -> int:
    return -(-size // ALIGNMENT) * ALIGNMENT
