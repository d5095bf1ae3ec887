"""How good a model and a recipe are on these images, and how sure one can be of it."""

import csv
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from recipes.config.settings import Recipe, ResolvedRecipe
from recipes.data import Data, Split
from recipes.data.dataset import digest_of
from recipes.data.decoding import Resize
from recipes.data.splits import FRACTIONS
from recipes.distributed.devices import separately
from recipes.distributed.team import ALONE, LostWorkerError, join, read_place
from recipes.search.fold_work import FoldWork, Plan
from recipes.support.files import write_whole
from recipes.tasks import TASKS
from recipes.training.device import settled
from recipes.training.resolving import model_and_recipe, resolve
from recipes.training.session import load_images, refuse_teachers
from zoo.backend import as_keras_ships
from zoo.errors import RequestError

__all__ = ["CrossValidated", "cross_validate", "paired_test"]


@dataclass(frozen=True)
class CrossValidated:
    """What held-out images say.

    Attributes:
        model, recipe: their names.
        score: what is measured: accuracy, map or r2.
        folds: the score of each fold.
        mean, spread: of the folds; the spread is the standard deviation of a sample.
        interval: 95 % of the mean. Folds share most of what they learn from, so their spread alone would make it too
            narrow: the variance is corrected as in `paired_test`.
        against: the same of the other model on the same folds, if there is one, with `difference`, `t` and `p`.
    """

    model: str
    recipe: str
    score: str
    folds: tuple[float, ...]
    mean: float
    spread: float
    interval: tuple[float, float]
    against: dict[str, Any] | None = None

    def to_dict(self) -> dict[str, Any]:
        return vars(self) | {"folds": list(self.folds), "interval": list(self.interval)}


@as_keras_ships
def cross_validate(
    model: str | None,
    *,
    data: str,
    recipe: str | Path | Recipe | None = None,
    overrides: Sequence[str] = (),
    folds: int = 10,
    seed: int = 0,
    against: str | None = None,
    against_recipe: str | Path | Recipe | None = None,
    out: Path | None = None,
    resize: Resize | None = None,
    skip_bad: bool = False,
    split_near_duplicates: bool = False,
    devices: str = "1",
    quiet: bool = False,
) -> CrossValidated:
    """Trains once a fold and scores each image by a model that has not seen it. Test images are not touched.

    Stopped and called again with the same arguments, it goes on with the folds that are not trained yet. Several
    workers and devices share the folds; what they come to is what one process comes to.

    Args:
        model, data, recipe, overrides, resize, skip_bad, split_near_duplicates: as `recipes.fit.fit`.
        folds: how many; stratified, and groups stay whole.
        seed: of the split into folds; trainings take the recipe's.
        against: another model to train on the same folds.
        against_recipe: its recipe; that of `model` if None.
        out: a CSV file for the predictions: of each image its number or file, fold, label, and a score a class.
        devices: of this machine, share the folds, as in `recipes.fit.fit`: a process for each that is named.
        quiet: no line a fold on stderr.

    Raises:
        RequestError: a name or setting that is not possible, or more folds than the rarest class has images.
        FailureError: a training that failed, a file that cannot be written, or a worker or process that is gone.
    """
    named, recipe = model_and_recipe(model, recipe)
    reading: dict[str, Any] = {
        "resize": resize,
        "skip_bad": skip_bad,
        "split_near_duplicates": split_near_duplicates,
    }
    settings = resolve(named, data, recipe, overrides, **reading)
    rival = None
    if against or against_recipe:
        chosen = recipe if against_recipe is None else against_recipe
        rival = resolve(against or named, data, chosen, overrides, **reading)
        if rival.data.image_shape != settings.data.image_shape:
            shape = f"model.input_shape={list(settings.data.image_shape)}"
            rival = resolve(against or named, data, chosen, [*overrides, shape], **reading)
    refuse_teachers(settings, rival)
    several = separately(devices) if len(read_place(os.environ)[0]) < 2 else []
    apart = len(several) > 1  # a process for each
    team = ALONE if apart else join(devices)
    if team.devices:
        raise RequestError("a fold is trained on one device: start a worker for each, without --devices.")
    with team.together():
        if out and team.is_chief and not out.absolute().parent.is_dir():
            raise RequestError(f"{out} is not possible: its folder does not exist.")
        images = load_images(settings, None, quiet=quiet)
    if team.size > 1:
        team.check_same("set of images", digest_of(images.class_names, images.parts.values()))
    gpus = [gpu for _, gpu in several if gpu] if apart else team.gpus
    with team.together():
        if team.size > folds:
            raise RequestError(f"{folds} folds are too few for {team.size} workers.")
        plan = Plan(settled(settings, gpus), rival and settled(rival, gpus), folds, seed, quiet)
        work = FoldWork(plan, images)
    for number in sorted(work.done):
        work.say(number, "  (trained before)")
    try:
        left = work.left_by(team)
        with team.together():
            if apart:
                work.train_on([name for name, _ in several], left)
            else:
                work.train(left[team.share(len(left))])
        all_folds, scores_of = work.gathered(team)
    except LostWorkerError as error:
        raise LostWorkerError(f"{error} Trained folds are kept: the same command goes on.") from None
    pool, held_parts = work.pool, work.held
    fold_of = np.zeros(len(pool), int)
    for number, held in enumerate(held_parts):
        fold_of[held] = number
    ours, theirs = all_folds[:, 0].tolist(), all_folds[:, -1].tolist()
    if out and team.is_chief:
        _write_predictions(out, images, pool, fold_of, scores_of)
    work.forget()
    result = _summary(settings, recipe, images.task, ours)
    if rival:
        other = _summary(rival, against_recipe or recipe, images.task, theirs).to_dict()
        t, p = paired_test(np.subtract(ours, theirs))
        difference = float(np.mean(ours) - np.mean(theirs))
        result = CrossValidated(**vars(result) | {"against": other | {"difference": difference, "t": t, "p": p}})
    return result


