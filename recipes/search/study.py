"""A study: the folder of a search, its trials in Optuna's journal, and who is working on them."""

import contextlib
import json
import os
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tomli_w
from filelock import FileLock, Timeout
from pydantic import BaseModel, ConfigDict, Field

from recipes.config.presets import read_preset
from recipes.config.problems import validated
from recipes.config.settings import ResolvedRecipe
from recipes.search.results import Cost, check_rows
from recipes.search.space import Space
from recipes.support.extras import require
from recipes.support.files import write_whole
from recipes.support.reading import Document
from zoo.errors import RequestError, first_line

if TYPE_CHECKING:
    import optuna


class Search(BaseModel):
    """What a study searches, and how; kept in its `study.toml`.

    Attributes:
        recipe: what the settings of a trial are put into, fully resolved.
        space: what is searched.
        folds: of the cross-validation; 1 for the set's own validation part.
        epochs: that a trial is trained for, to try more of them in the same time; the recipe's own if None.
        sampler, pruner: Optuna's.
        cost: a second objective to be small, for a front; None to search for the score alone.
        limits: the most that a model may cost, by the names of `COSTS`.
        seed: of the folds and of the sampler.
        storage: the journal; a file in the study's folder if None.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    recipe: ResolvedRecipe
    space: Space
    folds: Annotated[int, Field(ge=1)]
    epochs: Annotated[int, Field(ge=1)] | None = None
    sampler: Literal["tpe", "random", "grid"]
    pruner: Literal["median", "hyperband", "none"]
    cost: Cost | None = None
    limits: dict[Cost, float] = {}
    seed: int = 0
    storage: str | None = None

    @property
    def question(self) -> dict[str, Any]:
        """What all who work on one study must agree on; where they keep images, plugin and journal is their own."""
        asked = self.model_dump(mode="json", exclude={"storage"})
        asked["recipe"]["data"].pop("source")
        if plugin := asked["recipe"].pop("plugin"):
            asked["recipe"]["plugin"] = {name: value for name, value in plugin.items() if name != "path"}
        return asked


@dataclass(frozen=True)
class Study:
    """A study's folder."""

    path: Path

    @classmethod
    def create(cls, path: Path, search: Search) -> "Study":
        """The study in `path`, which is made unless it is there already.

        Raises:
            RequestError: there is something else, or a study that searches something else.
        """
        study = cls(path)
        if study.is_there:
            kept = study.search
            if kept != search:
                different = [name for name in Search.model_fields if getattr(kept, name) != getattr(search, name)]
                raise RequestError(
                    f"{path} holds a study with another {', '.join(different)}; choose another folder, or go on with "
                    "the settings that it was begun with."
                )
            return study
        study.check_free()
        try:
            path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise RequestError(f"{path} cannot be written: {error.strerror}.") from None
        text = tomli_w.dumps(search.model_dump(mode="json", exclude_none=True))
        write_whole(path / "study.toml", lambda aside: aside.write_text(text, "utf-8"))
        return study

    def check_free(self) -> None:
        """Raises a `RequestError` where something else than a study is in its place."""
        if self.path.exists() and (not self.path.is_dir() or any(self.path.iterdir())):
            raise RequestError(f"{self.path} holds something that is not a study; choose another folder.")

    @classmethod
    def open(cls, path: Path) -> "Study":
        """Raises a `RequestError` where there is no study, or its `study.toml` is damaged."""
        study = cls(path)
        if not study.is_there:
            raise RequestError(f"{path} is not a study: it has no study.toml.")
        _ = study.search
        return study

    @property
    def is_there(self) -> bool:
        return (self.path / "study.toml").is_file()

    @cached_property
    def search(self) -> Search:
        """What the study searches; written once, when it is made."""
        file = str(self.path / "study.toml")
        return validated(Search, read_preset("study", file), file)

    @property
    def journal(self) -> Path:
        return Path(self.search.storage or self.path / "journal.log")

    @property
    def _locks(self) -> Path:
        """Beside the journal: whoever can reach it sees who else is working on it."""
        folder = self.journal.with_suffix(".locks")
        try:
            folder.mkdir(exist_ok=True)
        except OSError as error:
            raise RequestError(f"{folder} cannot be written: {error.strerror}.") from None
        return folder

    def join(self) -> None:
        """Makes the journal ready to be read and written.

        Raises:
            RequestError: it cannot be written, or is of a search for something else.
        """
        try:
            with self.one_at_a_time():
                trials, search = self.trials(), self.search
                if (asked := trials.user_attrs.get("question")) is None:
                    trials.set_user_attr("question", json.dumps(search.question, sort_keys=True))
                elif asked != json.dumps(search.question, sort_keys=True):
                    raise RequestError(f"{self.journal} is the journal of another search; name another file.")
        except OSError as error:
            raise RequestError(f"{self.journal} cannot be written: {error.strerror}.") from None

    def trials(self) -> "optuna.Study":
        """Optuna's study, with a pruner.

        Raises:
            RequestError: the journal is damaged, or cannot be read or written.
        """
        import_optuna()
        journal = Document(self.journal, "put a copy of it back, or begin a new study")
        if journal.is_there:
            _check_journal(journal)
        try:
            trials = self._load()
            check_rows(trials.get_trials(deepcopy=False))
        except OSError as error:
            raise journal.refused(f"cannot be read: {error.strerror or error}") from None
        except Exception as error:  # Optuna believes its journal
            raise journal.refused(f"is damaged: {type(error).__name__}: {first_line(error)}") from error
        return trials

    def _load(self) -> "optuna.Study":
        import optuna
        from optuna.storages.journal import JournalFileBackend

        search, file = self.search, self.journal
        # Optuna's base class of locks is not known before it is imported; a lock is what acquires and releases.
        lock: Any = _JournalLock(file)
        storage = optuna.storages.JournalStorage(JournalFileBackend(str(file), lock))
        name, pruner = "zoo", _pruner(search)
        try:
            return optuna.load_study(storage=storage, study_name=name, pruner=pruner)
        except KeyError:  # made once; asking to make it would write into the journal every time
            return optuna.create_study(
                storage=storage,
                study_name=name,
                pruner=pruner,
                directions=["maximize", "minimize"] if search.cost else ["maximize"],
                load_if_exists=True,
            )

    @contextlib.contextmanager
    def one_at_a_time(self) -> Iterator[None]:
        """Workers count and draw trials in turn."""
        with FileLock(self._locks / "draw.lock"):
            yield

    @contextlib.contextmanager
    def worker(self) -> Iterator[str]:
        """A name for this process; that it lives is seen by a lock, which the system lifts however it ends."""
        name = uuid.uuid4().hex
        file = self._locks / f"{name}.lock"
        with FileLock(file):
            yield name
        file.unlink(missing_ok=True)

    def is_alive(self, worker: str) -> bool:
        file = self._locks / f"{worker}.lock"
        if not file.is_file():
            return False
        try:
            FileLock(file, timeout=0).acquire().lock.release()
        except Timeout:
            return True
        return False


