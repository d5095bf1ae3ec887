"""Runs side by side: one table and one drawing."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from recipes.run.folder import Run
from recipes.support.files import write_whole
from recipes.tasks.metrics import mcnemar
from zoo.anatomy import dissect
from zoo.drawing import as_matplotlib_ships
from zoo.errors import RequestError
from zoo.terminal import escaped

__all__ = ["compare"]

ENDINGS = (".png", ".svg")


def compare(runs: Sequence[str | Path | Run], *, plot: Path | None = None) -> list[dict[str, Any]]:
    """What is known of each run, in the order given; nothing is measured anew.

    Args:
        runs: runs or their folders.
        plot: a PNG or SVG file to draw the accuracies to, as they are and under each family of transformations.

    Returns:
        For each run `run` (its folder), `model`, `data`, `accuracy` and `loss` (None where the labels are not
        classes), `metrics` (all that are one number or word; `figures` is the same), `parameters`, `macs`,
        `invariance` (the score of each family, `shift_consistency` and `overall`; None if it was not measured) and
        `exports` (bytes by kind). For each but the first also `mcnemar`, the test of `recipes.tasks.metrics.mcnemar` of
        this run and the first; None where the test images are not known to be the same.

    Raises:
        RequestError: no run there, one that was not evaluated, or a drawing with another ending.
        FailureError: the drawing cannot be written.
    """
    if plot is not None and plot.suffix not in ENDINGS:
        raise RequestError(f"{plot} cannot be drawn; allowed endings: {', '.join(ENDINGS)}.")
    opened = [Run.open(run) for run in runs]  # all of them, before the first is looked into
    rows = [_row(run) for run in opened]
    if plot is not None:
        if others := [row["run"] for row in rows if row["accuracy"] is None]:
            raise RequestError(f"{others[0]} has no accuracy to draw: its labels are not classes.")
        write_whole(plot, lambda aside: _draw(rows, aside))
    for row, run in zip(rows[1:], opened[1:], strict=True):
        row["mcnemar"] = _against(run.metrics, opened[0].metrics)
    return rows


def _against(metrics: Mapping[str, Any], first: Mapping[str, Any]) -> dict[str, Any] | None:
    """McNemar's test of a run and the first one, None where it is not known that both saw the same test images."""
    known = all("wrong" in one and "examples_digest" in one for one in (metrics, first))
    if not known or metrics["examples_digest"] != first["examples_digest"]:
        return None
    return mcnemar(metrics["wrong"], first["wrong"])


def _row(run: Run) -> dict[str, Any]:
    metrics = run.metrics
    if not metrics:
        raise RequestError(f"{run.path} has no metrics.json: `zoo evaluate {run.path}` writes it.")
    recipe, model = run.recipe, run.load_model()
    measured = metrics.get("invariance")
    values = {key: value for key, value in metrics.items() if isinstance(value, (str, int, float))}
    return {
        "run": str(run.path),
        "model": recipe.model.name,
        "data": recipe.data.source,
        "accuracy": metrics.get("accuracy"),
        "loss": metrics.get("loss"),
        "metrics": values,
        "figures": values,  # as it was called before
        "parameters": model.count_params(),
        "macs": dissect(model).macs,
        "invariance": measured and {n: f["score"] if isinstance(f, dict) else f for n, f in measured.items()},
        "exports": {kind: row["bytes"] for kind, row in run.exports.items() if "bytes" in row},
        "mcnemar": None,
    }


@as_matplotlib_ships()
def _draw(rows: Sequence[dict[str, Any]], file: Path) -> None:
    """A line for every measure, a mark for every run."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import PercentFormatter

    measures = list(dict.fromkeys(["accuracy", *(name for row in rows for name in row["invariance"] or ())]))
    # no pyplot: no window system, no global state
    figure = Figure(figsize=(7, 1.4 + 0.4 * len(measures) + 0.2 * len(rows)), layout="constrained")
    axes = figure.add_subplot()
    for number, row in enumerate(rows):
        values = {"accuracy": row["accuracy"]} | (row["invariance"] or {})
        label = f"{escaped(row['run'])} ({row['model']}, {row['parameters']:,} parameters)"
        places = [measures.index(name) for name in values]
        axes.plot(list(values.values()), places, "osD^vPX"[number % 7], label=label, alpha=0.8)
    axes.set_yticks(range(len(measures)), [name.replace("_", " ") for name in measures])
    axes.invert_yaxis()
    axes.set_xlim(0, 1.05)
    axes.xaxis.set_major_formatter(PercentFormatter(1))
    axes.set_xlabel("accuracy; of it kept under each family")
    axes.grid(axis="x", alpha=0.3)
    figure.legend(loc="outside lower center", fontsize=8)
    figure.savefig(file, dpi=150)
