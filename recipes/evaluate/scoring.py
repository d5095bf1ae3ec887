"""How good a run's model is on images that its training never saw."""

from pathlib import Path
from typing import Any

import numpy as np

from recipes.data import Reader, Split, load, open_reader
from recipes.data.dataset import EVALUATION_BATCH, concatenate
from recipes.data.readers import FileReader
from recipes.run.folder import Run
from recipes.support.files import write_whole
from recipes.tasks import TASKS, Task, task_of
from recipes.tasks.confusion import draw_matrix
from zoo.backend import as_keras_ships
from zoo.drawing import as_matplotlib_ships
from zoo.errors import RequestError, unknown

MEASURED_APART = ("invariance", "equivariance", "symmetry")  # they cost more, and stay true of the same model


@as_keras_ships
def evaluate(run: str | Path | Run, *, data: str | Reader | None = None, invariance: bool = False) -> dict[str, Any]:
    """Scores a run on its test images and writes `metrics.json` and `confusion_matrix.png` into it.

    The drawing is of one class an image, and of at most 1,000 classes, see `recipes.tasks.confusion`.

    Args:
        run: the run or its folder.
        data: other images to score it on, see `other_images`; nothing is written into the run then.
        invariance: measure too how the answers hold up under rotation, translation, scaling and mirroring, and
            layer by layer how well the feature maps follow a shift.

    Returns:
        The metrics of `recipes.tasks.Task.metrics`; `data`, if it was given; if asked for, `invariance`,
        those of `recipes.evaluate.invariance.measure_invariance`, and `equivariance`, those of
        `recipes.evaluate.equivariance.equivariance_errors`; of a model with a symmetry built in also `symmetry`, that
        of `recipes.evaluate.symmetry.Symmetry`.

    Raises:
        RequestError: no run there, one without a model, or other data with classes that the run does not know.
        FailureError: invariance is asked for, and a symmetry that is built in does not hold.
    """
    run, reader = Run.open(run), None if data is None else open_reader(data)
    model = run.load_model()
    task, test = _test_images(run, reader)
    if invariance and not task.labels.single_label:
        raise RequestError(f"invariance is measured of one class an image; {run.path} is a run for {task.name}.")
    scores = model.predict(test.batches(EVALUATION_BATCH), verbose=0)
    metrics = task.metrics(test, scores, run.class_names)
    if invariance:
        from recipes.evaluate.equivariance import equivariance_errors
        from recipes.evaluate.invariance import measure_invariance
        from recipes.evaluate.symmetry import symmetry_of_model

        if symmetry := symmetry_of_model(model, test.images):
            metrics["symmetry"] = symmetry.to_dict()
        metrics["invariance"] = measure_invariance(model, test, fill=run.recipe.augment.fill)
        metrics["equivariance"] = equivariance_errors(model, test.images)
    if reader is not None:
        return metrics | {"data": reader.source}
    metrics = {key: run.metrics[key] for key in MEASURED_APART if key in run.metrics} | metrics
    run.write_json("metrics.json", metrics)
    if "confusion_matrix" in metrics:
        with as_matplotlib_ships():
            write_whole(
                run.path / "confusion_matrix.png",
                lambda aside: draw_matrix(metrics).savefig(aside, dpi=120),
            )
    return metrics


def _test_images(run: Run, other: Reader | None) -> tuple[Task, Split]:
    """What is learned of the labels, and the images to score."""
    if other is None:
        data = run.load_data()
        return TASKS[data.task], data.test
    return task_of(run.metrics), other_images(run, other)


def other_images(run: Run, source: str | Reader) -> Split:
    """The images of another source at the run's size, by its resize rule, with labels by the run's class names.

    They are the test images where the source brings such a part. Where it does not, they are those that the seed draws
    from the training part of a source that is not made of files, and all images of any other. Classes of the run that
    the source lacks are allowed.

    Raises:
        RequestError: a class that the run does not have, other labels than classes, or what the run itself was
            trained on.
    """
    settings, reader = run.recipe.data, open_reader(source)
    source = reader.source
    if isinstance(reader, FileReader) and reader.path.resolve() == Path(settings.source).resolve():
        raise RequestError(f"{source} is what {run.path} was trained on; without --data its test images are scored.")
    drawn = not isinstance(reader, FileReader) and "train" in reader.parts and "test" not in reader.parts
    data = load(
        reader,
        image_shape=settings.image_shape,
        resize=settings.resize,
        skip_bad=settings.skip_bad,
        purpose="join" if drawn else "score",
        quiet=True,
    )
    if data.task != run.task:
        raise RequestError(f"{source} is a set for {data.task}; {run.path} is a run for {run.task}.")
    chosen = data.test if drawn or "test" in reader.parts else concatenate(list(data.parts.values()))
    if not len(chosen):
        raise RequestError(f"{source} has no image to score in its part test.")
    kind = data.label_kind
    if not kind.has_classes:
        return chosen
    names = run.class_names
    for name in data.class_names:
        if name not in names:
            raise RequestError(f"{source}: {unknown('class', name, names, f'{run.path}/labels.txt lists them all.')}")
    label_of = np.array([names.index(name) for name in data.class_names])
    return Split(chosen.images, kind.renumbered(chosen.labels, label_of, len(names)), chosen.files)
