"""Choosing a recipe and a model by cross-validation: searched by Optuna, killed and gone on with at any moment."""

import contextlib
import multiprocessing
import os
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import tomli_w

from recipes.data.picture import Resize
from recipes.fit import fit, load_pictures, resolve
from recipes.folds import fold_data, held_out, learnable, train_fold
from recipes.preset import About, Recipe, load_recipe
from recipes.quiet import import_keras
from recipes.run import Run, write_whole
from recipes.space import Space, load_space
from recipes.study import COSTS, Search, Study, import_optuna, rows_of, sampler_of, state_of
from recipes.tasks import TASKS
from zoo.errors import FailureError, RequestError, unknown

if TYPE_CHECKING:
    import keras
    import optuna

    from recipes.data import Data

COUNTED = ("complete", "pruned", "running", "failed")  # of the number of trials that was asked for
SKIPPED_AT_MOST = 200  # in a row: the limits leave nothing


@dataclass(frozen=True)
class Tuned:
    """What a search came to.

    Attributes:
        study: its folder, with `best.toml`, the run `best` and `report.html`.
        trials: rows, see `recipes.study.rows_of`.
        best: the winner's row; by cross-validation, of all on the front.
        front: numbers of the trials that none beats in both score and cost; the best one's if there is no cost.
        metrics: of the winner, trained again on all training pictures, on the test pictures.
    """

    study: str
    trials: list[dict[str, Any]]
    best: dict[str, Any]
    front: list[int]
    metrics: dict[str, Any]

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def tune(
    model: str | None,
    *,
    data: str,
    out: Path,
    space: str | Path | Space,
    recipe: str | Path | Recipe | None = None,
    overrides: Sequence[str] = (),
    folds: int = 5,
    trials: int | None = None,
    seconds: float | None = None,
    workers: int = 1,
    sampler: str = "tpe",
    pruner: str = "median",
    cost: str | None = None,
    limits: Mapping[str, float] | None = None,
    seed: int = 0,
    storage: str | None = None,
    resize: Resize = "fill",
    skip_bad: bool = False,
    quiet: bool = False,
) -> Tuned:
    """Searches a space, trains the winner on all training pictures, and scores it on the test pictures, once.

    The first trial is the recipe as it is, where the space allows for it. Killed and called again, the search goes on;
    trials that were running then are done again under their old seed.

    Args:
        model, data, recipe, overrides, resize, skip_bad: as `recipes.fit.fit`.
        out: the folder of the study; one that is there is gone on with.
        space: a name, a TOML file, or a `Space`.
        folds: of the cross-validation; 1 for the set's own validation part, which is quicker and less certain.
        trials: how many in all, those of earlier calls included.
        seconds: after which no more is begun and what is running is put off.
        workers: processes, each on its share of the cores.
        sampler: tpe, random or grid.
        pruner: median, hyperband or none: ends trials that are behind.
        cost: of `recipes.study.COSTS`, to be small, as a second objective.
        limits: the most of each cost; what costs more is skipped before it is trained.
        seed: another seed draws other trials and folds.
        storage: a journal that several machines can reach; a file in the study's folder if None.
        quiet: no progress on stderr.

    Raises:
        RequestError: settings that are not possible; nothing was trained.
        FailureError: no trial came to an end, or what `fit` raises.
    """
    import_optuna()
    if trials is None and seconds is None:
        raise RequestError("say how long to search: a number of trials, a time, or both.")
    if workers < 1 or folds < 1 or (trials is not None and trials < 1):
        raise RequestError(f"folds={folds}, trials={trials}, workers={workers}: allowed are whole numbers from 1.")
    for name in [*(limits or {}), *([cost] if cost else [])]:
        if name not in COSTS:
            raise unknown("cost", name, COSTS)
    space = space if isinstance(space, Space) else load_space(space)
    resolved = resolve(model, data, recipe, overrides, resize=resize, skip_bad=skip_bad)
    resolved = resolved.model_copy(update={"versions": {}})
    search = Search(
        recipe=resolved,
        space=space,
        folds=folds,
        sampler=sampler,
        pruner=pruner,
        cost=cost,
        limits=dict(limits or {}),
        seed=seed,
        storage=storage,
    )
    for corner in space.corners():
        trial_recipe(search, corner)
    if sampler == "grid":
        size = int(np.prod([len(values) for values in space.grid().values()]))
        trials = min(trials or size, size)
    study = Study.create(Path(out), search)
    _begin_with_the_recipe(study, search)
    until = time.time() + seconds if seconds is not None else None
    if workers == 1:
        work(study.path, trials, until, quiet=quiet)
    else:
        _work_together(study, workers, trials, until, quiet)
    return _end(study, search, quiet=quiet)


