"""What a model is worth: scores, comparisons, reports, predictions."""

from pathlib import Path
from typing import Any

import click

from recipes import text
from recipes.command_line.names import DATA
from recipes.command_line.options import as_json, average, devices, launchable, skip_bad
from recipes.command_line.printing import answer, line, warn


@click.command()
@click.argument("source", type=click.Path(path_type=Path))
@click.option("--data", type=DATA, help="Other images, instead of the run's test images; a file needs it.")
@click.option("--invariance", is_flag=True, help="Also rotated, shifted, scaled and mirrored.")
@click.option(
    "--precision",
    type=float,
    help="Choose the score from which on predictions are sure, so that so many of those are right; 0 forgets it.",
)
@click.option(
    "--unknown", type=DATA, help="Images of no class that it knows: how well are they told from those it is scored on?"
)
@click.option("--plot", type=click.Path(path_type=Path), help="Draw the confusion matrix (PNG, SVG or PDF).")
@average
@skip_bad
@devices
@as_json
@launchable()
def evaluate(source: Path, data: str | None, plot: Path | None, as_json: bool, **options: Any) -> None:
    """Score SOURCE, a run or a .tflite, .keras or .onnx file of any origin.

    A run is scored on its test images, and metrics.json and confusion_matrix.png are left in it. With --data a run or a
    file is scored on other images, matched by the names of their classes, and nothing is left. .tflite and .onnx
    files run in a process of their own, with limits.

    With --precision 0.99 a threshold is chosen on the run's validation images and kept in the run: `zoo predict` says
    "not sure" below it, and files that are exported from then on carry it.

    With --average also what averaging brings and costs; the other metrics stay those of one pass.

    \b
    Example: zoo evaluate runs/first --invariance
             zoo evaluate model.tflite --data photos/
    """
    from recipes.evaluate.scoring import evaluate

    metrics = evaluate(source, data=data, plot=plot, **options)
    for note in metrics.get("notes", ()):
        click.echo(line(note), err=True)
    where = f"{source} on {metrics['data']} ({metrics['scored']})" if data else source
    drawn = [plot] if plot else [source / "confusion_matrix.png"] if not data and "confusion_matrix" in metrics else []
    below = "".join(f"\n\n{line('Drawn in', file)}" for file in drawn)
    answer(as_json, metrics, lambda: f"{line(where)}: {text.evaluation(metrics)}{below}")


@click.command()
@click.argument("runs", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="SOURCE...")
@click.option("--data", type=DATA, help="Score all of them on these images; where there are files, they need it.")
@click.option("--plot", type=click.Path(path_type=Path), help="Draw it too (PNG or SVG).")
@skip_bad
@as_json
def compare(runs: tuple[Path, ...], data: str | None, plot: Path | None, skip_bad: bool, as_json: bool) -> None:
    """Put runs side by side: accuracy, size, cost, and what has been measured of invariance and exports.

    With --data, SOURCE may be a .tflite, .keras or .onnx file too, and all are scored anew on the same images.

    \b
    Example: zoo compare runs/* --plot runs.png
             zoo compare runs/first runs/first/lenet5-int8.tflite --data digits
    """
    from recipes.compare import compare

    rows = compare(runs, data=data, plot=plot, skip_bad=skip_bad)
    for note in dict.fromkeys(note for row in rows for note in row.get("notes", ())):
        click.echo(line(note), err=True)
    answer(as_json, rows, lambda: text.comparison(rows) + (f"\n\n{line('Drawn in', plot)}" if plot else ""))


@click.command()
@click.argument("run", type=click.Path(path_type=Path))
@as_json
def report(run: Path, as_json: bool) -> None:
    """Write RUN as one page, report.html, which needs no internet connection, and as a model card, CARD.md.

    \b
    Example: zoo report runs/first
    """
    from recipes.report.run_page import report

    written = report(run)
    answer(
        as_json,
        {"file": str(written.file), "sections": written.sections, "card": str(written.card)},
        lambda: line(f"{written.file}: {', '.join(written.sections).lower()}") + f"\n{line(written.card)}",
    )


@click.command()
@click.argument("source", type=click.Path(path_type=Path))
@click.argument("images", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--top", "top_k", default=3, show_default=True, help="How many predictions for each image.")
@average
@click.option("--explain", type=click.Path(path_type=Path), help="A folder for drawings of where a run looked.")
@as_json
def predict(
    source: Path, images: tuple[Path, ...], top_k: int, average: str | None, explain: Path | None, as_json: bool
) -> None:
    """Name what is in IMAGES; SOURCE is a run folder, or a .tflite, .keras or .onnx file.

    \b
    Example: zoo predict runs/first/lenet5-int8.tflite three.png four.jpg
    """
    from recipes.predict import predict

    predictions = predict(source, images, top_k=top_k, average=average, explain=explain)
    if average:
        from recipes.evaluate.averaging import passes

        click.echo(f"Scores are the mean of {passes(average)} passes of each image.", err=True)
    if predictions and not predictions[0].named:
        warn(f"{source} carries no labels: classes are numbers.")
    facts = [
        {"image": p.image, "guesses": [{"name": n, "score": s} for n, s in p.guesses]}
        | ({} if p.threshold is None else {"sure": p.sure, "threshold": p.threshold})
        for p in predictions
    ]
    answer(as_json, facts, lambda: text.predictions(predictions))
