"""How good a model is on images that its training never saw: that of a run, or of any file."""

import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from recipes.data import Data, Reader, Split
from recipes.data.dataset import digest_of
from recipes.data.decoded import DecodedImages, Images
from recipes.data.readers import FileReader, open_reader
from recipes.distributed.team import ALONE, Team, check_alone, join
from recipes.evaluate.averaging import check_average, measure_average
from recipes.evaluate.selection import Labelled, Selection, is_trained_on, select, select_unknown
from recipes.run.folder import Run
from recipes.scorers import Scorer, open_scorer
from recipes.scorers.shares import Missing, what_is_missing
from recipes.support.files import check_writable, write_whole
from recipes.support.tables import some_of
from recipes.tasks import TASKS, Task
from recipes.tasks.confusion import draw_matrix
from recipes.tasks.selective import CONFIDENCE, at_threshold, choose_threshold, highest_shown, least_images
from zoo.backend import as_keras_ships
from zoo.drawing import as_matplotlib_ships, check_drawing
from zoo.errors import FailureError, RequestError

# They cost more, and stay true of the same model.
MEASURED_APART = ("invariance", "equivariance", "symmetry", "averaged", "unknown")
ENDINGS = (".png", ".svg", ".pdf")  # of a drawing


@as_keras_ships
def evaluate(
    run: str | Path | Run | Scorer,
    *,
    data: str | Reader | None = None,
    invariance: bool = False,
    average: str | None = None,
    precision: float | None = None,
    unknown: str | Reader | None = None,
    skip_bad: bool = False,
    plot: str | Path | None = None,
    devices: str = "1",
) -> dict[str, Any]:
    """Scores a run on its test images and writes `metrics.json` and `confusion_matrix.png` into it; or scores a run, or
    a file, on other images, and writes nothing.

    A `.tflite` file is run by LiteRT and an `.onnx` file by ONNX Runtime, each in a child process with limits; a
    `.keras` file by Keras. Scores that are logits, or one probability for two classes, are made probabilities.
    The drawing is of one class an image, and of at most 1,000 classes, see `recipes.tasks.confusion`.

    Args:
        run: the run or its folder; or a `.tflite`, `.keras` or `.onnx` file.
        data: other images to score it on, see `recipes.evaluate.selection.select`. A file needs it.
        invariance: measure too how the answers hold up under rotation, translation, scaling and mirroring, and
            layer by layer, where Keras runs the model, how well the feature maps follow a shift.
        average: measure too what it brings to average the scores of each image over so many views of it, a name in
            `recipes.evaluate.averaging.AVERAGES`; all other metrics stay those of the image alone.
        precision: choose, on the run's validation images, the score from which on predictions are sure, so that this
            fraction of them is right, and keep it in the run, see `recipes.tasks.selective`; 0 takes it away.
        unknown: images of no class that it knows, to measure how well they are told from those that it is scored on;
            which of them is as of `data`, and their labels are not looked at.
        skip_bad: leaves out files of `data` and `unknown` that cannot be used; a run that did so in its training does
            so again.
        plot: a PNG, SVG or PDF file to draw the confusion matrix to.
        devices: of this machine, share the images, as in `recipes.fit.fit`; several where Keras runs the model.

    Returns:
        The metrics of `recipes.tasks.Task.metrics`; if asked for, `invariance`,
        those of `recipes.evaluate.invariance.measure_invariance`, and `equivariance`, those of
        `recipes.evaluate.equivariance.equivariance_errors`; of a model with a symmetry built in also `symmetry`, that
        of `recipes.evaluate.symmetry.Symmetry`; for an average `averaged`, that of
        `recipes.evaluate.averaging.measure_average`; for unknown images `unknown`, that of
        `recipes.evaluate.unknown.measure_unknown`. If data were given also `data`, `scored` (which of its images, in
        words), `runtime`, `trained_on` (how many of them are known to be ones that the model's training used) and
        `notes`, sentences on what was taken for granted.

    Raises:
        RequestError: there is no such thing, one without a model, a file without data, a precision for a file or for
            other data, or one that is no fraction, data with classes that it does not know, another number of scores
            than there are classes, or an average that images cannot have.
        FailureError: scores are not numbers; the precision cannot be shown on so few images; invariance is asked for,
            and a symmetry that is built in does not hold.
    """
    if precision is not None:
        check_alone("choosing a threshold")
    team = join(devices)
    if plot is not None and team.is_chief:
        _check_plot(Path(plot))
    is_run = isinstance(run, Run) or (run.path if isinstance(run, Scorer) else Path(run)).is_dir()
    if data is None and not is_run:
        open_scorer(run)  # what is wrong with it comes first
        raise RequestError(f"{run} does not say which images to score it on: give --data.")
    if precision is not None:
        _check_precision(precision, run, is_run, data)
    with team.together():
        scorer = open_scorer(run)
        reader = None if data is None else open_reader(data)
        own = Run.open(scorer.path) if is_run else None
        if own is not None and reader is not None:
            _refuse_own(own, reader)
        if team.devices and scorer.keras_model is None:
            raise RequestError(
                f"devices={devices!r} is not possible: {scorer.path} is run by {scorer.runtime}, on the CPU; share its "
                "images among workers instead, as with --launch ray --workers 4."
            )
    shared: dict[str, Any] = {
        "invariance": invariance,
        "average": average,
        "unknown": unknown,
        "skip_bad": skip_bad,
        "team": team,
    }
    if reader is None:
        assert own is not None
        with team.together():
            loaded = own.load_data()
        labelled = Labelled(TASKS[loaded.task], own.class_names, loaded.test)
        if precision is not None:
            _choose_threshold(scorer, scorer.run or own, loaded, precision, team)
        metrics = scored(scorer, labelled, **shared)
        metrics = {key: own.metrics[key] for key in MEASURED_APART if key in own.metrics} | metrics
        if team.is_chief:
            own.write_json("metrics.json", metrics)
        if "confusion_matrix" in metrics and team.is_chief:
            _draw(metrics, own.path / "confusion_matrix.png")
    else:
        chosen = select(reader, scorer.run)
        metrics = scored_on(scorer, chosen, **shared)
    if plot is not None and team.is_chief:
        if "confusion_matrix" not in metrics:
            raise RequestError(
                f"{plot} cannot be drawn: a confusion matrix is of one class an image, of at most 1,000."
            )
        _draw(metrics, Path(plot))
    return metrics


