"""Fine-tuning: a model that was trained elsewhere learns other classes, its head first and then, if asked, its top."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

import recipes.data
from recipes.config.presets import load_recipe
from recipes.config.settings import DataSettings, FineTune, Recipe, Schedule
from recipes.data import Data
from recipes.data.decoding import Resize
from recipes.data.readers import absolute_source
from recipes.distributed.team import check_alone
from recipes.run.folder import Run, check_free
from recipes.run.keras_file import load_keras_file
from recipes.support.quiet import import_keras
from recipes.tasks import TASKS
from recipes.training.session import Fitted, hand_over, load_images, versions
from recipes.training.tensorboard import require_tensorboard
from recipes.transfer.backbone import Source, build, in_parts_of, keep_classes, open_source
from zoo import get_card, list_models
from zoo.errors import FailureError, RequestError

if TYPE_CHECKING:
    import keras

    from zoo.stages import Cut, Parts

__all__ = ["finetune"]

FEW, MANY = 20, 20_000  # images a class, images: what the default recipe goes by


def finetune(
    source: str | Path,
    *,
    data: str,
    out: str | Path,
    recipe: str | Path | Recipe | None = None,
    overrides: Sequence[str] = (),
    weights: str | None = None,
    keep_old_classes: bool = False,
    resize: Resize = "fill",
    skip_bad: bool = False,
    tensorboard: bool = False,
    overwrite: bool = False,
    quiet: bool = False,
) -> Fitted:
    """Trains a model on from what it learnt elsewhere, and leaves a run folder.

    First a new head learns on features of the frozen backbone, which are computed once. Then, if the recipe says so,
    the last stages or layers learn too, from what is cached below them. The weights with the best validation accuracy
    are kept.

    Args:
        source: a model with published weights, a run folder, or a `.keras` file of a model of this zoo.
        data: a source of images, see `recipes.data.load`.
        out: the run folder to make.
        recipe: a name, a TOML file or a `Recipe`; by the number of images if None.
        overrides: `key=value` settings, applied to a recipe that is named or a file.
        weights: of a model that is named, as `zoo.create_model` takes them; ImageNet's if None.
        keep_old_classes: `source` is a run whose classes stay: its images are learnt again with those of `data`.
        resize, skip_bad, tensorboard, overwrite, quiet: as `recipes.fit.fit`.

    Raises:
        RequestError: a name, setting or folder that is not possible; nothing was written.
        FailureError: data or weights that could not be prepared, or a disk that could not be written.
    """
    check_alone("fine-tuning")
    opened = open_source(source, weights)
    recipes.data.check_source(data)
    settings = _resolve(opened, data, recipe or "head", overrides, resize, skip_bad=skip_bad, keep=keep_old_classes)
    if tensorboard:
        require_tensorboard()
    check_free(Path(out), overwrite=overwrite)
    images = load_images(settings, None, quiet=quiet)
    if keep_old_classes:
        images = in_parts_of(opened.run, images, skip_bad=skip_bad)
    notes: tuple[str, ...] = ()
    if recipe is None:
        recipe = choose(len(images.train), len(images.class_names))
        notes = (f"recipe {recipe}, for {len(images.train):,} training images; --recipe chooses another.",)
        settings = _resolve(opened, data, recipe, overrides, resize, skip_bad=skip_bad, keep=keep_old_classes)
    settings = settings.in_epochs(len(images.train))
    network = _start(opened, settings, images)
    run = Run.create(out, overwrite=overwrite, tensorboard=tensorboard)
    with run.lock():
        run.write_data(images)
        network.save(run.path / "checkpoints" / "start.keras")
        run.write_recipe(settings)
        return _train(run, settings, network, images, notes, quiet=quiet)


def go_on(run: Run, *, quiet: bool) -> Fitted:
    """Goes on with an interrupted fine-tuning; the caller holds the run's lock. See `recipes.fit.resume`."""
    images = load_images(run.recipe, run.split_table, quiet=quiet)
    network = load_keras_file(run.path / "checkpoints" / "start.keras")
    return _train(run, run.recipe, network, images, (), quiet=quiet)


def choose(images: int, classes: int) -> str:
    """The recipe for so many training images: what learns must be less the fewer there are."""
    if images < FEW * classes:
        return "head"
    return "last-stage" if images < MANY else "full-llrd"


