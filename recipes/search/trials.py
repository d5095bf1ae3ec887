"""What a worker of a search does: takes a trial that is its own, trains it on every fold, and tells how it ended."""

import contextlib
import multiprocessing
import os
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from recipes.config.presets import with_overrides
from recipes.config.settings import ResolvedRecipe
from recipes.search.folds import fold_data, held_out, learnable, train_fold
from recipes.search.results import ENDED, rows_of, state_of
from recipes.search.space import FIXED
from recipes.search.study import Search, Study, import_optuna, sampler_of
from recipes.search.table import trial_line
from recipes.support.internals import set_trial_attribute
from recipes.tasks import TASKS
from recipes.training.session import load_images
from zoo import get_card
from zoo.backend import as_keras_ships, keras, tf
from zoo.errors import FailureError, RequestError, first_line
from zoo.groups import check_copies
from zoo.registry import check_options, require_plugin

if TYPE_CHECKING:
    import optuna

    from recipes.data import Data

SKIPPED_AT_MOST = 200  # in a row: the limits leave nothing
MOST_DEATHS = 5  # of workers over one trial: it is what kills them, for want of memory perhaps


def trial_recipe(search: Search, settings: Sequence[str], seed: int | None = None) -> ResolvedRecipe:
    """The study's recipe with a trial's settings in it.

    Args:
        search: what is searched.
        settings: what was drawn.
        seed: of a trial, which may be trained for fewer epochs than the winner; None for the winner.

    Raises:
        RequestError: settings that a recipe, or the model, cannot have.
    """
    own = [] if seed is None else [f"seed={seed}", *([f"epochs={search.epochs}"] if search.epochs else [])]
    recipe = with_overrides(search.recipe, [*settings, *own])
    card, model = get_card(recipe.model.name), recipe.model
    check_options(card, model.options)
    check_copies(model.symmetry, model.input_shape or card.input_shape, card.symmetry, model.name)
    return recipe


def check_space(search: Search) -> None:
    """Raises a `RequestError` unless all that the space may draw is what a recipe, and the model, can have."""
    for key in search.space.space:
        if any(f"{key}.".startswith(f"{fixed}.") for fixed in FIXED):
            raise RequestError(f"{key} is not searched: {', '.join(FIXED)} are the same for every trial.")
    if search.epochs and "epochs" in search.space.space:
        raise RequestError(f"trial_epochs={search.epochs} is not possible where the space has epochs.")
    if search.epochs and search.epochs > search.recipe.epochs:
        raise RequestError(
            f"trial_epochs={search.epochs} is not possible; allowed: 1 to {search.recipe.epochs}, the recipe's own."
        )
    for corner in search.space.corners():
        trial_recipe(search, corner)


def check_folds(search: Search, *, quiet: bool) -> None:
    """Raises a `RequestError` unless the images are there and can be split into so many folds."""
    _Folds(load_images(search.recipe, None, quiet=quiet), search)


@as_keras_ships
def work(path: Path, trials: int | None, until: float | None, threads: int | None = None, quiet: bool = False) -> None:
    """Does trials of a study until there are enough, or it is time.

    Args:
        path: the study.
        trials: how many in all, by all workers.
        until: seconds since 1970.
        threads: of TensorFlow; its own choice if None.
        quiet: no line a trial on stderr.

    Raises:
        FailureError: the limits leave no candidate, or the images cannot be prepared.
    """
    if threads:
        tf.config.threading.set_intra_op_parallelism_threads(threads)
        tf.config.threading.set_inter_op_parallelism_threads(threads)
    study = Study.open(path)
    search = study.search
    require_plugin(search.recipe.plugin, str(path))
    folds = _Folds(load_images(search.recipe, None, quiet=True), search)
    shared = study.trials()
    with study.worker() as name:
        skipped = 0
        while not _is_over(until):
            with study.one_at_a_time():
                drawn = _next(study, shared, search, name, trials)
            if drawn is None:
                return
            ended = _try(drawn, search, folds, until)
            skipped = skipped + 1 if ended == "skipped" else 0
            if skipped >= SKIPPED_AT_MOST:
                raise FailureError(f"{skipped} candidates in a row cost more than the limits allow: {search.limits}.")
            if not quiet:
                _say(shared.get_trials(deepcopy=False), drawn.trial.number, trials)


