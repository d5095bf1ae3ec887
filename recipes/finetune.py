"""Fine-tuning: a model that was trained elsewhere learns other classes, its head first and then, if asked, its top."""

import tempfile
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import recipes.data
from recipes.config.settings import DataRules, Recipe, ResolvedRecipe
from recipes.data import Data
from recipes.data.dataset import digest_of
from recipes.data.decoding import Resize
from recipes.data.readers import absolute_source
from recipes.distributed.team import LostWorkerError, Team, join
from recipes.run.folder import Run, check_free
from recipes.run.keras_file import load_keras_file
from recipes.tasks import TASKS
from recipes.training.device import in_words, settled
from recipes.training.resolving import named_recipe
from recipes.training.session import Fitted, load_images, refuse_teachers, versions
from recipes.training.tensorboard import require_tensorboard
from recipes.transfer.backbone import build
from recipes.transfer.classes import in_parts_of, keep_head
from recipes.transfer.phases import FineTuning, train_in_phases
from recipes.transfer.quantize import resolve, train_as_integers, twin
from recipes.transfer.source import Source, open_source
from zoo import get_card, list_models
from zoo.backend import as_keras_ships, keras
from zoo.errors import FailureError, RequestError
from zoo.groups import check_copies
from zoo.registry import require_plugin

__all__ = ["finetune"]

FEW, MANY = 20, 20_000  # images a class, images: what the default recipe goes by


@as_keras_ships
def finetune(
    source: str | Path,
    *,
    data: str | None = None,
    out: str | Path,
    recipe: str | Path | Recipe | None = None,
    overrides: Sequence[str] = (),
    weights: str | None = None,
    keep_old_classes: bool = False,
    resize: Resize | None = None,
    skip_bad: bool = False,
    split_near_duplicates: bool = False,
    devices: str = "1",
    tensorboard: bool = False,
    overwrite: bool = False,
    quiet: bool = False,
) -> Fitted:
    """Trains a model on from what it learnt elsewhere, and leaves a run folder.

    First a new head learns on features of the frozen backbone, which are computed once. Then, if the recipe says so,
    the last stages or layers learn too, from what is cached below them. The weights of the best epoch, see
    `recipes.tasks.Task.merit`, are kept.

    Args:
        source: a model with published weights, a run folder, or a `.keras` file of a model of this zoo.
        data: a source of images, see `recipes.data.load`. With `finetune.quantize` a run goes on with its own images:
            where they are now, if they were moved.
        out: the run folder to make.
        recipe: a name, a TOML file or a `Recipe`; by the number of images if None.
        overrides: `key=value` settings of the recipe, which come before its own.
        weights: of a model that is named, as `zoo.create_model` takes them; ImageNet's if None.
        keep_old_classes: `source` is a run whose classes stay: its images are learnt again with those of `data`.
        resize, skip_bad, split_near_duplicates, devices, tensorboard, overwrite, quiet: as `recipes.fit.fit`. Where
            neither they nor the recipe say otherwise, images for a run are resized and split as its own were.

    Raises:
        RequestError: a name, setting or folder that is not possible; nothing was written.
        FailureError: data or weights that could not be prepared, or a disk that could not be written.
    """
    team = join(devices)
    if not team.is_chief:
        task = team.task_of_chief()
        settings = ResolvedRecipe.model_validate(task["recipe"])
        return follow(team, Run(Path(task["run"])), settings, task["split_table"], quiet=quiet)
    with team.told():
        opened = open_source(source, weights)
        named = partial(named_recipe, model=opened.model.name, overrides=overrides, kind="finetune")
        if recipe is not None:
            recipe = named(recipe)
        if recipe and recipe.finetune and recipe.finetune.quantize:
            own = {"resize": resize is not None, "skip_bad": skip_bad, "split_near_duplicates": split_near_duplicates}
            own |= {"keep_old_classes": keep_old_classes, "weights": weights is not None}
            if given := [name for name, is_set in own.items() if is_set]:
                raise RequestError(f"{given[0]} is not possible with finetune.quantize: a run goes on as it is.")
            _refuse_integers(team)
            return _go_on_as_integers(
                opened, recipe, data, Path(out), tensorboard=tensorboard, overwrite=overwrite, quiet=quiet
            )
        if data is None:
            raise RequestError("--data is missing.")
        recipes.data.check_source(data)
        resolved = partial(
            _resolve,
            opened,
            data,
            weights=weights,
            resize=resize,
            skip_bad=skip_bad,
            split_near_duplicates=split_near_duplicates,
            keep_old_classes=keep_old_classes,
        )
        settings = resolved(recipe or named("head"))
        if tensorboard:
            require_tensorboard()
        check_free(Path(out), overwrite=overwrite)
        images = load_images(settings, None, quiet=quiet)
        kept = opened.run if settings.finetune and settings.finetune.keep_old_classes else None
        if kept:
            images = in_parts_of(kept, images, skip_bad=settings.data.skip_bad)
        notes: tuple[str, ...] = ()
        if recipe is None:  # it can be chosen now that the images are counted
            recipe = choose(len(images.train), len(images.class_names))
            notes = (f"recipe {recipe}, for {len(images.train):,} training images; --recipe chooses another.",)
            settings = resolved(named(recipe))
            TASKS[images.task].check(settings)
        left_open = settings.in_epochs(len(images.train))
        settings = settled(left_open, team.gpus, alone=team.strategy is None)
        notes = (*notes, *in_words(left_open, settings, team.gpus))
        tuning = FineTuning.of(settings, images, _begun(opened, settings, images, kept), notes, team)
        run = Run.create(out, overwrite=overwrite, tensorboard=tensorboard)
    with run.lock():
        with team.told():
            run.write_data(images)
            tuning.model.save(run.path / "checkpoints" / "start.keras")
            run.write_recipe(settings)
        return _lead(tuning, run, quiet=quiet)