def _resolve(
    source: Source,
    data: str,
    recipe: str | Path | Recipe,
    overrides: Sequence[str],
    resize: Resize,
    *,
    skip_bad: bool,
    keep: bool,
) -> Recipe:
    """The recipe with everything in it that decides the training."""
    if not isinstance(recipe, Recipe):
        recipe = load_recipe(recipe, [f"model.name={source.model.name}", *overrides], kind="finetune")
    if recipe.finetune is None:
        raise RequestError("this recipe has no table [finetune]: it trains from scratch; see `zoo fit`.")
    tuning, cached = recipe.finetune, recipe.finetune.stages != "all"
    if recipe.augment.mixes and (cached or tuning.views > 1):
        raise RequestError("mixup and cutmix need finetune.stages=all and one view: mixed images cannot be cached.")
    if not recipe.augment.is_identity and cached and tuning.views == 1:
        raise RequestError(
            "augment has no effect on features that are computed once; set finetune.views=4 for three varied views of "
            'each image, finetune.stages="all" to vary them in every epoch, or augment=none.'
        )
    wanted = recipe.model.model_dump(exclude_unset=True) if recipe.model else {}
    model = source.model.model_copy(update=wanted | {"name": source.model.name})
    if keep and not source.run:
        raise RequestError(f"{source.name} is not a run: only a run has classes to keep.")
    first, also = data, []
    if keep:
        before = source.run.recipe.data
        every = dict.fromkeys((before.source, *(before.also or ()), absolute_source(data)))  # each once, in order
        first, *also = every
    return recipe.model_copy(
        update={
            "model": model,
            "data": DataSettings(
                source=first, also=tuple(also) or None, image_shape=model.input_shape, resize=resize, skip_bad=skip_bad
            ),
            "finetune": recipe.finetune.model_copy(update={"source": source.name, "keep_old_classes": keep}),
            "plugin": get_card(model.name).plugin if model.name in list_models() else None,
            "versions": versions(),
        }
    )


def _start(source: Source, settings: Recipe, images: Data) -> "keras.Model":
    import_keras()
    from recipes.training.model import seed_all
    from zoo.stages import take_apart

    seed_all(settings)
    task = TASKS[images.task]
    task.check(settings)
    network = task.in_units(build(source, settings.model, len(images.class_names), task.activation), images)
    if settings.finetune.keep_old_classes:
        keep_classes(network, source.run, images.class_names)
    _sections(take_apart(network).backbone, settings.finetune)  # a cut that is not possible is told now
    return network


def _train(
    run: Run, settings: Recipe, network: "keras.Model", images: Data, notes: tuple[str, ...], *, quiet: bool
) -> Fitted:
    from recipes.transfer.features import Frozen
    from zoo.stages import chained, take_apart

    tuning, parts = settings.finetune, take_apart(network)
    sections = _sections(parts.backbone, tuning)
    # The boundary is what the second phase trains from, and on the way to the features of the first.
    below = chained(parts.scaling, sections.lower) if sections.lower else None
    boundary = _through(below, images, settings, run, "boundary", views=tuning.views) if below else images
    above = [None if below else parts.scaling, sections.upper, parts.pooling]
    views = 1 if below else tuning.views
    features = _through(chained(*above), boundary, settings, run, "features", views=views, test=False)

    history, best = _train_head(run, settings, parts, features, quiet=quiet)
    best_row, best_epoch = history[best - 1], best
    if sections.upper is not None:
        statistics = _statistics(parts.backbone)
        before = network.get_weights()
        rows, best = _train_top(run, settings, parts, sections, boundary, history, quiet=quiet)
        if tuning.batch_norm == "frozen" and not _same(statistics, _statistics(parts.backbone)):
            raise FailureError("statistics of BatchNorm moved although they are frozen; the model is not kept.")
        merit = TASKS[images.task].merit
        if merit(rows[best - 1]) >= merit(best_row):
            best_epoch = len(history) + best
        else:
            network.set_weights(before)
    network.trainable = True  # as any other model; what was frozen is for this training to know
    scores = Frozen(chained(*above, parts.classifier), boundary.test.images.dtype)(boundary.test).images
    metrics = hand_over(network, scores, images, run)
    return Fitted(run, metrics, best_epoch, (), notes)