def work_apart(path: Path, trials: int | None, until: float | None, *, threads: int, quiet: bool) -> None:
    """As `work`, for a process of its own: an error is one line and exit code 1."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    try:
        work(path, trials, until, threads=threads, quiet=quiet)
    except (RequestError, FailureError) as error:
        sys.exit(f"Error: {error}")
    except KeyboardInterrupt:
        sys.exit(130)


def _is_over(until: float | None) -> bool:
    """Whether it is time, or whoever started this process is gone."""
    starter = multiprocessing.parent_process()
    return (until is not None and time.time() >= until) or (starter is not None and not starter.is_alive())


class _Folds:
    """The folds of a study's images; each is taken out when it is needed, so that memory holds one."""

    def __init__(self, images: "Data", search: Search) -> None:
        self.images, self.count, self._seed = images, search.folds, search.seed
        if search.folds > 1:
            self._pool = learnable(images)
            self._cuts = held_out(self._pool, images.task, search.folds, search.seed)

    def __getitem__(self, number: int) -> "Data":
        if self.count == 1:
            return replace(self.images, test=self.images.validation)
        return fold_data(self.images, self._pool, self._cuts[number], self._seed)


@dataclass(frozen=True)
class _Drawn:
    trials: "optuna.Study"
    trial: "optuna.Trial"
    settings: list[str]


def _next(study: Study, trials: "optuna.Study", search: Search, worker: str, wanted: int | None) -> _Drawn | None:
    """A trial that is this worker's, with its settings; None if there are enough."""
    for lost in trials.get_trials(deepcopy=False):
        if lost.state.name == "RUNNING" and not study.is_alive(lost.user_attrs.get("worker", "")):
            if _deaths(trials, lost.number) + 1 < MOST_DEATHS:
                set_trial_attribute(trials, lost, "lost", True)
                _put_off(trials, lost.number)
            else:
                set_trial_attribute(trials, lost, "ended", "failed")
                set_trial_attribute(trials, lost, "why", f"the worker died {MOST_DEATHS} times while it was tried")
                trials.tell(lost.number, state=import_optuna().trial.TrialState.FAIL)
    there = trials.get_trials(deepcopy=False)
    if wanted is not None and sum(state_of(trial) in (*ENDED, "running") for trial in there) >= wanted:
        return None
    waiting = next((trial.number for trial in there if trial.state.name == "WAITING"), None)
    place = _place(there, len(there) if waiting is None else waiting)
    if search.sampler == "grid" and waiting is None:
        grid = search.space.grid()
        if place == len(grid):
            return None
        trials.enqueue_trial(grid[np.random.default_rng(search.seed).permutation(len(grid))[place]])
    trials.sampler = sampler_of(search, place)
    trial = trials.ask()
    trial.set_user_attr("worker", worker)
    trial.set_user_attr("seed", (search.recipe.seed + place) % 2**31)
    settings = search.space.draw(trial)
    trial.set_user_attr("settings", settings)
    return _Drawn(trials, trial, settings)


def _place(there: "Sequence[optuna.trial.FrozenTrial]", number: int) -> int:
    """How many candidates were drawn before a trial's. One that is done again keeps its place, so that what a place is
    seeded with, and all that are drawn later, are the same however often a search was killed."""
    while number < len(there) and (before := there[number].user_attrs.get("again")) is not None:
        number = before
    return sum("again" not in trial.user_attrs for trial in there[:number])


def _deaths(trials: "optuna.Study", number: int) -> int:
    """How often a worker died over what is tried in a trial, before it."""
    there, deaths = trials.get_trials(deepcopy=False), 0
    while (number := there[number].user_attrs.get("again", -1)) >= 0:
        deaths += there[number].user_attrs.get("lost", False)
    return deaths


def _put_off(trials: "optuna.Study", number: int) -> None:
    """Ends a trial that nobody is working on and has the same done again, first of all, in its place.

    A worker may die in here, too: whether the other has been asked for is seen by its `again`.
    """
    optuna = import_optuna()
    there = trials.get_trials(deepcopy=False)
    trial = there[number]
    set_trial_attribute(trials, trial, "ended", "stopped")
    if all(other.user_attrs.get("again") != number for other in there):
        is_drawn = "settings" in trial.user_attrs  # to the end; half a draw is drawn again
        params = trial.params if is_drawn else trial.system_attrs.get("fixed_params", {})
        trials.enqueue_trial(params, user_attrs={"again": number})
    trials.tell(number, state=optuna.trial.TrialState.FAIL)


class _OutOfTimeError(Exception):
    pass