def trial_recipe(search: Search, settings: Sequence[str], seed: int | None = None) -> Recipe:
    """The study's recipe with a trial's settings in it.

    Raises:
        RequestError: settings that a recipe, or the model, cannot have.
    """
    from recipes.preset import with_overrides
    from zoo import get_card
    from zoo.registry import check_options

    recipe = with_overrides(search.recipe, [*settings, *([] if seed is None else [f"seed={seed}"])])
    check_options(get_card(recipe.model.name), recipe.model.options)
    return recipe


def _begin_with_the_recipe(study: Study, search: Search) -> None:
    """Has the recipe as it is tried first, so that what wins is no worse than that by cross-validation."""
    with study.one_at_a_time():
        trials = study.trials()
        start = search.space.place(_with_defaults(search.recipe))
        if start and search.sampler != "grid" and not trials.get_trials(deepcopy=False):
            trials.enqueue_trial(start)


def _with_defaults(recipe: Recipe) -> dict[str, Any]:
    """The recipe's settings, with the card's own where it leaves the model as it is."""
    from zoo import get_card

    settings, card = recipe.model_dump(mode="json"), get_card(recipe.model.name)
    own = {"pooling": card.pooling, "hidden": list(card.hidden), "dropout": card.dropout}
    chosen = {name: value for name, value in settings["model"].items() if value is not None}
    options = {name: option.default for name, option in card.options.items()}
    settings["model"] = own | chosen | {"options": options | settings["model"]["options"]}
    return settings