def _sections(backbone: "keras.Model", tuning: FineTune) -> "Cut":
    from zoo.stages import cut

    try:
        return cut(backbone, stages=None if tuning.stages == "all" else tuning.stages, layers=tuning.layers)
    except RequestError as error:
        raise RequestError(f"finetune.{error}") from None


def _through(
    part: "keras.Model", images: Data, settings: Recipe, run: Run, name: str, *, views: int, test: bool = True
) -> Data:
    """The data with what a frozen part makes of its images; several views of the training images only.

    The test images are left as they are unless `test`.
    """
    from recipes.transfer.features import Frozen

    frozen, folder = Frozen(part, images.train.images.dtype, settings.augment), run.path / "checkpoints"
    return replace(
        images,
        train=frozen(images.train, views=views, seed=settings.seed, file=folder / f"{name}-train.npy"),
        validation=frozen(images.validation, file=folder / f"{name}-validation.npy"),
        test=frozen(images.test, file=folder / f"{name}-test.npy") if test else images.test,
    )


def _train_head(
    run: Run, settings: Recipe, parts: "Parts", features: Data, *, quiet: bool
) -> tuple[list[dict[str, float]], int]:
    """The first phase: history and best epoch, whose weights are in the head."""
    from recipes.augment.pipeline import Augment
    from recipes.training.loop import train
    from recipes.training.model import compile_model
    from zoo.stages import chained

    settings = settings.model_copy(update={"augment": Augment()})  # it is in the views already
    head = chained(parts.classifier)
    compile_model(head, settings, features)
    state = train(head, features, settings, run, quiet=quiet, phase="head")
    return state.history, state.best_epoch


def _train_top(
    run: Run,
    settings: Recipe,
    parts: "Parts",
    sections: "Cut",
    boundary: Data,
    history: list[dict[str, float]],
    *,
    quiet: bool,
) -> tuple[list[dict[str, float]], int]:
    """The second phase, from the boundary up: its history and best epoch, whose weights are in the model."""
    from recipes.augment.pipeline import Augment
    from recipes.training.loop import train
    from recipes.training.model import compile_model
    from zoo.stages import chained

    tuning = settings.finetune
    second = settings.model_copy(
        update={
            "augment": Augment() if sections.lower else settings.augment,
            "epochs": tuning.epochs,
            "early_stopping": tuning.early_stopping,
            "optimizer": settings.optimizer.model_copy(update={"learning_rate": tuning.learning_rate}),
            "schedule": Schedule(name="cosine", warmup_epochs=min(tuning.warmup_epochs, tuning.epochs / 2)),
        }
    )
    set_batch_norm(sections.upper, trainable=tuning.batch_norm == "trained")
    scaling = None if sections.lower else parts.scaling
    top = chained(scaling, sections.upper, parts.pooling, parts.classifier)
    rates = layer_rates(sections.upper, tuning.layer_decay) if tuning.layer_decay < 1 else None
    compile_model(top, second, boundary, rates=rates)
    state = train(top, boundary, second, run, quiet=quiet, phase="top", before=history)
    return state.history, state.best_epoch


def set_batch_norm(model: "keras.Model", *, trainable: bool) -> None:
    """Freezes or thaws every BatchNorm; a frozen one uses its statistics, in training too, and does not move them."""
    import keras

    for layer in model._flatten_layers(include_self=False):
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.trainable = trainable


def layer_rates(model: "keras.Model", decay: float) -> dict[int, float]:
    """Factors of the learning rate by the `id` of a variable: `decay` for the last layer, its square for the next.

    Normalisation counts with the layer that it follows.
    """
    import keras

    rates, depth = {}, 1
    for layer in reversed(model.layers):
        for variable in layer.trainable_variables:
            rates[id(variable)] = decay**depth
        if layer.trainable_variables and not isinstance(layer, keras.layers.BatchNormalization):
            depth += 1
    return rates


def _statistics(model: "keras.Model") -> list[np.ndarray]:
    import keras

    layers = model._flatten_layers(include_self=False)
    norms = [layer for layer in layers if isinstance(layer, keras.layers.BatchNormalization)]
    return [np.array(value) for norm in norms for value in (norm.moving_mean, norm.moving_variance)]


def _same(one: list[np.ndarray], other: list[np.ndarray]) -> bool:
    return all(np.array_equal(mine, theirs) for mine, theirs in zip(one, other, strict=True))
