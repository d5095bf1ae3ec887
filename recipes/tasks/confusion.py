"""Which class is taken for which: of few classes the whole matrix, of many what matters most of it.

A matrix has classes x classes cells. What is written or drawn of it goes by the two limits here, so that a thousand
classes cost about what ten do.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from zoo.drawing import as_matplotlib_ships
from zoo.terminal import escaped

if TYPE_CHECKING:
    from matplotlib.figure import Figure

LARGEST_WRITTEN = 40  # classes whose matrix is written with a number in each cell, and which text lists one by one
LARGEST_KEPT = 1_000  # classes whose matrix is kept and drawn at all
PAIRS = 20  # most confused pairs that are kept; as many classes are listed where there are too many for all
NAME = 32  # characters of a name in a drawing


def confusion(labels: np.ndarray, predicted: np.ndarray, class_names: Sequence[str]) -> dict[str, Any]:
    """What a classifier takes for what, as JSON types.

    Args:
        labels, predicted: integers (N,).
        class_names: position is the label.

    Returns:
        `most_confused`, the pairs of different classes with the most images, most first, at most `PAIRS`: for each the
        classes `true` and `predicted`, and its `images`. Of at most `LARGEST_KEPT` classes also `confusion_matrix`
        (rows are true classes).
    """
    classes = len(class_names)
    cells, images = np.unique(labels.astype(np.int64) * classes + predicted, return_counts=True)
    found: dict[str, Any] = {"most_confused": _pairs(cells, images, class_names)}
    if classes <= LARGEST_KEPT:
        matrix = np.zeros(classes * classes, np.int64)
        matrix[cells] = images
        found["confusion_matrix"] = matrix.reshape(classes, classes).tolist()
    return found


def most_confused(metrics: Mapping[str, Any]) -> list[dict[str, Any]]:
    """`most_confused` of metrics, older ones too, which have the matrix alone."""
    if "most_confused" in metrics:
        pairs: list[dict[str, Any]] = metrics["most_confused"]
        return pairs
    matrix = np.asarray(metrics["confusion_matrix"], np.int64).reshape(-1)
    cells = np.flatnonzero(matrix)
    return _pairs(cells, matrix[cells], metrics["class_names"])


def _pairs(cells: np.ndarray, images: np.ndarray, class_names: Sequence[str]) -> list[dict[str, Any]]:
    """The pairs of different classes among cells of a flat matrix, in the order of their images."""
    true, predicted = np.divmod(cells, len(class_names))
    wrong = np.flatnonzero(true != predicted)
    most = wrong[np.argsort(-images[wrong], kind="stable")][:PAIRS]
    return [
        {"true": class_names[true[i]], "predicted": class_names[predicted[i]], "images": int(images[i])} for i in most
    ]


def fractions(matrix: Sequence[Sequence[int]]) -> np.ndarray:
    """float64 (classes, classes): of the images of each true class, the fraction that is taken for each."""
    counts = np.asarray(matrix)
    shares: np.ndarray = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    return shares


@as_matplotlib_ships()
def draw_matrix(metrics: Mapping[str, Any]) -> "Figure":
    """A drawing of a confusion matrix: rows are true classes, columns are predictions.

    Of at most `LARGEST_WRITTEN` classes each cell has its number; of more, it has a shade alone, the fraction of the
    row, and the most confused pairs stand beside the matrix.
    """
    from matplotlib.figure import Figure  # no pyplot: no window system, no global state

    names, matrix = [*map(escaped, metrics["class_names"])], metrics["confusion_matrix"]
    if len(names) <= LARGEST_WRITTEN:
        from sklearn.metrics import ConfusionMatrixDisplay

        size = max(4.0, 0.5 * len(names) + 1.5)
        figure = Figure(figsize=(size, size), layout="constrained")
        display = ConfusionMatrixDisplay(np.asarray(matrix), display_labels=names)
        display.plot(ax=figure.add_subplot(), colorbar=False, cmap="Blues", xticks_rotation="vertical")
        return figure
    figure = Figure(figsize=(12, 7), layout="constrained")
    axes, beside = figure.subplots(1, 2, width_ratios=[7, 5])
    axes.imshow(fractions(matrix), cmap="Blues", vmin=0, vmax=1)
    axes.set_xlabel("predicted class, by its number")
    axes.set_ylabel("true class, by its number")
    axes.set_title(f"{len(names):,} classes; shade is the fraction of the row")
    beside.axis("off")
    beside.set_title("Most confused", loc="left")
    listed = "\n".join(
        f"{pair['images']:,}  {_short(pair['true'])} taken for {_short(pair['predicted'])}"
        for pair in most_confused(metrics)
    )
    beside.text(0, 1, listed or "none", va="top", fontsize=8, transform=beside.transAxes)
    return figure


def _short(name: str) -> str:
    name = escaped(name)
    return name if len(name) <= NAME else f"{name[: NAME - 1]}…"