def scored_on(
    scorer: Scorer,
    selection: Selection,
    *,
    invariance: bool = False,
    average: str | None = None,
    unknown: str | Reader | None = None,
    skip_bad: bool = False,
    team: Team = ALONE,
) -> dict[str, Any]:
    """The metrics of `evaluate` for images of a source."""
    with team.together():
        images = selection.load(scorer, skip_bad=skip_bad)
    notes = [f"{scorer.path}: {remark}." for remark in scorer.remarks]
    if images.task.labels.has_classes and not scorer.class_names:
        notes.append(
            f"{scorer.path} carries no labels: its scores are taken for {some_of(images.class_names)}, in this order."
        )
    if images.trained_on:
        notes.append(
            f"{images.trained_on:,} of {len(images.split):,} images are ones that the training of {scorer.path} used: "
            "it looks better on them than it is."
        )
    elif selection.may_hold_training_images(scorer):
        source = selection.reader.source
        notes.append(f"{scorer.path} was trained with other test images of {source}: some of these it was trained on.")
    metrics = scored(
        scorer,
        images,
        invariance=invariance,
        average=average,
        unknown=unknown,
        skip_bad=skip_bad,
        notes=notes,
        team=team,
    )
    return metrics | {
        "data": selection.reader.source,
        "scored": selection.words,
        "runtime": scorer.runtime,
        "trained_on": images.trained_on,
        "notes": notes,
    }


