"""The memory of a graph over time, as TensorFlow Lite Micro plans it: which values lie where, and when.

What is planned are values between operations, and what kernels keep for the moment. It is TFLite Micro's own plan
(`zoo.memory`), with the scratch memory of its reference kernels; kernels that are made for one processor may ask for
more. Beside it in the arena lie the interpreter's records, which stay.
"""

import math
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

from recipes.tflite.graph import Graph, Operator
from zoo.memory import Buffer, plan

# What TFLite Micro keeps beside the values, in bytes on a 64-bit processor, rounded up: a board has smaller pointers.
_PER_TENSOR, _PER_OPERATOR, _PER_CHANNEL, _FIXED = 24, 224, 8, 1536
# Operations whose second input are weights.
WEIGHED = ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED", "TRANSPOSE_CONV")


@dataclass(frozen=True)
class Place:
    """Something in memory.

    Attributes:
        name: the tensor's; empty for scratch memory of a kernel.
        layer: the layer that makes it.
        shape, dtype: of the values; bytes for scratch memory.
        bytes: that it takes, with what aligns the next.
        offset: where it begins.
        first, last: the steps, both included, in which it is there; step 0 is before the first operation.
    """

    name: str
    layer: str
    shape: tuple[int, ...]
    dtype: str
    bytes: int
    offset: int
    first: int
    last: int


@dataclass(frozen=True)
class Step:
    """An operation.

    Attributes:
        kind: TFLite's name; `input` before the first.
        layer: the layer that it comes from.
        bytes: of all that must be there while it runs.
    """

    kind: str
    layer: str
    bytes: int


@dataclass(frozen=True)
class Memory:
    """The plan for one image.

    Attributes:
        steps: the operations in order.
        places: what lies in memory, in the order in which it comes.
    """

    steps: tuple[Step, ...]
    places: tuple[Place, ...]

    @cached_property
    def bytes(self) -> int:
        """From the first byte that is used to the last."""
        return max((place.offset + place.bytes for place in self.places), default=0)

    @cached_property
    def busiest(self) -> int:
        """The number of the step at which most bytes must be there; the first of several."""
        return max(range(len(self.steps)), key=lambda number: self.steps[number].bytes)

    def at(self, step: int) -> list[Place]:
        """What is there at a step, the largest first."""
        return sorted((p for p in self.places if p.first <= step <= p.last), key=lambda place: -place.bytes)

    def to_dict(self) -> dict[str, Any]:
        """As JSON types."""
        return {
            "bytes": self.bytes,
            "busiest": self.busiest,
            "steps": [asdict(step) for step in self.steps],
            "places": [asdict(place) | {"shape": list(place.shape)} for place in self.places],
        }


def plan_memory(graph: Graph) -> Memory:
    """Where TensorFlow Lite Micro puts the values of a graph of known size."""
    first: dict[int, int] = dict.fromkeys(graph.inputs, 0)
    last = dict(first)
    for step, operator in enumerate(graph.operators, 1):
        for tensor in operator.outputs:
            first.setdefault(tensor, step)
            last[tensor] = step
        last |= {tensor: step for tensor in operator.inputs if tensor in first}
    last |= {tensor: len(graph.operators) for tensor in graph.outputs if tensor in first}

    maker = {tensor: operator.layer for operator in graph.operators for tensor in operator.outputs}
    kept = [i for i in sorted(first) if graph.tensors[i].size and not graph.tensors[i].variable]
    found = [(Buffer(graph.tensors[i].size, first[i], last[i]), i, maker.get(i, "image")) for i in kept]
    for step, operator in enumerate(graph.operators, 1):
        found += [(Buffer(size, step, step), -1, operator.layer) for size in _scratch(graph, operator) if size]

    places = []
    for (buffer, i, layer), offset in zip(found, plan([buffer for buffer, _, _ in found]), strict=True):
        name, dtype = "", "scratch"
        shape: tuple[int, ...] = (buffer.size,)
        if i >= 0:
            name, shape, dtype = graph.tensors[i].name, graph.tensors[i].shape, graph.tensors[i].dtype
        places.append(Place(name, layer, shape, dtype, buffer.room, offset, buffer.first, buffer.last))
    places.sort(key=lambda place: (place.first, place.offset))

    kinds = [("input", "image"), *((operator.kind, operator.layer) for operator in graph.operators)]
    there = [sum(p.bytes for p in places if p.first <= step <= p.last) for step in range(len(kinds))]
    steps = tuple(Step(*kind, size) for kind, size in zip(kinds, there, strict=True))
    return Memory(steps, tuple(places))


def records_estimate(graph: Graph) -> int:
    """Bytes of what the interpreter keeps beside the values, estimated, rather too many than too few."""
    weighed = [operator for operator in graph.operators if operator.kind in WEIGHED]
    channels = sum(graph.tensors[operator.outputs[0]].shape[-1] for operator in weighed)
    return _FIXED + _PER_TENSOR * len(graph.tensors) + _PER_OPERATOR * len(graph.operators) + _PER_CHANNEL * channels


def _scratch(graph: Graph, operator: Operator) -> list[int]:
    """Bytes that a reference kernel asks for while it runs."""
    if operator.kind == "MIRROR_PAD":
        return [4 * len(graph.tensors[operator.inputs[0]].shape)] * 2
    if operator.kind not in ("MEAN", "SUM", "REDUCE_MAX", "REDUCE_MIN"):
        return []
    given, axes = (graph.tensors[i] for i in operator.inputs[:2])
    sums = operator.kind in ("MEAN", "SUM") and given.dtype in ("int8", "int16")
    accumulator = [4 * math.prod(graph.tensors[operator.outputs[0]].shape)] if sums else []
    return [*accumulator, 4 * len(given.shape), 4 * math.prod(axes.shape)]
