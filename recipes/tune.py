"""Choosing a recipe and a model by cross-validation: searched by Optuna, killed and gone on with at any moment."""

import multiprocessing
import os
import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import tomli_w
from filelock import FileLock

from recipes.config.problems import validated
from recipes.config.settings import About, Recipe, ResolvedRecipe
from recipes.data.decoding import Resize
from recipes.distributed.launch import call_on_ray
from recipes.fit import fit, resume
from recipes.run.folder import Run
from recipes.search.progress import shown_live
from recipes.search.results import COSTS, Tuned, rows_of
from recipes.search.space import Space, load_space, space_for
from recipes.search.study import Search, Study, import_optuna
from recipes.search.trials import check_folds, check_space, trial_recipe, work, work_apart
from recipes.support.files import write_whole
from recipes.training.resolving import resolve
from recipes.training.session import refuse_teachers
from zoo.backend import as_keras_ships
from zoo.errors import FailureError, RequestError, unknown

__all__ = ["show", "tune"]

LEAST_EPOCHS = 10  # of a trial, unless the recipe has fewer


@as_keras_ships
def tune(
    model: str | None,
    *,
    data: str,
    out: Path,
    space: str | Path | Space | None = None,
    recipe: str | Path | Recipe | None = None,
    overrides: Sequence[str] = (),
    folds: int = 5,
    trials: int | None = None,
    seconds: float | None = None,
    trial_epochs: int | None = None,
    workers: int = 1,
    launch: Literal["ray"] | None = None,
    sampler: str = "tpe",
    pruner: str = "median",
    cost: str | None = None,
    limits: Mapping[str, float] | None = None,
    seed: int = 0,
    storage: str | None = None,
    resize: Resize | None = None,
    skip_bad: bool = False,
    split_near_duplicates: bool = False,
    quiet: bool = False,
) -> Tuned:
    """Searches a space, trains the winner on all training images, and scores it on the test images, once.

    The first trial is the recipe as it is, where the space allows for it. Killed and called again, the search goes on;
    trials that were running then are done again under their old seed.

    Args:
        model, data, recipe, overrides, resize, skip_bad, split_near_duplicates: as `recipes.fit.fit`.
        out: the folder of the study; one that is there is gone on with.
        space: a name, a TOML file, or a `Space`; if None the one for this model.
        folds: of the cross-validation; 1 for the set's own validation part, which is quicker and less certain.
        trials: how many in all, those of earlier calls included.
        seconds: after which no more is begun and what is running is put off.
        trial_epochs: that a trial is trained for; the winner is trained for those of its recipe. If None, all of them,
            but a quarter where only the time is given, see `epochs_of_trials`.
        workers: processes, each on its part of the cores.
        launch: `ray` to have a Ray cluster start the workers, one CPU each; all reach `out` by the same path.
        sampler: tpe, random or grid.
        pruner: median, hyperband or none: ends trials that are behind.
        cost: of `recipes.search.study.COSTS`, to be small, as a second objective.
        limits: the most of each cost; what costs more is skipped before it is trained.
        seed: another seed draws other trials and folds.
        storage: a journal that several machines can reach, each with the same command and a folder of its own; a file
            in the study's folder if None.
        quiet: no progress on stderr.

    Raises:
        RequestError: settings that are not possible; nothing was trained.
        FailureError: no trial came to an end, or what `fit` raises.
    """
    import_optuna()
    if trials is None and seconds is None and sampler != "grid":
        raise RequestError("say how long to search: a number of trials, a time, or both.")
    if workers < 1 or folds < 1 or (trials is not None and trials < 1):
        raise RequestError(f"folds={folds}, trials={trials}, workers={workers}: allowed are whole numbers from 1.")
    for name in [*(limits or {}), *([cost] if cost else [])]:
        if name not in COSTS:
            raise unknown("cost", name, COSTS)
    resolved = resolve(
        model, data, recipe, overrides, resize=resize, skip_bad=skip_bad, split_near_duplicates=split_near_duplicates
    )
    refuse_teachers(resolved)
    if resolved.steps:
        raise RequestError(f"steps={resolved.steps} is not possible in a search, which counts epochs: set those.")
    space = space if isinstance(space, Space) else load_space(space or space_for(resolved.model.name))
    study = Study(Path(out))
    if trial_epochs is None and study.is_there:
        trial_epochs = study.search.epochs
    elif trial_epochs is None and trials is None:
        trial_epochs = epochs_of_trials(resolved, space)
    asked = {
        "recipe": resolved.model_copy(update={"versions": {}}),
        "space": space,
        "folds": folds,
        "epochs": trial_epochs,
        "sampler": sampler,
        "pruner": pruner,
        "cost": cost,
        "limits": dict(limits or {}),
        "seed": seed,
        "storage": str(Path(storage).absolute()) if storage else None,
    }
    search = validated(Search, asked, "this search")
    check_space(search)
    return _searched(study, search, Effort(trials, seconds, workers, launch, quiet))


@dataclass(frozen=True)
class Effort:
    """How long to search and by whom: another at every call, where the `Search` of a study stays the same.

    Attributes:
        trials, seconds, workers, launch, quiet: as `tune`.
    """

    trials: int | None
    seconds: float | None
    workers: int
    launch: Literal["ray"] | None
    quiet: bool


