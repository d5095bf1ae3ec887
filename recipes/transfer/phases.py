"""The two phases of a fine-tuning: the head learns on cached features, then the top of the backbone learns too."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from recipes.augment.pipeline import Augment
from recipes.config.settings import FineTune, Recipe, ResolvedRecipe, Schedule
from recipes.data import Data, Split
from recipes.distributed.team import ALONE, Team
from recipes.run.folder import Run
from recipes.tasks import TASKS
from recipes.training.session import Fitted, hand_over, judged, notes_on
from zoo.backend import keras
from zoo.errors import FailureError, RequestError
from zoo.keras_internals import all_layers
from zoo.stages import Cut, Parts, chained, cut, take_apart

if TYPE_CHECKING:
    from recipes.training.checkpoint import State


@dataclass(frozen=True, eq=False)
class FineTuning:
    """A fine-tuning that can begin, or go on.

    Attributes:
        recipe: what the run is trained with.
        settings: its table `finetune`.
        images: what it learns from.
        model: the source's backbone under a new head.
        parts: of the model; they share its layers.
        cut: of the backbone: what stays frozen, and what learns in the second phase.
        notes: what was decided on the way, a sentence each.
        team: who computes features in shares, and learns together.
    """

    recipe: ResolvedRecipe
    settings: FineTune
    images: Data
    model: "keras.Model"
    parts: Parts
    cut: Cut
    notes: tuple[str, ...] = ()
    team: Team = ALONE

    @property
    def copies(self) -> int:
        """Rows an image at the boundary."""
        return self.parts.copies if self.cut.lower else 1

    @property
    def above(self) -> tuple["keras.Model | None", ...]:
        """From the boundary, or the image, to the features."""
        return None if self.cut.lower else self.parts.scaling, self.cut.upper, self.parts.pooling

    @classmethod
    def of(
        cls,
        recipe: ResolvedRecipe,
        images: Data,
        model: "keras.Model",
        notes: tuple[str, ...] = (),
        team: Team = ALONE,
    ) -> "FineTuning":
        """Takes the model apart and cuts its backbone.

        Raises:
            RequestError: the recipe has no table `finetune`, the backbone has fewer stages or layers than it says, or a
                batch cannot be split over the team.
        """
        from recipes.training.replicas import check_shares

        check_shares(recipe, images, team)
        settings, parts = recipe.finetune, take_apart(model)
        if settings is None:
            raise RequestError("this recipe has no table [finetune].")
        stages = None if settings.stages == "all" else settings.stages
        try:
            pieces = cut(parts.backbone, stages=stages, layers=settings.layers)
        except RequestError as error:
            raise RequestError(f"finetune.{error}") from None
        return cls(recipe, settings, images, model, parts, pieces, notes, team)


def train_in_phases(tuning: FineTuning, run: Run, *, quiet: bool, scratch: Path | None = None) -> Fitted:
    """Trains, or goes on from the run's checkpoints, and leaves the model and its metrics in the run.

    Of a team, the chief alone has the run; `scratch` is where another keeps features that do not fit into memory.

    The second phase's weights are kept unless the first phase's were better on the validation images.

    Raises:
        FailureError: as `recipes.training.loop.train`; statistics of BatchNorm moved although they are frozen.
    """
    from recipes.training.calibration import before_scores, calibrate
    from recipes.transfer.features import Frozen

    images, model, parts, task = tuning.images, tuning.model, tuning.parts, TASKS[tuning.images.task]
    team, kept = tuning.team, run if tuning.team.is_chief else None
    boundary, features = _through_what_is_frozen(tuning, scratch or run.path / "checkpoints")
    head = _train_head(tuning, features, kept, quiet=quiet)
    best: Mapping[str, float] = head.history[head.best_epoch - 1]
    best_epoch = head.best_epoch
    if tuning.cut.upper is not None:
        best_epoch, best = _train_top(tuning, boundary, head, kept, quiet=quiet)
    model.trainable = True  # as any other model; what was frozen is for this training to know

    def logits() -> np.ndarray:
        made = chained(*tuning.above, before_scores(parts.classifier), given=tuning.copies)
        return np.asarray(Frozen(made, boundary.validation.images.dtype)(boundary.validation, team=team).images)

    calibration = calibrate(model, logits, images, tuning.recipe, task)
    scored = chained(*tuning.above, parts.classifier, given=tuning.copies)
    scores = np.asarray(Frozen(scored, boundary.test.images.dtype)(boundary.test, team=team).images)
    warnings = task.warnings(best, images)
    notes = (*tuning.notes, *notes_on(model))
    if team.is_chief:
        metrics = hand_over(model, scores, images, run, calibration)
    else:
        metrics = judged(scores, images, calibration)
    return Fitted(run, metrics, best_epoch, tuple(warnings), notes)


def _through_what_is_frozen(tuning: FineTuning, folder: Path) -> tuple[Data, Data]:
    """What the second phase trains from, at the boundary, and on the way from there the features, for the first.

    Where an image has several copies, they are kept together, and the second phase learns from all of them.
    """
    parts, views = tuning.parts, tuning.settings.views
    below = chained(parts.scaling, tuning.cut.lower, made=tuning.copies) if tuning.cut.lower else None
    boundary = _through(below, tuning.images, tuning, folder / "boundary", views=views) if below else tuning.images
    to_features = chained(*tuning.above, given=tuning.copies, made=parts.feature_copies)
    return boundary, _through(
        to_features, boundary, tuning, folder / "features", views=1 if below else views, test=False
    )


def _through(
    part: "keras.Model", images: Data, tuning: FineTuning, file: Path, *, views: int, test: bool = True
) -> Data:
    """The data with what a frozen part makes of its images; several views of the training images only.

    The test images are left as they are unless `test`.
    """
    from recipes.transfer.features import Frozen

    frozen = Frozen(part, images.train.images.dtype, tuning.recipe.augment)

    def made(name: str, **varied: int) -> Split:
        at = file.with_name(f"{file.name}-{name}.npy")
        return frozen(images.parts[name], file=at, team=tuning.team, **varied)

    return replace(
        images,
        train=made("train", views=views, seed=tuning.recipe.seed),
        validation=made("validation"),
        test=made("test") if test else images.test,
    )


def _train_head(tuning: FineTuning, features: Data, run: Run | None, *, quiet: bool) -> "State":
    """The first phase; its best weights are in the head."""
    from recipes.training.loop import train
    from recipes.training.model import compile_model
    from recipes.training.replicas import check_shares

    recipe = tuning.recipe.model_copy(update={"augment": Augment()})  # it is in the views already
    head = chained(tuning.parts.classifier, given=tuning.parts.feature_copies)
    compile_model(head, recipe, features)
    check_shares(recipe, features, tuning.team)  # again: of few images, a batch is all of their views
    return train(head, features, recipe, run, quiet=quiet, phase="head", team=tuning.team)


def _train_top(
    tuning: FineTuning, boundary: Data, head: "State", run: Run | None, *, quiet: bool
) -> tuple[int, Mapping[str, float]]:
    """The second phase, from the boundary up; the best weights of both phases are in the model.

    Returns:
        Which epoch they are of, from 1 on over both phases, and its row of the history.

    Raises:
        FailureError: statistics of BatchNorm moved although they are frozen.
    """
    model, backbone, best = tuning.model, tuning.parts.backbone, head.history[head.best_epoch - 1]
    before, statistics = model.get_weights(), batch_norm_statistics(backbone)
    top = _train_upper(tuning, boundary, head, run, quiet=quiet)
    if tuning.settings.batch_norm == "frozen" and not _same(statistics, batch_norm_statistics(backbone)):
        raise FailureError("statistics of BatchNorm moved although they are frozen; the model is not kept.")
    merit = partial(TASKS[tuning.images.task].merit, images=len(tuning.images.validation))
    if merit(top.history[top.best_epoch - 1]) >= merit(best):
        return head.epoch + top.best_epoch, top.history[top.best_epoch - 1]
    model.set_weights(before)
    return head.best_epoch, best


def _train_upper(tuning: FineTuning, boundary: Data, head: "State", run: Run | None, *, quiet: bool) -> "State":
    from recipes.training.loop import train
    from recipes.training.model import compile_model

    settings, upper = tuning.settings, tuning.cut.upper
    second = second_phase(tuning.recipe, settings, len(boundary.train), varies=tuning.cut.lower is None)
    set_batch_norm(upper, trainable=settings.batch_norm == "trained")
    top = chained(*tuning.above, tuning.parts.classifier, given=tuning.copies)
    rates = layer_rates(upper, settings.layer_decay) if settings.layer_decay < 1 else None
    compile_model(top, second, boundary, rates=rates)
    return train(
        top, boundary, second, run, quiet=quiet, phase="top", before=head.history, team=tuning.team, rates=rates
    )


def second_phase(recipe: Recipe, settings: FineTune, images: int, *, varies: bool) -> Recipe:
    """The recipe of the second phase.

    Args:
        recipe: of the first.
        settings: its table `finetune`.
        images: how many there are to learn from.
        varies: whether they are augmented anew in every epoch.
    """
    steps = recipe.steps_per_epoch(images)
    warmup = min(max(settings.warmup_epochs, settings.warmup_steps / steps), settings.epochs / 2)
    optimizer = {"learning_rate": settings.learning_rate, "ema": settings.ema or recipe.optimizer.ema}
    return recipe.model_copy(
        update={
            "augment": recipe.augment if varies else Augment(),
            "epochs": settings.epochs,
            "early_stopping": settings.early_stopping,
            "optimizer": recipe.optimizer.model_copy(update=optimizer),
            "schedule": Schedule(name="cosine", warmup_epochs=warmup),
        }
    )


def set_batch_norm(model: "keras.Model", *, trainable: bool) -> None:
    """Freezes or thaws every BatchNorm; a frozen one uses its statistics, in training too, and does not move them."""
    for layer in all_layers(model):
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.trainable = trainable


def layer_rates(model: "keras.Model", decay: float) -> dict[int, float]:
    """Factors of the learning rate by the `id` of a variable: `decay` for the last layer, its square for the next.

    Normalisation counts with the layer that it follows.
    """
    rates, depth = {}, 1
    for layer in reversed(model.layers):
        for variable in layer.trainable_variables:
            rates[id(variable)] = decay**depth
        if layer.trainable_variables and not isinstance(layer, keras.layers.BatchNormalization):
            depth += 1
    return rates


def batch_norm_statistics(model: "keras.Model") -> list[np.ndarray]:
    """Moving means and variances of every BatchNorm, in the order of the layers."""
    layers = all_layers(model)
    norms = [layer for layer in layers if isinstance(layer, keras.layers.BatchNormalization)]
    return [np.array(value) for norm in norms for value in (norm.moving_mean, norm.moving_variance)]


def _same(one: list[np.ndarray], other: list[np.ndarray]) -> bool:
    return all(np.array_equal(mine, theirs) for mine, theirs in zip(one, other, strict=True))
