"""What every training begins and ends with, from scratch or not."""

import platform
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

import recipes.data
from recipes.config.settings import Recipe, ResolvedRecipe
from recipes.data import Data
from recipes.run.folder import Run
from recipes.tasks import TASKS
from zoo.anatomy import dissect
from zoo.backend import keras
from zoo.errors import RequestError
from zoo.groups import copies_group, copies_in


@dataclass(frozen=True)
class Fitted:
    """What a training came to.

    Attributes:
        run: the folder.
        metrics: of the test images, see `recipes.tasks.Task.metrics`.
        best_epoch: the epoch, from 1, whose weights were kept, see `recipes.tasks.Task.merit`.
        warnings: what the user should look at, a sentence each.
        notes: what was decided on the way, a sentence each.
    """

    run: Run
    metrics: dict[str, Any]
    best_epoch: int
    warnings: tuple[str, ...]
    notes: tuple[str, ...] = ()


def notes_on(model: "keras.Model") -> tuple[str, ...]:
    """What a training costs more than its architecture says, a sentence each."""
    if (copies := copies_in(model)) == 1:
        return ()
    group, macs = copies_group(model), dissect(model).macs
    return (f"symmetry {group}: the model sees {copies} copies of each image, {macs:,} multiply-adds in all.",)


def versions() -> dict[str, str]:
    """Of Python and of the packages that decide what a training comes to."""
    packages = ("convzoo", "tensorflow", "keras", "numpy")
    return {"python": platform.python_version()} | {name: version(name) for name in packages}


def refuse_teachers(*settings: Recipe | None) -> None:
    """Raises a `RequestError` for recipes that learn from teachers, where that is not possible: a teacher of `zoo fit`
    may have learned what is held out here."""
    if any(recipe and recipe.distill for recipe in settings):
        raise RequestError("teachers are learned from by `zoo fit` alone: remove the table [distill].")


def load_images(settings: ResolvedRecipe, split_table: Path | None, *, on_demand: bool = False, quiet: bool) -> Data:
    """The images that a resolved recipe names; `on_demand` as of `recipes.data.load`.

    Raises:
        RequestError: as `recipes.data.load`, or settings that have no meaning for such labels.
    """
    chosen = settings.data.model_dump()
    data = recipes.data.load(**chosen, split_table=split_table, on_demand=on_demand, quiet=quiet)
    TASKS[data.task].check(settings)
    if settings.unknown is None:
        return data
    from recipes.training.unknown import load_unknown

    return replace(data, unknown=load_unknown(settings, quiet=quiet))


def judged(scores: np.ndarray, images: Data, calibration: dict[str, Any]) -> dict[str, Any]:
    """The metrics of the test images, by scores of a model that was calibrated."""
    task, test, temperature = TASKS[images.task], images.test, calibration.get("temperature")
    return task.metrics(test, scores, images.class_names) | task.calibration(test.labels, scores, temperature)


def hand_over(
    model: "keras.Model", scores: np.ndarray, images: Data, run: Run, calibration: dict[str, Any]
) -> dict[str, Any]:
    """Ends a training: keeps the model, what `recipes.training.calibration.calibrate` did to it, and its metrics on the
    test images, and removes what only training needs."""
    run.save_model(model)
    if calibration:
        run.write_json("calibration.json", calibration)
    metrics = judged(scores, images, calibration)
    run.write_json("metrics.json", metrics)  # the last file: a run that has it is finished
    run.remove_checkpoints()
    return metrics