def _searched(study: Study, search: Search, effort: Effort) -> Tuned:
    """Has trials done until there are enough or it is time, and then trains the winner."""
    trials = effort.trials
    if search.sampler == "grid":
        places = len(search.space.grid())
        trials = min(trials or places, places)
    if not study.is_there:
        study.check_free()
        check_folds(search, quiet=effort.quiet)  # before a folder holds what no other search may go on with
    study = Study.create(study.path, search)
    study.join()
    _begin_with_the_recipe(study, search)
    until = time.time() + effort.seconds if effort.seconds is not None else None
    with shown_live(study, trials, until, quiet=effort.quiet) as live:
        quiet = effort.quiet or live
        if effort.launch:
            call_on_ray(work, (study.path.absolute(), trials, until, 1, True), effort.workers)
        elif effort.workers == 1:
            work(study.path, trials, until, quiet=quiet)
        else:
            _work_together(study, effort.workers, trials, until, quiet)
    return _end(study, search, quiet=effort.quiet)


def epochs_of_trials(recipe: Recipe, space: Space) -> int | None:
    """A quarter of the recipe's epochs, but no fewer than ten: which settings are better shows early, and a search that
    ends with the clock tries more of them. None, for all, where that is no less or the epochs themselves are searched.
    """
    fewer = max(LEAST_EPOCHS, recipe.epochs // 4)
    return None if fewer >= recipe.epochs or "epochs" in space.space else fewer


def _begin_with_the_recipe(study: Study, search: Search) -> None:
    """Has the recipe as it is tried first, so that what wins is no worse than that by cross-validation."""
    with study.one_at_a_time():
        trials = study.trials()
        start = search.space.place(_with_defaults(search.recipe))
        if start and search.sampler != "grid" and not trials.get_trials(deepcopy=False):
            trials.enqueue_trial(start)


def _with_defaults(recipe: ResolvedRecipe) -> dict[str, Any]:
    """The recipe's settings, with what those come to that it does not name."""
    from zoo import get_card

    settings, card = recipe.model_dump(mode="json"), get_card(recipe.model.name)
    own = {"pooling": card.pooling, "hidden": list(card.hidden), "dropout": card.dropout}
    chosen = {name: value for name, value in settings["model"].items() if value is not None}
    options = {name: option.default for name, option in card.options.items()}
    settings["augment"]["erasing"] = settings["augment"]["erasing"] or {"probability": 0.0}
    settings["model"] = own | chosen | {"options": options | settings["model"]["options"]}
    return settings


def _work_together(study: Study, workers: int, trials: int | None, until: float | None, quiet: bool) -> None:
    """Several processes on one study, each with its part of the cores."""
    threads = max(1, (os.cpu_count() or 1) // workers)
    context = multiprocessing.get_context("spawn")
    given = (study.path, trials, until)
    processes = [
        context.Process(target=work_apart, args=given, kwargs={"threads": threads, "quiet": quiet})
        for _ in range(workers)
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


def _end(study: Study, search: Search, *, quiet: bool) -> Tuned:
    """The winner as a recipe, trained again and scored on the test images, and the report."""
    from recipes.search.study_page import write_report

    trials = study.trials()
    rows = rows_of(trials.get_trials(deepcopy=False))
    if all(row["state"] != "complete" for row in rows):
        failed = next((f" Trial {row['number']} failed: {row['why']}" for row in rows if row["state"] == "failed"), "")
        raise FailureError(f"no trial of {study.path} came to an end; the same command with more time goes on.{failed}")
    front = [trial.number for trial in trials.best_trials]  # several where they are equally good
    best = max((rows[number] for number in front), key=lambda row: row["score"])
    front = front if search.cost else [best["number"]]
    spread = "" if best["spread"] is None else f" +- {best['spread']:.4f}"
    shorter = f" of {search.epochs} epochs" if search.epochs else ""
    about = About(
        summary=f"Found by a search of {len(rows):,} trials for {search.recipe.model.name}.",
        reaches=f"{best['measure']} {best['score']:.4f}{spread} in {search.folds} folds{shorter}.",
    )
    trial = trial_recipe(search, best["settings"])
    winner = Recipe(**dict(trial) | {"about": about, "data": trial.data.rules})
    text = tomli_w.dumps(winner.model_dump(mode="json", exclude_none=True))
    with FileLock(study.path / ".end.lock"):  # the same command may have been given twice
        write_whole(study.path / "best.toml", lambda aside: aside.write_text(text, "utf-8"))
        metrics = _train_winner(Run(study.path / "best"), winner, search, quiet=quiet)
        tuned = Tuned(str(study.path), rows, best, front, metrics)
        write_report(study, search, tuned)
    return tuned


def _train_winner(run: Run, winner: Recipe, search: Search, *, quiet: bool) -> dict[str, Any]:
    """The winner's metrics on the test images; a training of it that is there is gone on with."""
    source = search.recipe.data.source
    if run.is_run and run.recipe == resolve(None, source, winner):
        return run.metrics or resume(run, quiet=quiet).metrics
    shutil.rmtree(run.path, ignore_errors=True)
    return fit(None, data=source, out=run.path, recipe=winner, quiet=quiet).metrics


def show(path: Path) -> list[dict[str, Any]]:
    """The rows of a study's trials, see `recipes.search.study.rows_of`; nothing is computed."""
    return rows_of(Study.open(path).trials().get_trials(deepcopy=False))