@as_keras_ships
def go_on(run: Run, team: Team, *, quiet: bool) -> Fitted:
    """Goes on with an interrupted fine-tuning; the caller holds the run's lock. See `recipes.fit.resume`."""
    start, settings = run.path / "checkpoints" / "start.keras", run.recipe
    with team.told():
        if not start.is_file():
            raise RequestError(f"{start} does not exist: the fine-tuning cannot go on, and has to begin again.")
        as_integers = bool(settings.finetune and settings.finetune.quantize)
        if as_integers:
            _refuse_integers(team)
        images = load_images(settings, run.split_table, quiet=quiet)
        run.keep_data(images)
        model = load_keras_file(start)
        if as_integers:
            return train_as_integers(settings, images, model, run, quiet=quiet)
        tuning = FineTuning.of(settings, images, model, team=team)
    return _lead(tuning, run, quiet=quiet)


def _lead(tuning: FineTuning, run: Run, *, quiet: bool) -> Fitted:
    """Trains, and tells the other workers what: the recipe, the parts, and the model that it begins with."""
    team, table = tuning.team, run.split_table
    if team.size > 1:
        team.lead(str(run.path), tuning.recipe.model_dump(mode="json"), table.read_bytes() if table else None)
        team.from_chief((run.path / "checkpoints" / "start.keras").read_bytes())
        with team.together():
            pass  # until all have the images
        team.check_same("set of images", digest_of(tuning.images.class_names, tuning.images.parts.values()))
    return _trained(tuning, run, quiet=quiet)


@as_keras_ships
def follow(team: Team, run: Run, settings: ResolvedRecipe, split_table: str | None, *, quiet: bool) -> Fitted:
    """Trains what the chief says, and leaves nothing."""
    start = team.from_chief(b"")
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as made:
        folder = Path(made)
        with team.together():
            require_plugin(settings.plugin, "the chief's recipe")
            table = folder / "split.csv" if split_table else None
            if table and split_table:
                table.write_bytes(split_table.encode())
            images = load_images(settings, table, quiet=True)
            (folder / "start.keras").write_bytes(start)
            tuning = FineTuning.of(settings, images, load_keras_file(folder / "start.keras"), team=team)
        team.check_same("set of images", digest_of(images.class_names, images.parts.values()))
        return _trained(tuning, run, quiet=quiet, scratch=folder)


def _trained(tuning: FineTuning, run: Run, *, quiet: bool, scratch: Path | None = None) -> Fitted:
    try:
        return train_in_phases(tuning, run, quiet=quiet, scratch=scratch)
    except LostWorkerError as error:
        raise FailureError(f"{error} `zoo resume {run.path}` on every worker goes on.") from None


def _refuse_integers(team: Team) -> None:
    if team.strategy:
        raise RequestError("quantisation-aware training runs on one device: remove the further devices or workers.")


