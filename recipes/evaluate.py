"""How good a run's model is on the pictures that its training never saw."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from recipes.metrics import classification_metrics
from recipes.run import Run, write_whole


def evaluate(run: str | Path | Run, *, invariance: bool = False) -> dict[str, Any]:
    """Scores a run on its test pictures and writes `metrics.json` and `confusion_matrix.png` into it.

    Args:
        run: the run or its folder.
        invariance: measure too how the answers hold up under rotation, translation, scaling and mirroring.

    Returns:
        The figures of `recipes.metrics.classification_metrics`, and `invariance`, those of
        `recipes.invariance.measure_invariance`, if asked for.

    Raises:
        RequestError: no run there, or one without a model.
    """
    run = run if isinstance(run, Run) else Run.open(run)
    model, test = run.load_model(), run.load_data().test
    scores = model.predict(test.images, batch_size=250, verbose=0)
    metrics = classification_metrics(test.labels, scores, run.class_names)
    if invariance:
        from recipes.invariance import measure_invariance

        metrics["invariance"] = measure_invariance(model, test, fill=run.recipe.augment.fill)
    run.write_json("metrics.json", metrics)
    write_whole(
        run.path / "confusion_matrix.png",
        lambda aside: draw_confusion_matrix(metrics["confusion_matrix"], run.class_names, aside),
    )
    return metrics


def draw_confusion_matrix(matrix: Sequence[Sequence[int]], class_names: Sequence[str], file: Path) -> None:
    """Draws counts as a PNG: rows are true classes, columns are guesses, shade is the share of the row."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from sklearn.metrics import ConfusionMatrixDisplay

    size = max(4.0, 0.5 * len(class_names) + 1.5)
    figure = Figure(figsize=(size, size), layout="constrained")  # no pyplot: no window system, no global state
    FigureCanvasAgg(figure)
    display = ConfusionMatrixDisplay(np.asarray(matrix), display_labels=class_names)
    display.plot(ax=figure.add_subplot(), colorbar=False, cmap="Blues", xticks_rotation="vertical")
    figure.savefig(file, dpi=120)
