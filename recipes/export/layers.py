"""Where a quantised file departs from its network: the error after each operation, and what each adds to it."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from recipes.support.files import write_whole
from recipes.tflite.file import TFLiteFile
from recipes.tflite.graph import Graph, Operator
from zoo.drawing import as_matplotlib_ships, check_drawing
from zoo.terminal import escaped


@dataclass(frozen=True)
class LayerError:
    """What one operation of a file gives, and what the network in float32 gives there.

    Attributes:
        layer, kind: the layer, and TFLite's name of the operation.
        dtype: of the values in the file.
        error: the root mean square of the difference, relative to that of the values in float32: accumulated.
        added: by how much that is above the error after the operation before it; below 0 where it shrinks.
        low, high: of the values in float32.
        step: between neighbouring values in the file, None where they are floats.
    """

    layer: str
    kind: str
    dtype: str
    error: float
    added: float
    low: float
    high: float
    step: float | None

    def to_dict(self) -> dict[str, Any]:
        """As JSON types."""
        return asdict(self)


def errors_by_layer(file: Path, reference: Path, images: np.ndarray) -> list[LayerError]:
    """The error after each operation that both files have, in the order of the graph.

    Args:
        file: the quantised file.
        reference: its float32 twin.
        images: uint8 (N, H, W, C), a few.
    """
    ours, theirs = TFLiteFile(file, keep_all=True), TFLiteFile(reference, keep_all=True)
    shared = _shared_tensors(ours.graph, theirs.graph)
    wrong, whole = np.zeros(len(shared)), np.zeros(len(shared))
    low, high = np.full(len(shared), np.inf), np.full(len(shared), -np.inf)
    for image in images:
        for one in (ours, theirs):
            one.set_input(image)
            one.invoke()
        for i, (_, our_index, their_index) in enumerate(shared):
            exact = theirs.tensor(their_index)
            wrong[i] += np.square(ours.tensor(our_index) - exact).sum()
            whole[i] += np.square(exact).sum()
            low[i], high[i] = min(low[i], exact.min()), max(high[i], exact.max())
    errors = np.sqrt(wrong / np.maximum(whole, 1e-12))
    found = []
    for i, ((operator, number, _), added) in enumerate(zip(shared, np.diff(errors, prepend=0), strict=True)):
        tensor = ours.graph.tensors[number]
        step = tensor.scales[0] if tensor.scales else None
        ends = float(low[i]), float(high[i])
        found.append(
            LayerError(operator.layer, operator.kind, tensor.dtype, float(errors[i]), float(added), *ends, step)
        )
    return found


def layer_errors(file: Path, reference: Path, images: np.ndarray) -> list[tuple[str, float]]:
    """Layers and the error that each adds, largest first; see `errors_by_layer`."""
    added: dict[str, float] = {}
    for one in errors_by_layer(file, reference, images):
        added[one.layer] = added.get(one.layer, 0.0) + one.added
    return sorted(added.items(), key=lambda item: -item[1])


def draw_errors(errors: Sequence[LayerError], title: str, file: Path) -> None:
    """Draws the error after each operation, as a line, and what each adds, as a bar.

    Args:
        errors: of `errors_by_layer`.
        title: above the drawing.
        file: where to; its ending, `.png` or `.svg`, says in which format.

    Raises:
        RequestError: another ending, or a folder that does not exist.
        FailureError: it cannot be written.
    """
    check_drawing(file)
    write_whole(file, lambda aside: _draw(errors, title, aside))


@as_matplotlib_ships()
def _draw(errors: Sequence[LayerError], title: str, file: Path) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(min(3 + 0.3 * len(errors), 40), 5), layout="constrained")
    axes = figure.add_subplot()
    places = range(len(errors))
    colours = ["tab:gray" if one.step is None else "tab:blue" for one in errors]
    axes.bar(places, [100 * one.added for one in errors], color=colours, label="added by the layer (grey: in floats)")
    axes.plot(places, [100 * one.error for one in errors], color="tab:red", marker=".", label="accumulated")
    axes.axhline(0, color="black", linewidth=0.5)
    axes.set_xticks(places, [escaped(one.layer) for one in errors], rotation=90, fontsize=6)
    axes.set_ylabel("error, % of the values' root mean square")
    axes.set_title(escaped(title), fontsize=9)
    axes.legend(fontsize=7)
    figure.savefig(file, dpi=150)


def _shared_tensors(ours: Graph, theirs: Graph) -> list[tuple[Operator, int, int]]:
    """What operations make in both graphs under one name: the operation, and the tensor's number in each, in order.

    Of a value that is there as integers and as floats, the first is meant.
    """
    number_of = {tensor.name: number for number, tensor in enumerate(theirs.tensors)}
    made = [(operator, number) for operator in ours.operators for number in operator.outputs]
    return [
        (operator, number, number_of[ours.tensors[number].name])
        for operator, number in made
        if ours.tensors[number].name in number_of
    ]
