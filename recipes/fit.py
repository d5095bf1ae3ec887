"""Training from scratch: a model, data and a recipe become a run."""

import contextlib
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from recipes.config.settings import Model, Recipe, ResolvedRecipe
from recipes.data import Data
from recipes.data.dataset import at_once, digest_of
from recipes.data.decoding import Resize
from recipes.distributed import team as workers
from recipes.distributed.team import LostWorkerError, Team
from recipes.run.folder import Run, check_free
from recipes.tasks import TASKS
from recipes.training import checkpoint
from recipes.training.device import in_words, settled
from recipes.training.resolving import resolve
from recipes.training.session import Fitted, hand_over, judged, load_images, notes_on
from recipes.training.tensorboard import require_tensorboard
from zoo.backend import as_keras_ships, keras
from zoo.errors import FailureError, RequestError
from zoo.groups import copies_in
from zoo.registry import require_plugin

if TYPE_CHECKING:
    from recipes.training.distill import Teachers
    from recipes.training.estimate import Estimate

__all__ = ["Fitted", "estimate", "fit", "resume"]


@as_keras_ships
def fit(
    model: str | Model | None,
    *,
    data: str,
    out: str | Path,
    recipe: str | Path | Recipe | None = None,
    overrides: Sequence[str] = (),
    resize: Resize | None = None,
    skip_bad: bool = False,
    split_near_duplicates: bool = False,
    teachers: Sequence[str | Path] = (),
    devices: str = "1",
    seconds: float | None = None,
    tensorboard: bool = False,
    overwrite: bool = False,
    quiet: bool = False,
) -> Fitted:
    """Trains a model from scratch and leaves a run folder.

    Args:
        model: a name from the registry, or a recipe that names its own; the recipe's own model if None.
        data: a source, see `recipes.data.load`.
        out: the run folder to make.
        recipe: a name, a TOML file or a `Recipe`; by the data if None.
        overrides: `key=value` settings of the recipe, which come before its own.
        resize: how images of another size are brought to the model's, `fill`, `fit` or `stretch`, see
            `recipes.data.decoding.to_array`; as the recipe says if None.
        skip_bad: leaves files out that cannot be used, and lists them in the run's `skipped.json`.
        split_near_duplicates: near duplicates may come into different parts, see `recipes.data.load`.
        teachers: finished runs with the same classes to learn from beside the labels, in place of the recipe's own; the
            recipe's table `[distill]` says how.
        devices: of this machine, share every batch: a number, `all`, `cpu`, or GPUs as in `gpu:0,gpu:2`. They decide
            what the recipe leaves open, see `recipes.training.device`. Where `TF_CONFIG` names several workers,
            all of them share it, see `recipes.distributed.team`; only the chief's other arguments count then.
        seconds: what the call may take, about: its first steps are measured, and the recipe gets as many epochs, with
            its schedule over them, as there is time for. The run keeps their number and is trained as with `epochs`.
        tensorboard: writes scalars and the graph for TensorBoard into the run's folder `tensorboard`.
        overwrite: replaces a run that is already in `out`.
        quiet: no progress on stderr.

    Raises:
        RequestError: a name, setting or folder that is not possible, or fewer seconds than an epoch takes; nothing was
            written.
        FailureError: data that could not be prepared, or a disk that could not be written.
    """
    began = time.perf_counter()
    if seconds is not None:
        workers.check_alone("a time")
    team = workers.join(devices)
    if not team.is_chief:
        return _follow(team, quiet=quiet)
    with team.told():
        settings = resolve(
            model,
            data,
            recipe,
            overrides,
            resize=resize,
            skip_bad=skip_bad,
            split_near_duplicates=split_near_duplicates,
            teachers=teachers,
        )
        if settings.distill and str(Path(out).absolute()) in settings.distill.teachers:
            raise RequestError(f"{out} is the teacher; choose another folder for what learns from it.")
        if tensorboard:
            require_tensorboard()
        check_free(Path(out), overwrite=overwrite)
    chosen = settled(settings, team.gpus, alone=team.strategy is None)
    _lead(team, Path(out), chosen, None)
    training = _prepare(chosen, None, team, quiet=quiet)
    training = replace(training, notes=in_words(settings, chosen, team.gpus))
    if seconds is not None:
        training = _in_time(training, seconds, began)
    run = Run.create(out, overwrite=overwrite, tensorboard=tensorboard)
    with run.lock():
        run.write_data(training.images)
        run.write_recipe(training.recipe)
        return _train(training, run, quiet=quiet)


@as_keras_ships
def estimate(
    model: str | Model | None,
    *,
    data: str,
    recipe: str | Path | Recipe | None = None,
    overrides: Sequence[str] = (),
    devices: str = "1",
    quiet: bool = False,
    **loading: Any,
) -> "Estimate":
    """What `fit` would take with these arguments; some of its steps are measured, and nothing is written.

    Args:
        model, data, recipe, overrides, devices, quiet: of `fit`.
        **loading: `resize`, `skip_bad`, `split_near_duplicates`, `teachers` of `fit`.

    Raises:
        RequestError, FailureError: as `fit`.
    """
    began = time.perf_counter()  # before TensorFlow is loaded, which the training waits for, too
    workers.check_alone("an estimate")
    settings = resolve(model, data, recipe, overrides, **loading)
    from recipes.training.estimate import measured

    team = workers.join(devices)
    settings = settled(settings, team.gpus, alone=team.strategy is None)
    training = _prepare(settings, None, team, quiet=quiet)
    prepared = time.perf_counter() - began
    return measured(training.model, training.images, training.recipe, prepared, training.teachers)


