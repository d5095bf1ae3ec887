"""What is inside a `.tflite` file: read from the file alone, without TensorFlow."""

from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from recipes.tflite.file import TFLiteFile
from recipes.tflite.graph import Graph
from recipes.tflite.memory import Memory, plan_memory
from recipes.tflite.micro import obstacle


@dataclass(frozen=True)
class Inspected:
    """A file's facts, as JSON types.

    Attributes:
        file, bytes: where it is and how large.
        inputs, outputs: of each tensor `name`, `shape` (-1 is open), `dtype`, `scale` and `zero_point` (None if not
            quantised).
        labels: class names, empty if the file carries none.
        quantised_weights: how many constants have scales, and how many of those one a channel.
        operators: kinds and how often each occurs.
        macs: multiply-adds for one image, of the size that the file knows.
        arena_bytes: of all values that are alive at the busiest moment.
        layers: bytes of constants by layer.
        metadata: TFLite's own, as a tree; empty if there is none.
        facts: what export wrote about the file, empty if it is not ours.
        memory: the values over time; None if they were not asked for.
        obstacle: why TensorFlow Lite Micro cannot run it, as far as is seen without running it; empty if nothing is.
    """

    file: str
    bytes: int
    inputs: list[dict[str, Any]]
    outputs: list[dict[str, Any]]
    labels: list[str]
    quantised_weights: dict[str, int]
    operators: dict[str, int]
    macs: int
    arena_bytes: int
    layers: dict[str, int]
    metadata: dict[str, Any]
    facts: dict[str, Any]
    memory: Memory | None = None
    obstacle: str = ""

    def to_dict(self) -> dict[str, Any]:
        """As JSON types; without `memory` where it was not asked for."""
        facts = asdict(replace(self, memory=None))
        del facts["memory"], facts["obstacle"]
        return facts | ({"memory": self.memory.to_dict() | {"obstacle": self.obstacle}} if self.memory else {})


def inspect(path: str | Path, *, memory: bool = False) -> Inspected:
    """Reads a `.tflite` file; nothing of it is run.

    Args:
        path: the file.
        memory: plans its memory, too.

    Raises:
        RequestError: it cannot be used as a classifier of images; the message says why.
    """
    file = TFLiteFile(path)
    graph = file.graph
    scales = [len(tensor.scales) for tensor in graph.tensors if tensor.bytes and tensor.scales]
    return Inspected(
        file=str(path),
        bytes=file.path.stat().st_size,
        inputs=_tensors(graph, graph.inputs),
        outputs=_tensors(graph, graph.outputs),
        labels=list(file.labels),
        quantised_weights={"tensors": len(scales), "per_channel": sum(count > 1 for count in scales)},
        operators=graph.counts,
        macs=file.settled.macs,
        arena_bytes=file.settled.arena,
        layers=graph.bytes_by_layer,
        metadata=file.metadata,
        facts=file.facts,
        memory=plan_memory(file.settled) if memory else None,
        obstacle=obstacle(graph),
    )


def _tensors(graph: Graph, indices: tuple[int, ...]) -> list[dict[str, Any]]:
    return [
        {
            "name": tensor.name,
            "shape": list(tensor.signature),
            "dtype": tensor.dtype,
            "scale": tensor.scales[0] if tensor.scales else None,
            "zero_point": tensor.zero_points[0] if tensor.zero_points else None,
        }
        for tensor in (graph.tensors[i] for i in indices)
    ]