def paired_test(differences: np.ndarray) -> tuple[float, float]:
    """The corrected resampled t-test of Nadeau and Bengio 2003 (https://doi.org/10.1023/A:1024068626366, section 3).

    Args:
        differences: of two models' scores (K,), one a fold of a K-fold cross-validation.

    Returns:
        t with K - 1 degrees of freedom, and the two-sided p: how often two equally good models would differ by as much
        or more. Where all differences are the same, t is infinite, or 0 if that is 0.
    """
    from scipy.stats import t as student

    error = _corrected_error(differences)
    mean = float(np.mean(differences))
    t = mean / error if error else float(np.sign(mean)) * np.inf if mean else 0.0
    return float(t), float(2 * student.sf(abs(t), len(differences) - 1))


def _corrected_error(values: np.ndarray) -> float:
    """Standard error of the mean over K folds, each of which learns from K - 1 others less what chooses its epoch."""
    folds = len(values)
    learnt = (folds - 1) * (1 - dict(FRACTIONS)["validation"])  # times what is held out
    return float(np.sqrt((1 / folds + 1 / learnt) * np.var(values, ddof=1)))


def _summary(
    settings: ResolvedRecipe, recipe: str | Path | Recipe | None, task: str, scores: list[float]
) -> CrossValidated:
    from scipy.stats import t as student

    mean, reach = float(np.mean(scores)), student.ppf(0.975, len(scores) - 1) * _corrected_error(np.array(scores))
    named = "its own" if isinstance(recipe, Recipe) else str(recipe or "default")
    spread = float(np.std(scores, ddof=1))
    interval = (float(mean - reach), float(mean + reach))
    return CrossValidated(settings.model.name, named, TASKS[task].score, tuple(scores), mean, spread, interval)


def _write_predictions(out: Path, images: Data, pool: Split, fold_of: np.ndarray, scores_of: np.ndarray) -> None:
    def write(aside: Path) -> None:
        with open(aside, "w", encoding="utf-8", newline="") as file:
            table = csv.writer(file)
            table.writerow(("image", "fold", "label", *images.class_names))
            for i, row in enumerate(scores_of):
                name = pool.files[i] if pool.files else i
                label = images.label_kind.text(pool.labels[i], images.class_names)
                table.writerow((name, fold_of[i] + 1, label, *(f"{score:.6g}" for score in row)))

    write_whole(out, write)