class _JournalLock:
    """Keeps writers of a journal apart. Unlike Optuna's own locks it does not outlive a process that is killed."""

    def __init__(self, journal: Path) -> None:
        self._journal, self._lock = journal, FileLock(journal.with_name(f"{journal.name}.lock"))

    def acquire(self) -> bool:
        """Removes a line that its writer did not live to end, too: nothing could be read behind it."""
        self._lock.acquire()
        with open(self._journal, "rb+") as file:
            file.seek(max(file.seek(0, os.SEEK_END) - 1, 0))
            if file.read() not in (b"", b"\n"):
                file.seek(0)
                file.truncate(file.read().rfind(b"\n") + 1)
        return True

    def release(self) -> None:
        self._lock.release()


def _check_journal(journal: Document) -> None:
    """Raises a `RequestError` unless each line is an entry; the last may be cut off, as when its writer was killed."""
    *lines, _ = journal.content().split(b"\n")
    for number, line in enumerate(lines, start=1):
        try:
            entry = json.loads(line)
        except (ValueError, RecursionError):
            raise journal.refused(f"is damaged: line {number:,} is not JSON") from None
        if not isinstance(entry, dict) or not isinstance(entry.get("op_code"), int) or "worker_id" not in entry:
            raise journal.refused(f"is damaged: line {number:,} is no entry of a journal")


def import_optuna() -> Any:
    """Optuna, without its remarks on every trial.

    Raises:
        RequestError: it is not installed.
    """
    require("zoo tune", "tune", "optuna")
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna


def sampler_of(search: Search, place: int) -> "optuna.samplers.BaseSampler":
    """What draws the candidate of a place: the same for one place, whichever process asks; of a grid nothing is."""
    import_optuna()
    from optuna import samplers

    seed = (1_000_003 * search.seed + place) % 2**31
    return samplers.TPESampler(seed=seed) if search.sampler == "tpe" else samplers.RandomSampler(seed=seed)


def _pruner(search: Search) -> "optuna.pruners.BasePruner":
    import_optuna()
    from optuna import pruners

    epochs = search.epochs or search.recipe.epochs
    if search.pruner == "none" or search.cost:  # Optuna prunes by one objective only
        return pruners.NopPruner()
    if search.pruner == "hyperband":
        steps = epochs * search.folds
        return pruners.HyperbandPruner(min_resource=max(1, steps // 27), max_resource=steps)
    return pruners.MedianPruner(n_startup_trials=5, n_warmup_steps=epochs // 4)