def _work_together(study: Study, workers: int, trials: int | None, until: float | None, quiet: bool) -> None:
    """Several processes on one study, each with its share of the cores."""
    threads = max(1, (os.cpu_count() or 1) // workers)
    context = multiprocessing.get_context("spawn")
    given = (study.path, trials, until)
    processes = [
        context.Process(target=work, args=given, kwargs={"threads": threads, "quiet": quiet}) for _ in range(workers)
    ]
    for process in processes:
        process.start()
    try:
        for process in processes:
            process.join()
    except KeyboardInterrupt:
        for process in processes:
            process.join()
        raise FailureError(f"interrupted; the same command goes on with {study.path}.") from None
    if failed := [process.exitcode for process in processes if process.exitcode]:
        raise FailureError(f"{len(failed)} of {workers} workers ended with code {failed[0]}; the same command goes on.")


def work(
    path: Path, trials: int | None, until: float | None, *, threads: int | None = None, quiet: bool = False
) -> None:
    """Does trials of a study until there are enough, or it is time.

    Args:
        path: the study.
        trials: how many in all, by all workers.
        until: seconds since 1970.
        threads: of TensorFlow; its own choice if None.
        quiet: no line a trial on stderr.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    import_keras()
    if threads:
        import tensorflow as tf

        tf.config.threading.set_intra_op_parallelism_threads(threads)
        tf.config.threading.set_inter_op_parallelism_threads(threads)
    study = Study.open(path)
    search = study.search
    pictures = load_pictures(search.recipe, None, quiet=True)
    folds = _Folds(pictures, search)
    with study.worker() as name:
        skipped = 0
        while until is None or time.time() < until:
            with study.one_at_a_time():
                drawn = _next(study, search, name, trials)
            if drawn is None:
                return
            ended = _try(drawn, search, folds, until)
            skipped = skipped + 1 if ended == "skipped" else 0
            if skipped >= SKIPPED_AT_MOST:
                raise FailureError(f"{skipped} candidates in a row cost more than the limits allow: {search.limits}.")
            if not quiet:
                _say(drawn.trials.trials[drawn.trial.number], trials)


class _Folds:
    """The folds of a study's pictures; each is cut out when it is needed, so that memory holds one."""

    def __init__(self, pictures: "Data", search: Search) -> None:
        self.pictures, self.count, self._seed = pictures, search.folds, search.seed
        if search.folds > 1:
            self._pool = learnable(pictures)
            self._cuts = held_out(self._pool, pictures.task, search.folds, search.seed)

    def __getitem__(self, number: int) -> "Data":
        if self.count == 1:
            return _without_test(self.pictures)
        return fold_data(self.pictures, self._pool, self._cuts[number], self._seed)


def _without_test(pictures: "Data") -> "Data":
    from dataclasses import replace

    return replace(pictures, test=pictures.validation)


@dataclass(frozen=True)
class _Drawn:
    trials: "optuna.Study"
    trial: "optuna.Trial"
    settings: list[str]


def _next(study: Study, search: Search, worker: str, wanted: int | None) -> _Drawn | None:
    """A trial that is this worker's, with its settings; None if there are enough."""
    trials = study.trials()
    there = trials.get_trials(deepcopy=False)
    for lost in there:
        if lost.state.name == "RUNNING" and not study.is_alive(lost.user_attrs.get("worker", "")):
            _put_off(trials, lost)
    if wanted is not None and sum(state_of(trial) in COUNTED for trial in trials.get_trials(deepcopy=False)) >= wanted:
        return None
    trials.sampler = sampler_of(search, len(there))
    trial = trials.ask()
    trial.set_user_attr("worker", worker)
    if "seed" not in trial.user_attrs:
        trial.set_user_attr("seed", (search.recipe.seed + trial.number) % 2**31)
    settings = search.space.draw(trial)
    trial.set_user_attr("settings", settings)
    return _Drawn(trials, trial, settings)


def _put_off(trials: "optuna.Study", trial: "optuna.trial.FrozenTrial | optuna.Trial") -> None:
    """Ends a trial that nobody is working on and has the same done again, first of all, under its seed."""
    optuna = import_optuna()
    trials._storage.set_trial_user_attr(trial._trial_id, "ended", "stopped")
    again = {"seed": trial.user_attrs["seed"]} if "seed" in trial.user_attrs else {}
    trials.enqueue_trial(trial.params, user_attrs=again)
    trials.tell(trial.number, state=optuna.trial.TrialState.FAIL)


class _OutOfTimeError(Exception):
    pass


def _try(drawn: _Drawn, search: Search, folds: _Folds, until: float | None) -> str:
    """Trains and scores a trial on every fold; how it ended."""
    optuna = import_optuna()
    trial, states = drawn.trial, optuna.trial.TrialState
    task, scores, merits, training = TASKS[folds.pictures.task], [], [], 0.0
    try:
        recipe = trial_recipe(search, drawn.settings, trial.user_attrs["seed"])
        costs = _costs(recipe, folds.pictures, search)
        for name, value in costs.items():
            trial.set_user_attr(name, value)
        over = [
            f"{name} {costs[name]:,.0f} above {most:,.0f}" for name, most in search.limits.items() if costs[name] > most
        ]
        if over:
            return _tell(drawn, states.PRUNED, "skipped", over[0])
        for number in range(folds.count):
            began = time.perf_counter()
            watcher = _watcher(trial, task, number * recipe.epochs, merits, until, prune=not search.cost)
            score, _ = train_fold(recipe, folds[number], watchers=[watcher])
            training += time.perf_counter() - began
            scores.append(score)
            merits.append(watcher.best)
            trial.set_user_attr("folds", scores)
            trial.set_user_attr("seconds_training", training)
    except _OutOfTimeError:
        _put_off(drawn.trials, trial)
        return "stopped"
    except KeyboardInterrupt:
        _put_off(drawn.trials, trial)
        raise
    except optuna.TrialPruned:
        return _tell(drawn, states.PRUNED, "pruned", "behind the others")
    except (RequestError, FailureError) as error:
        return _tell(drawn, states.FAIL, "failed", str(error))
    trial.set_user_attr("spread", float(np.std(scores, ddof=1)) if len(scores) > 1 else None)
    values = [float(np.mean(scores)), *([costs[search.cost]] if search.cost else [])]
    return _tell(drawn, states.COMPLETE, "complete", None, values)


def _tell(drawn: _Drawn, state: Any, ended: str, why: str | None, values: list[float] | None = None) -> str:
    drawn.trial.set_user_attr("ended", ended)
    drawn.trial.set_user_attr("why", why)
    with contextlib.suppress(RuntimeError):  # an exhausted grid wants to stop a loop that is not Optuna's
        drawn.trials.tell(drawn.trial, values, state=state)
    return ended


def _watcher(trial: Any, task: Any, steps: int, merits: list[float], until: float | None, *, prune: bool) -> Any:
    """Tells Optuna of every epoch: the mean of what the finished folds came to and what this one has."""
    keras = import_keras()

    class Watcher(keras.callbacks.Callback):
        best = -np.inf

        def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
            merit = task.merit(logs)[0]
            self.best = max(self.best, merit)
            if prune:
                trial.report(float(np.mean([*merits, merit])), steps + epoch)
                if trial.should_prune():
                    trial.set_user_attr("so_far", float(np.mean([*merits, merit])))
                    raise import_optuna().TrialPruned
            if until is not None and time.time() >= until:
                raise _OutOfTimeError

    return Watcher()


def _costs(recipe: Recipe, pictures: "Data", search: Search) -> dict[str, float]:
    """What a model costs before it is trained. The int8 size is that of its weights: one byte each, four a bias or
    a scale."""
    from recipes.training import compiled_model
    from zoo.anatomy import dissect

    model = compiled_model(recipe, pictures)
    single = sum(weight.shape[0] for weight in model.weights if len(weight.shape) == 1)
    costs = {
        "parameters": model.count_params(),
        "macs": dissect(model).macs,
        "int8_bytes": model.count_params() - single + 8 * single,
    }
    if search.cost == "latency_ms" or "latency_ms" in search.limits:
        costs["latency_ms"] = _latency(model, pictures)
    return costs


def _latency(model: "keras.Model", pictures: "Data") -> float:
    """Milliseconds a picture of the float32 file, one thread."""
    import tempfile

    from recipes.benchmark import benchmark
    from recipes.convert import convert
    from recipes.quiet import native_output_hidden

    with tempfile.TemporaryDirectory() as folder, native_output_hidden():
        file = Path(folder, "candidate.tflite")
        file.write_bytes(convert(model, "float32", pictures.train))
        return benchmark([file], threads=[1], repeats=50)[0].median_ms


def _say(trial: "optuna.trial.FrozenTrial", wanted: int | None) -> None:
    from recipes.text import trial_line

    print(trial_line(rows_of([trial])[0], wanted), file=sys.stderr, flush=True)


def _end(study: Study, search: Search, *, quiet: bool) -> Tuned:
    """The winner as a recipe, trained again and scored on the test pictures, and the report."""
    from recipes.study_report import write_report

    trials = study.trials()
    rows = rows_of(trials.get_trials(deepcopy=False))
    front = [trial.number for trial in trials.best_trials] if any(r["state"] == "complete" for r in rows) else []
    if not front:
        raise FailureError(f"no trial of {study.path} came to an end; the same command with more time goes on.")
    best = max((rows[number] for number in front), key=lambda row: row["score"])
    spread = "" if best["spread"] is None else f" +- {best['spread']:.4f}"
    score = TASKS[Run(study.path / "best").task].score if (study.path / "best").exists() else "score"
    about = About(
        summary=f"Found by a search of {len(rows):,} trials for {search.recipe.model.name}.",
        reaches=f"{score} {best['score']:.4f}{spread} in {search.folds} folds.",
    )
    winner = trial_recipe(search, best["settings"]).model_copy(update={"about": about, "data": None})
    text = tomli_w.dumps(winner.model_dump(mode="json", exclude_none=True))
    write_whole(study.path / "best.toml", lambda aside: aside.write_text(text, "utf-8"))
    fitted = fit(
        None,
        data=search.recipe.data.source,
        out=study.path / "best",
        recipe=load_recipe(study.path / "best.toml"),
        resize=search.recipe.data.resize,
        skip_bad=search.recipe.data.skip_bad,
        overwrite=(study.path / "best").exists(),
        quiet=quiet,
    )
    tuned = Tuned(str(study.path), rows, best, front, fitted.metrics)
    write_report(study, search, tuned)
    return tuned


def show(path: Path) -> list[dict[str, Any]]:
    """The rows of a study's trials, see `recipes.study.rows_of`; nothing is computed."""
    return rows_of(Study.open(path).trials().get_trials(deepcopy=False))