def scored(
    scorer: Scorer,
    images: Labelled,
    *,
    invariance: bool = False,
    average: str | None = None,
    unknown: str | Reader | None = None,
    skip_bad: bool = False,
    notes: list[str] | None = None,
    team: Team = ALONE,
) -> dict[str, Any]:
    """The metrics of `evaluate` for these images; what is done to the scores is added to the notes.

    Where there are several workers or devices, each scores its share of the images.
    """
    task, test, names = images.task, images.split, images.class_names
    _check_team(team, scorer, images)
    if invariance and not task.labels.single_label:
        what = "run" if scorer.path.is_dir() else "file"
        raise RequestError(f"invariance is measured of one class an image; {scorer.path} is a {what} for {task.name}.")
    if average is not None:
        check_average(average, scorer.image_shape, scorer.symmetry[0])
    others = None if unknown is None else _unknown_images(scorer, task, unknown, skip_bad)
    raw, missing = scores_of(scorer, task, names, [test.images], team)
    if missing and notes is not None:
        notes.append(f"{scorer.path}: {missing.words} them.")
    metrics = task.metrics(test, missing.added_to(raw), names)
    if not scorer.score_step:  # what is rounded does not tell what it would be at another temperature
        metrics |= task.calibration(test.labels, raw, scorer.temperature)
    if scorer.threshold is not None and task.labels.single_label:
        kept = {"value": scorer.threshold} if scorer.run is None else scorer.run.calibration.get("threshold", {})
        kept = {**kept, "value": scorer.threshold}  # a file has its own
        metrics["threshold"] = at_threshold(test.labels, missing.added_to(raw), kept)

    def score(images: np.ndarray) -> np.ndarray:
        return missing.added_to(_in_shares(scorer, images, team))

    if others is not None:
        from recipes.evaluate.unknown import measure_unknown

        best = missing.added_to(raw).max(1), score(others).max(1)
        metrics["unknown"] = measure_unknown(scorer, test, others, best)
    if average is not None:
        metrics["averaged"] = measure_average(score, test, average, task, metrics, names)
    if invariance:
        metrics |= _invariance(scorer, test, score, bool(missing), team)
    return metrics


def scores_of(
    scorer: Scorer, task: Task, class_names: Sequence[str], images: Sequence[Images], team: Team = ALONE
) -> tuple[np.ndarray, Missing]:
    """What a model gives for images, and what is missing of it: a model from elsewhere is looked at, not believed.

    Args:
        scorer: the model.
        task: what the labels are.
        class_names: in the order of the scores.
        images: uint8 (N, H, W, C) each, one after the other.
        team: each of whose devices scores its share of them.

    Returns:
        The scores float (N, units) of all images, and what makes them those of the task.

    Raises:
        RequestError: another number of scores than there are classes, or what `recipes.scorers.shares` refuses.
        FailureError: scores that are not numbers.
    """
    looked = scorer.task is None
    if looked:
        _check_count(scorer, task, class_names, images[0])
    raw = np.concatenate([_in_shares(scorer, each, team) for each in images])
    if not scorer.path.is_dir() and not np.isfinite(raw).all():
        bad = int((~np.isfinite(raw).all(axis=1)).sum())
        raise FailureError(f"{scorer.path} gives scores that are not numbers for {bad:,} of {len(raw):,} images.")
    if not looked:
        return raw, Missing()
    return raw, what_is_missing(str(scorer.path), raw, task.name, len(class_names), step=scorer.score_step)


def _in_shares(scorer: Scorer, images: Images, team: Team) -> np.ndarray:
    if team.size == 1 and not team.devices:
        return scorer.scores(images)
    scores = (scorer.on_any_device if team.devices else None) or scorer.scores

    def score(rows: slice) -> np.ndarray:
        return scores(images.only(rows) if isinstance(images, DecodedImages) else images[rows])

    return team.in_shares(len(images), score)


def _check_team(team: Team, scorer: Scorer, images: Labelled) -> None:
    """Has all workers compare what they score, and on what.

    Raises:
        RequestError: there are more of them than images.
        FailureError: they differ.
    """
    if team.size == 1:
        return
    if team.size > len(images.split):
        raise RequestError(f"{len(images.split):,} images are too few for {team.size} workers.")
    file = scorer.path / "model.keras" if scorer.path.is_dir() else scorer.path
    team.check_same("model", zlib.crc32(file.read_bytes()) >> 1)
    team.check_same("set of images", digest_of(images.class_names, [images.split]))


def _unknown_images(scorer: Scorer, task: Task, source: str | Reader, skip_bad: bool) -> np.ndarray:
    """Images uint8 (N, H, W, C) of another source."""
    if not task.labels.single_label:
        raise RequestError(f"--unknown is of one class an image; {scorer.path} is for {task.name}.")
    reader = open_reader(source)
    if scorer.run is not None and is_trained_on(scorer.run, reader):
        raise RequestError(f"{reader.source} is what {scorer.path} was trained on; --unknown takes images of no class.")
    return select_unknown(reader, scorer.run).images(scorer, skip_bad=skip_bad)