@as_keras_ships
def resume(run: str | Path | Run, *, devices: str = "1", quiet: bool = False) -> Fitted:
    """Goes on with a training that was killed, interrupted, or ran out of disk, as if it had never stopped.

    Raises:
        RequestError: no run there, or one that is finished or being written by another process.
        FailureError: as `fit`.
    """
    team = workers.join(devices)
    if not team.is_chief:
        return _follow(team, quiet=quiet)
    with contextlib.ExitStack() as locked:
        with team.told():
            run = Run.open(run)
            locked.enter_context(run.lock())
            if run.is_finished:
                without = "" if run.metrics else f" but for its metrics, which `zoo evaluate {run.path}` writes"
                raise RequestError(f"{run.path} is finished{without}; nothing is left to resume.")
            run.tidy()
            for file in run.checkpoints:
                if file.suffix == ".npz":
                    checkpoint.load(file)  # a damaged one is told before the images are read
            settings = run.recipe
        if settings.finetune:
            from recipes.finetune import go_on

            return go_on(run, team, quiet=quiet)
        _lead(team, run.path, settings, run.split_table)
        training = _prepare(settings, run.split_table, team, run, quiet=quiet)
        return _train(training, run, quiet=quiet)


@dataclass(frozen=True, eq=False)
class _Training:
    """A training that can begin, or go on: what is trained, on what, how, and by whom."""

    recipe: ResolvedRecipe
    images: Data
    model: "keras.Model"
    team: Team
    teachers: "Teachers | None" = None
    notes: tuple[str, ...] = ()


def _lead(team: Team, run: Path, settings: ResolvedRecipe, split_table: Path | None) -> None:
    """Tells the other workers what is trained."""
    team.lead(str(run), settings.model_dump(mode="json"), split_table.read_bytes() if split_table else None)


def _follow(team: Team, *, quiet: bool) -> Fitted:
    """Trains what the chief says, and leaves nothing."""
    task = team.task_of_chief()
    run, settings = Run(Path(task["run"])), ResolvedRecipe.model_validate(task["recipe"])
    if settings.finetune:
        from recipes.finetune import follow

        return follow(team, run, settings, task["split_table"], quiet=quiet)
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        table = Path(folder, "split.csv") if task["split_table"] else None
        if table:
            table.write_bytes(task["split_table"].encode())
        training = _prepare(settings, table, team, quiet=True)
    return _train(training, run, quiet=quiet)


def _prepare(
    settings: ResolvedRecipe, split_table: Path | None, team: Team, begun: Run | None = None, *, quiet: bool
) -> _Training:
    with team.together():
        require_plugin(settings.plugin, "the chief's recipe")
        images = load_images(settings, split_table, on_demand=team.size > 1, quiet=quiet)
        if begun:
            begun.keep_data(images)
        settings = settings.in_epochs(len(images.train))
        settings, teachers = _teach(settings, images)
        model = _build(settings, images, team)
    team.check_same("set of images", digest_of(images.class_names, (images.train, images.validation)))
    return _Training(settings, images, model, team, teachers)


def _teach(settings: ResolvedRecipe, images: Data) -> "tuple[ResolvedRecipe, Teachers | None]":
    """The runs that are learned from, and the recipe with what tells them from others."""
    if settings.distill is None:
        return settings, None
    from recipes.training.distill import load_teachers

    teachers = load_teachers(settings.distill, images)
    distill = settings.distill.model_copy(update={"digests": teachers.digests})
    return settings.model_copy(update={"distill": distill}), teachers


def _in_time(training: _Training, seconds: float, began: float) -> _Training:
    """The training with as many epochs as end in so many seconds after it began."""
    from recipes.training.estimate import measured

    prepared = time.perf_counter() - began
    found = measured(training.model, training.images, training.recipe, prepared, training.teachers)
    epochs = found.epochs_in(seconds - (time.perf_counter() - began - prepared))
    if epochs == 0:
        least = time.perf_counter() - began - prepared + found.seconds_of(1)
        raise RequestError(f"{seconds:g} seconds are too few: with one epoch, it takes about {least:.0f}.")
    recipe = training.recipe.model_copy(update={"epochs": epochs})
    return replace(training, recipe=recipe, model=_build(recipe, training.images, training.team))


def _build(settings: ResolvedRecipe, images: Data, team: Team) -> "keras.Model":
    from recipes.training.model import compiled_model, seed_all
    from recipes.training.replicas import check_shares

    check_shares(settings, images, team)
    seed_all(settings)
    return compiled_model(settings, images)


def _train(training: _Training, run: Run, *, quiet: bool) -> Fitted:
    from recipes.training.calibration import calibrate_whole
    from recipes.training.loop import train

    model, images, team = training.model, training.images, training.team
    try:
        kept, teachers = run if team.is_chief else None, training.teachers
        state = train(model, images, training.recipe, kept, quiet=quiet, team=team, teachers=teachers)
    except LostWorkerError as error:
        raise FailureError(f"{error} `zoo resume {run.path}` on every worker goes on.") from None
    task, together = TASKS[images.task], at_once(copies_in(model))
    calibration = calibrate_whole(model, images, training.recipe)
    scores = model.predict(images.test.batches(together), verbose=0)
    if team.is_chief:
        metrics = hand_over(model, scores, images, run, calibration)
    else:
        metrics = judged(scores, images, calibration)
    warnings = task.warnings(state.history[state.best_epoch - 1], images)
    return Fitted(run, metrics, state.best_epoch, tuple(warnings), (*training.notes, *notes_on(model)))
