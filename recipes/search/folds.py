"""Folds: every image that may be learnt from is held out once, and the test images are left alone."""

import warnings
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from recipes.config.settings import ResolvedRecipe
from recipes.data import Data, Split
from recipes.data.dataset import at_once, concatenate
from recipes.data.labels import LABEL_KINDS
from recipes.data.splits import draw_parts
from recipes.distributed.team import ALONE
from recipes.tasks import TASKS
from zoo.backend import keras
from zoo.errors import RequestError
from zoo.groups import copies_in


def learnable(data: Data) -> Split:
    """The training and the validation images as one split; the folds are drawn from it."""
    return concatenate([data.train, data.validation])


def held_out(pool: Split, task: str, folds: int, seed: int) -> list[np.ndarray]:
    """Row numbers that each fold holds out: by class, and never a part of a group.

    Raises:
        RequestError: fewer than two folds, or more than there are images, or groups, of a class.
    """
    from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold

    kinds = LABEL_KINDS[task].strata(pool.labels)
    units = np.arange(len(pool)) if pool.groups is None else pool.groups
    fewest = min(len(np.unique(units[kinds == kind])) for kind in np.unique(kinds))
    if not 2 <= folds <= fewest:
        raise RequestError(f"{folds} folds are not possible; allowed: 2 to {fewest}, the images of the rarest class.")
    alone = len(np.unique(units)) == len(units)
    splitter = (StratifiedKFold if alone else StratifiedGroupKFold)(folds, shuffle=True, random_state=seed)
    with warnings.catch_warnings(action="ignore"):  # of small classes, which were looked at above
        return [held for _, held in splitter.split(kinds, kinds, units)]


def fold_data(data: Data, pool: Split, held: np.ndarray, seed: int) -> Data:
    """A fold as a set of its own: what it holds out is its test part, and a tenth of the rest chooses the epoch."""
    rows = np.setdiff1d(np.arange(len(pool)), held)
    kinds = data.label_kind.strata(pool.labels)
    _, together = np.unique(pool.groups, return_inverse=True) if pool.groups is not None else (None, None)
    parts = draw_parts({"train": rows, "test": held}, kinds, seed=seed, together=together)
    return replace(data, train=pool[parts["train"]], validation=pool[parts["validation"]], test=pool[parts["test"]])


def train_fold(
    recipe: ResolvedRecipe, data: Data, *, callbacks: Sequence["keras.callbacks.Callback"] = ()
) -> tuple[float, np.ndarray]:
    """Trains from scratch on a fold and scores what it holds out.

    Args:
        recipe: model, data and settings.
        data: a fold.
        callbacks: see `recipes.training.loop.train`.

    Returns:
        The task's score (accuracy; mAP; R²) and the scores of the held-out images (N, classes).
    """
    from recipes.training.calibration import calibrate_whole
    from recipes.training.device import settled
    from recipes.training.loop import train
    from recipes.training.model import compiled_model, seed_all

    keras.backend.clear_session()
    seed_all(recipe)
    recipe = settled(recipe.in_epochs(len(data.train)), ALONE.gpus)
    model = compiled_model(recipe, data)
    train(model, data, recipe, None, quiet=True, callbacks=callbacks)
    if recipe.class_thresholds != "none":  # a temperature alone changes no prediction
        calibrate_whole(model, data, recipe)
    scores = model.predict(data.test.batches(at_once(copies_in(model))), verbose=0)
    return score_of(data, scores), scores


def score_of(data: Data, scores: np.ndarray) -> float:
    """The one metric of the test part that the task chooses by."""
    task = TASKS[data.task]
    return float(task.metrics(data.test, scores, data.class_names)[task.score])