def _try(drawn: _Drawn, search: Search, folds: _Folds, until: float | None) -> str:
    """Trains and scores a trial on every fold; how it ended."""
    optuna = import_optuna()
    trial, states = drawn.trial, optuna.trial.TrialState
    task, training = TASKS[folds.images.task], 0.0
    scores: list[float] = []
    merits: list[float] = []
    trial.set_user_attr("measure", task.score)
    try:
        recipe = trial_recipe(search, drawn.settings, trial.user_attrs["seed"])
        costs = _costs(recipe, folds.images, search)
        for name, value in costs.items():
            trial.set_user_attr(name, value)
        over = [
            f"{name} {costs[name]:,.0f} above {most:,.0f}" for name, most in search.limits.items() if costs[name] > most
        ]
        if over:
            return _tell(drawn, states.PRUNED, "skipped", over[0])
        for number in range(folds.count):
            fold = folds[number]
            follower = _follower(trial, task, number * recipe.epochs, merits, until, prune=not search.cost)
            began = time.perf_counter()
            score, _ = train_fold(recipe, fold, callbacks=[follower])
            training += time.perf_counter() - began
            scores.append(score)
            merits.append(follower.best)
            trial.set_user_attr("folds", scores)
            trial.set_user_attr("seconds_training", training)
    except _OutOfTimeError:
        _put_off(drawn.trials, trial.number)
        return "stopped"
    except KeyboardInterrupt:
        _put_off(drawn.trials, trial.number)
        raise
    except optuna.TrialPruned:
        trial.set_user_attr("seconds_training", training + time.perf_counter() - began)
        return _tell(drawn, states.PRUNED, "pruned", "behind the others")
    except (RequestError, FailureError, tf.errors.ResourceExhaustedError) as error:
        return _tell(drawn, states.FAIL, "failed", first_line(error))
    except Exception as error:  # a fault of ours ends the worker, but whoever goes on is not to meet it again
        _tell(drawn, states.FAIL, "failed", f"{type(error).__name__}: {error}")
        raise
    trial.set_user_attr("spread", float(np.std(scores, ddof=1)) if len(scores) > 1 else None)
    values = [float(np.mean(scores)), *([costs[search.cost]] if search.cost else [])]
    return _tell(drawn, states.COMPLETE, "complete", None, values)


def _tell(drawn: _Drawn, state: Any, ended: str, why: str | None, values: list[float] | None = None) -> str:
    drawn.trial.set_user_attr("ended", ended)
    drawn.trial.set_user_attr("why", why)
    drawn.trials.tell(drawn.trial, values, state=state)
    return ended


def _follower(trial: Any, task: Any, steps: int, merits: list[float], until: float | None, *, prune: bool) -> Any:
    """Tells Optuna of every epoch: the mean of what the finished folds came to and what this one has."""

    class Follower(keras.callbacks.Callback):
        best = -np.inf

        def on_epoch_end(self, epoch: int, logs: dict[str, float]) -> None:
            merit = task.merit(logs)[0]
            self.best = max(self.best, merit)
            if prune:
                trial.report(float(np.mean([*merits, merit])), steps + epoch)
                if trial.should_prune():
                    trial.set_user_attr("so_far", float(np.mean([*merits, merit])))
                    raise import_optuna().TrialPruned
            if _is_over(until):
                raise _OutOfTimeError

    return Follower()


def _costs(recipe: ResolvedRecipe, images: "Data", search: Search) -> dict[str, float]:
    """What a model costs before it is trained. The int8 size is that of its weights: one byte each, and eight for each
    number of a bias or a normalisation, which become biases and scales of four bytes."""
    from recipes.training.model import new_model
    from zoo.anatomy import dissect

    timed = search.cost == "latency_ms" or "latency_ms" in search.limits
    recipe = recipe.model_copy(update={"model": recipe.model.model_copy(update={"weights": None})})
    with contextlib.nullcontext() if timed else keras.StatelessScope(initialize_variables=False):  # drawing takes time
        model = new_model(recipe, images)
    single = sum(weight.shape[0] for weight in model.weights if len(weight.shape) == 1)
    anatomy = dissect(model)
    # Symmetric layers have copies of their weights in a file, nearly all of them of kernels.
    copies = anatomy.parameters_expanded - anatomy.parameters
    costs = {
        "parameters": model.count_params(),
        "macs": anatomy.macs,
        "int8_bytes": model.count_params() + copies - single + 8 * single,
    }
    return costs | ({"latency_ms": _latency(model, images)} if timed else {})


def _latency(model: "keras.Model", images: "Data") -> float:
    """Milliseconds an image of the float32 file, one thread."""
    import tempfile

    from recipes.export import convert
    from recipes.support.quiet import native_output_hidden
    from recipes.tflite.latency import benchmark

    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder, native_output_hidden():
        file = Path(folder, "candidate.tflite")
        file.write_bytes(convert(model, "float32", images.train))
        return benchmark([file], threads=[1], repeats=50)[0].median_ms


def _say(trials: "Sequence[optuna.trial.FrozenTrial]", number: int, wanted: int | None) -> None:
    done = sum(state_of(trial) in ENDED for trial in trials)
    print(trial_line(rows_of([trials[number]])[0], done, wanted), file=sys.stderr, flush=True)