def _check_precision(precision: float, run: str | Path | Run | Scorer, is_run: bool, data: str | Reader | None) -> None:
    if not 0 <= precision < 1:
        near = min(max(precision, 0.5), 0.999) if precision == precision else 0.99
        raise RequestError(
            f"precision={precision:g} is not possible; allowed: a fraction such as 0.99, or 0 for none; the nearest is "
            f"{near:g}."
        )
    if not is_run or data is not None:
        what = "a file has none" if not is_run else "leave out --data"
        raise RequestError(f"--precision is chosen on the validation images of a run, and kept in it: {what}.")


def _choose_threshold(scorer: Scorer, run: Run, data: Data, precision: float, team: Team) -> None:
    """Keeps a threshold in a run."""
    if not TASKS[data.task].labels.single_label:
        raise RequestError(f"--precision is of one class an image; {run.path} is a run for {data.task}.")
    if precision == 0:
        run.keep_threshold(None)
        return
    part = data.validation
    scores = _in_shares(scorer, part.images, team)
    best, right = scores.max(1), scores.argmax(1) == part.labels
    chosen = choose_threshold(best, right, precision)
    if chosen is None:
        least, shown = least_images(precision), highest_shown(best, right, precision)
        nearest = f"the highest that can is {shown:g}" if shown else "nor can any other"
        raise FailureError(
            f"{run.path}: a precision of {precision:g} cannot be shown with {CONFIDENCE:.0%} confidence on "
            f"{len(part):,} validation images (it takes {least:,} that are all right); {nearest}."
        )
    run.keep_threshold(chosen.to_dict())


def _invariance(
    scorer: Scorer, test: Split, scores: Callable[[np.ndarray], np.ndarray], changed: bool, team: Team
) -> dict[str, Any]:
    """What `evaluate` measures beside the metrics; `changed`: the scores are not those that the model gives."""
    from recipes.evaluate.equivariance import equivariance_errors
    from recipes.evaluate.invariance import measure_invariance
    from recipes.evaluate.symmetry import measure_symmetry, refuse_broken, symmetry_of_model

    model, fill = scorer.keras_model, "constant" if scorer.run is None else scorer.run.recipe.augment.fill
    measured: dict[str, Any] = {}
    group, within = scorer.symmetry
    if model is not None:
        symmetry = symmetry_of_model(model, test.images)
    elif group:
        symmetry = measure_symmetry(scores, test.images, group)
        refuse_broken(symmetry, str(scorer.path), within)
    else:
        symmetry = None
    if symmetry:
        measured["symmetry"] = symmetry.to_dict()
    measured["invariance"] = (
        measure_invariance(scores, test, fill=fill)  # which are computed in shares already
        if model is None or changed
        else measure_invariance(model, test, fill=fill, team=team)
    )
    if model is not None:
        measured["equivariance"] = equivariance_errors(model, test.images)
    return measured


def _check_count(scorer: Scorer, task: Task, class_names: Sequence[str], images: Images) -> None:
    """Raises a `RequestError` where a model from elsewhere has another number of scores than there are classes."""
    units, classes = scorer.scores(images[:1]).shape[1], len(class_names)
    if units != classes and not (units == 1 and classes == 2 and task.labels.single_label):
        what = f"{classes} class{'es' * (classes != 1)} ({some_of(class_names)})"
        needed = what if task.labels.has_classes else "one number"
        raise RequestError(f"{scorer.path} gives {units:,} score{'s' * (units != 1)}; the labels are of {needed}.")


def other_images(run: Run | Scorer, source: str | Reader) -> Split:
    """The images of another source that `evaluate` scores: at the run's size, with labels by the run's class names.

    Raises:
        RequestError: as `recipes.evaluate.selection.Selection.load`, or what the run itself was trained on.
    """
    reader, scorer = open_reader(source), open_scorer(run)
    if isinstance(run, Run):
        _refuse_own(run, reader)
    return select(reader, scorer.run).load(scorer).split


def _refuse_own(run: Run, reader: Reader) -> None:
    if isinstance(reader, FileReader) and is_trained_on(run, reader):
        raise RequestError(
            f"{reader.source} is what {run.path} was trained on; without --data its test images are scored."
        )


def _check_plot(plot: Path) -> None:
    check_drawing(plot, ENDINGS)
    check_writable(plot, plot.parent)


def _draw(metrics: dict[str, Any], file: Path) -> None:
    with as_matplotlib_ships():
        write_whole(file, lambda aside: draw_matrix(metrics).savefig(aside, dpi=120))
