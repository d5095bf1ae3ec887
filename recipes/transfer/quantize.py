"""Quantisation-aware training: a run goes on learning as its integer file computes it."""

import numpy as np

from recipes.config.settings import Recipe, ResolvedRecipe
from recipes.data import Data
from recipes.data.dataset import at_once
from recipes.run.folder import Run
from recipes.support.rows import evenly_spaced
from recipes.tasks import TASKS
from recipes.training.session import Fitted, hand_over, notes_on, versions
from zoo.backend import keras
from zoo.errors import RequestError
from zoo.groups import copies_in

CALIBRATED = 256  # training images that the first ranges are taken from
_BATCH = 64


def resolve(source: Run, recipe: Recipe, data: str | None) -> ResolvedRecipe:
    """The recipe with the model and the images of the run that goes on.

    Args:
        data: where the images are now, if they were moved.

    Raises:
        RequestError: a setting of the model, which stays as it is, or of a precision that integers do not have.
    """
    wanted = recipe.model.model_dump(exclude_unset=True) if recipe.model else {}
    if changed := [key for key, value in wanted.items() if value != getattr(source.recipe.model, key)]:
        raise RequestError(f"model.{changed[0]} cannot be set: {source.path} goes on with the model that it has.")
    if recipe.precision not in (None, "float32"):
        raise RequestError(f"precision={recipe.precision} is not possible here; allowed: float32.")
    if recipe.class_thresholds != "none":
        raise RequestError("class_thresholds is not possible here: the bars of classes go on as the run has them.")
    assert recipe.finetune is not None
    images = source.recipe.data
    if changed := [name for name, value in images.rules if recipe.data and value != getattr(recipe.data, name)]:
        raise RequestError(f"data.{changed[0]} cannot be set: {source.path} goes on with the images that it has.")
    return ResolvedRecipe(
        **dict(recipe)
        | {
            "precision": "float32",
            "model": source.recipe.model.model_copy(update={"weights": None}),
            "data": images if data is None else images.model_copy(update={"source": data}),
            "finetune": recipe.finetune.model_copy(update={"source": str(source.path.absolute())}),
            "plugin": source.recipe.plugin,
            "versions": versions(),
        }
    )


def twin(model: "keras.Model", images: Data, bits: int) -> "keras.Model":
    """A trained model, of whatever precision, as an integer file computes it, with ranges of its training images.

    Raises:
        RequestError: a layer for which there is no integer twin.
    """
    from zoo.precision import in_precision
    from zoo.quantization import quantized
    from zoo.ranges import calibrate

    made = quantized(in_precision(model, "float32"), bits=bits)
    rows = evenly_spaced(len(images.train), CALIBRATED)
    chosen = np.asarray(images.train.images[rows], np.float32)
    calibrate(made, [chosen[start : start + _BATCH] for start in range(0, len(chosen), _BATCH)])
    return made


def train_as_integers(recipe: ResolvedRecipe, images: Data, model: "keras.Model", run: Run, *, quiet: bool) -> Fitted:
    """Trains, or goes on from the run's checkpoints, and leaves the model and its metrics in the run.

    Raises:
        FailureError: as `recipes.training.loop.train`.
    """
    from recipes.training.calibration import calibrate_whole
    from recipes.training.loop import train
    from recipes.training.model import compile_model
    from zoo.ranges import settle

    task, together = TASKS[images.task], at_once(copies_in(model))
    compile_model(model, recipe, images)
    state = train(model, images, recipe, run, quiet=quiet, phase="integers")
    calibration = calibrate_whole(model, images, recipe)
    settle(model)
    scores = model.predict(images.test.batches(together), verbose=0)
    warnings = task.warnings(state.history[state.best_epoch - 1], images)
    return Fitted(
        run, hand_over(model, scores, images, run, calibration), state.best_epoch, tuple(warnings), notes_on(model)
    )
