"""Runs and files side by side: one table and one drawing."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from recipes.data.readers import Reader, open_reader
from recipes.evaluate.scoring import scored_on
from recipes.evaluate.selection import is_trained_on, select
from recipes.run.folder import Run
from recipes.scorers import is_file, open_scorer
from recipes.support.files import write_whole
from recipes.tasks.metrics import mcnemar
from zoo.anatomy import dissect
from zoo.backend import as_keras_ships
from zoo.drawing import as_matplotlib_ships
from zoo.errors import RequestError
from zoo.terminal import escaped

__all__ = ["compare"]

ENDINGS = (".png", ".svg")


@as_keras_ships
def compare(
    runs: Sequence[str | Path | Run],
    *,
    data: str | Reader | None = None,
    skip_bad: bool = False,
    plot: Path | None = None,
) -> list[dict[str, Any]]:
    """What is known of each run, in the order given; nothing is measured anew unless `data` are given.

    Args:
        runs: runs or their folders; with `data` also `.tflite`, `.keras` and `.onnx` files.
        data: images that all of them are scored on, see `recipes.evaluate.selection.select`. Of a source that a run was
            trained on, they are its test images; of several runs, those of the first.
        skip_bad: leaves out files of `data` that cannot be used.
        plot: a PNG or SVG file to draw the accuracies to, as they are and under each family of transformations.

    Returns:
        For each run `run` (its folder, or the file), `model`, `data`, `accuracy` and `loss` (None where the labels are
        not classes), `metrics` (all that are one number or word; `figures` is the same), `parameters`, `macs` (None
        where a file does not tell), `invariance` (the score of each family, `shift_consistency` and `overall`; None if
        it was not measured on these images) and `exports` (bytes by kind). For each but the first also
        `mcnemar`, the test of `recipes.tasks.metrics.mcnemar` of this run and the first; None where the test images are
        not known to be the same. If `data` were given also `bytes` of a file, and `scored`, `runtime`, `trained_on` and
        `notes` of `recipes.evaluate.evaluate`.

    Raises:
        RequestError: no run or file there, a file without `data`, a run that was not evaluated, or a drawing with
            another ending.
        FailureError: the drawing cannot be written.
    """
    if plot is not None and plot.suffix not in ENDINGS:
        raise RequestError(f"{plot} cannot be drawn; allowed endings: {', '.join(ENDINGS)}.")
    if data is None:
        if files := [run for run in runs if is_file(run)]:
            raise RequestError(f"{files[0]} does not say which images to score it on: give --data.")
        opened = [Run.open(run) for run in runs]  # all of them, before the first is looked into
        rows = [_row(run) for run in opened]
        metrics = [run.metrics for run in opened]
    else:
        rows, metrics = _scored(runs, data, skip_bad)
    if plot is not None:
        if others := [row["run"] for row in rows if row["accuracy"] is None]:
            raise RequestError(f"{others[0]} has no accuracy to draw: its labels are not classes.")
        write_whole(plot, lambda aside: _draw(rows, aside))
    for row, measured in zip(rows[1:], metrics[1:], strict=True):
        row["mcnemar"] = _against(measured, metrics[0])
    return rows


def _scored(
    sources: Sequence[str | Path | Run], data: str | Reader, skip_bad: bool
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Rows and metrics of runs and files, all on the same images."""
    scorers = [open_scorer(source) for source in sources]
    reader = open_reader(data)
    by = [scorer.run for scorer in scorers if scorer.run is not None]
    run = next((run for run in by if is_trained_on(run, reader)), by[0] if by else None)
    selection, rows, every = select(reader, run), [], []
    for scorer in scorers:
        measured = scored_on(scorer, selection, skip_bad=skip_bad)
        # Labels are numbered as each has its classes; the images, and what they show, are the same for all.
        every.append(measured | {"examples_digest": f"{measured['examples']} of {measured['data']}"})
        values = {key: value for key, value in measured.items() if isinstance(value, (str, int, float))}
        facts = scorer.facts
        rows.append(
            {
                "run": str(scorer.path),
                "model": scorer.model_name,
                "data": measured["data"],
                "accuracy": measured.get("accuracy"),
                "loss": measured.get("loss"),
                "metrics": values,
                "figures": values,
                "parameters": facts.get("parameters"),
                "macs": facts.get("macs"),
                "bytes": facts.get("bytes"),
                "invariance": None,
                "exports": {},
                "mcnemar": None,
                **{key: measured[key] for key in ("scored", "runtime", "trained_on", "notes")},
            }
        )
    return rows, every


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
        size = f", {row['parameters']:,} parameters" if row["parameters"] else ""
        label = f"{escaped(row['run'])} ({escaped(row['model'])}{size})"
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