def _go_on_as_integers(
    source: Source, recipe: Recipe, data: str | None, out: Path, *, tensorboard: bool, overwrite: bool, quiet: bool
) -> Fitted:
    from recipes.training.model import seed_all

    if source.run is None:
        raise RequestError(
            f"{source.name} is not a run: with finetune.quantize a run goes on, with the images that it has."
        )
    settings = resolve(source.run, recipe, data)
    if tensorboard:
        require_tensorboard()
    check_free(out, overwrite=overwrite)
    images = source.run.load_data(data)
    TASKS[images.task].check(settings)
    settings = settings.in_epochs(len(images.train))
    seed_all(settings)
    bits = 4 if recipe.finetune and recipe.finetune.quantize == "int4" else 8
    model = twin(source.run.load_model(), images, bits)
    run = Run.create(out, overwrite=overwrite, tensorboard=tensorboard)
    with run.lock():
        run.write_data(images)
        model.save(run.path / "checkpoints" / "start.keras")
        run.write_recipe(settings)
        return train_as_integers(settings, images, model, run, quiet=quiet)


def choose(images: int, classes: int) -> str:
    """The recipe for so many training images: what learns must be less the fewer there are."""
    if images < FEW * classes:
        return "head"
    return "last-stage" if images < MANY else "full-llrd"


def _resolve(
    source: Source,
    data: str,
    recipe: Recipe,
    *,
    weights: str | None,
    resize: Resize | None,
    skip_bad: bool,
    split_near_duplicates: bool,
    keep_old_classes: bool,
) -> ResolvedRecipe:
    """The recipe with everything in it that decides the training."""
    if recipe.finetune is None:
        raise RequestError("this recipe has no table [finetune]: it trains from scratch; see `zoo fit`.")
    if recipe.unknown:
        raise RequestError("unknown images are learnt against by `zoo fit` alone: remove the table [unknown].")
    refuse_teachers(recipe)
    tuning, cached = recipe.finetune, recipe.finetune.stages != "all"
    if recipe.augment.mixes and (cached or tuning.views > 1):
        raise RequestError("mixup and cutmix need finetune.stages=all and one view: mixed images cannot be cached.")
    if not recipe.augment.is_identity and cached and tuning.views == 1:
        raise RequestError(
            "augment has no effect on features that are computed once; set finetune.views=4 for three varied views of "
            'each image, finetune.stages="all" to vary them in every epoch, or augment=none.'
        )
    wanted = recipe.model.model_dump(exclude_unset=True) if recipe.model else {}
    if weights is not None or source.run or source.file:  # a recipe may be of a run that began with others
        wanted.pop("weights", None)
    model = source.model.model_copy(update=wanted | {"name": source.model.name})
    if model.input_shape is None:
        raise RequestError(f"{source.name} does not say which size of image it takes.")
    check_copies(model.symmetry, model.input_shape, "", source.name)
    rules = recipe.data or DataRules()
    if source.run:  # the same images are then in the same parts, and seen in the same way
        own = source.run.recipe.data.rules.model_dump(exclude={"skip_bad"})
        rules = DataRules(**own | rules.model_dump(exclude_unset=True, include=set(DataRules.model_fields)))
    first, also = data, []
    keep = keep_old_classes or tuning.keep_old_classes
    if keep:
        if not source.run:
            raise RequestError(f"{source.name} is not a run: only a run has classes to keep.")
        before = source.run.recipe.data
        every = dict.fromkeys((before.source, *(before.also or ()), absolute_source(data)))  # each once, in order
        first, *also = every
    return ResolvedRecipe(
        **dict(recipe)
        | {
            "model": model,
            "data": rules.of(
                first,
                model.input_shape,
                tuple(also) or None,
                resize=resize,
                skip_bad=skip_bad,
                split_near_duplicates=split_near_duplicates,
            ),
            "finetune": tuning.model_copy(update={"source": source.name, "keep_old_classes": keep}),
            "plugin": get_card(model.name).plugin if model.name in list_models() else None,
            "versions": versions(),
        }
    )


def _begun(source: Source, settings: ResolvedRecipe, images: Data, kept: Run | None) -> "keras.Model":
    """The model that the training begins with; the classes of the run `kept` are as they were there."""
    from recipes.training.model import seed_all
    from zoo.precision import computing_in

    seed_all(settings)
    task = TASKS[images.task]
    with computing_in(settings.precision or "float32"):
        model = build(source, settings.model, len(images.class_names), task.activation)
    model = task.in_units(model, images)
    if kept:
        keep_head(model, kept, images.class_names)
    return model
