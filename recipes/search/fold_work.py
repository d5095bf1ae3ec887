"""The trainings of a cross-validation, shared among processes; what is trained is kept until all of them are."""

import hashlib
import json
import multiprocessing
import os
import shutil
import sys
import tempfile
import zipfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing.queues import SimpleQueue
from pathlib import Path

import numpy as np

from recipes.config.settings import ResolvedRecipe
from recipes.data import Data
from recipes.data.dataset import digest_of
from recipes.distributed.team import Team, join
from recipes.search.folds import fold_data, held_out, learnable, train_fold
from recipes.support.files import check_writable, replacing
from recipes.training.session import load_images
from zoo.backend import as_keras_ships
from zoo.cache import cache_folder
from zoo.errors import FailureError, RequestError
from zoo.registry import require_plugin


@dataclass(frozen=True)
class Plan:
    """What is trained on every fold.

    Attributes:
        settings: the model's recipe, with what it leaves to the device.
        rival: that of another model; None where there is none.
        folds, seed: how many, and which.
        quiet: no line a fold on stderr.
    """

    settings: ResolvedRecipe
    rival: ResolvedRecipe | None
    folds: int
    seed: int
    quiet: bool

    @property
    def models(self) -> tuple[ResolvedRecipe, ...]:
        return (self.settings, self.rival) if self.rival else (self.settings,)


@dataclass(frozen=True, eq=False)
class Trained:
    """A fold that was trained.

    Attributes:
        values: float64 (1,) or (2,), what the task chooses by, of the model and of the other.
        scores: float32 (n, classes), the model's, of the images that the fold holds out.
    """

    values: np.ndarray
    scores: np.ndarray


class FoldWork:
    """The folds of a set of images: those that are trained, here or by an earlier call that was stopped, and the rest.

    Trained folds are kept in the cache folder. They are found again by the same recipes, versions, images, folds and
    seed; a cross-validation that has come to its end takes them away.

    Args:
        plan: what is trained.
        images: the set.
        folder: where trained folds are kept, in place of the cache folder.

    Raises:
        RequestError: as `recipes.search.folds.held_out`.
    """

    def __init__(self, plan: Plan, images: Data, folder: Path | None = None) -> None:
        self.plan, self._images = plan, images
        self.pool = learnable(images)
        self.held = held_out(self.pool, images.task, plan.folds, plan.seed)
        self._folder = folder or cache_folder() / "folds" / _digest(plan, images)
        self.done: dict[int, Trained] = {}
        self._read(self._folder)

    def train(self, numbers: Iterable[int]) -> None:
        """Trains some of the folds in this process."""
        for number in numbers:
            fold = fold_data(self._images, self.pool, self.held[number], self.plan.seed)
            (value, scores), *others = [train_fold(recipe, fold) for recipe in self.plan.models]
            values = np.array([value, *(other for other, _ in others)])
            self.done[number] = Trained(values, np.asarray(scores, np.float32))
            self._keep(number)
            self.say(number)

    def train_on(self, devices: Sequence[str], numbers: Sequence[int]) -> None:
        """Trains some of the folds in a process for each device, as `recipes.distributed.devices.separately` names it.

        Raises:
            FailureError: a process failed, or ended before its folds were trained; the others have trained theirs.
        """
        context = multiprocessing.get_context("spawn")  # a fork would share what TensorFlow has begun
        errors = context.SimpleQueue()
        shares = [numbers[place :: len(devices)] for place in range(len(devices))]
        with self._written() as folder:
            processes = [
                context.Process(target=_train_apart, args=(self.plan, share, device, folder, errors), daemon=True)
                for share, device in zip(shares, devices, strict=True)
                if share
            ]
            for process in processes:
                process.start()
            for process in processes:
                process.join()
            self._read(folder)
        if not errors.empty():
            raise FailureError(errors.get())
        if missing := [number for number in numbers if number not in self.done]:
            codes = [(process.exitcode or 0, device) for process, device in zip(processes, devices, strict=False)]
            code, device = next(((code, device) for code, device in codes if code), (0, ""))
            why = f"ended with code {code}" if code >= 0 else f"was killed by signal {-code}"
            what = f"the process on {device} {why}" if code else f"{folder} cannot be written"
            done = f"{self.plan.folds - len(missing)} of {self.plan.folds} folds are trained"
            way = ", and the same command goes on with the others" if folder == self._folder else ""
            raise FailureError(f"{what}; {done}{way}.")

    def say(self, number: int, how: str = "") -> None:
        """A line on what a fold came to."""
        if not self.plan.quiet:
            pairs = zip(self.plan.models, self.done[number].values, strict=True)
            words = "  ".join(f"{recipe.model.name} {value:.4f}" for recipe, value in pairs)
            print(f"fold {number + 1}/{self.plan.folds}  {words}{how}", file=sys.stderr, flush=True)

    def left_by(self, team: Team) -> list[int]:
        """Those folds that no worker of a team has trained."""
        return np.flatnonzero(self._first_with(team) < 0).tolist()

    def gathered(self, team: Team) -> tuple[np.ndarray, np.ndarray]:
        """What all workers trained: values float64 (folds, 1 or 2), and scores float32 (N, classes) of all images.

        Raises:
            FailureError: a worker is gone.
        """
        values = np.zeros((self.plan.folds, len(self.plan.models)))
        scores = np.zeros((len(self.pool), len(self._images.class_names)), np.float32)
        for number in np.flatnonzero(self._first_with(team) == team.rank).tolist():
            values[number] = self.done[number].values
            scores[self.held[number]] = self.done[number].scores
        values = team.sum(values.view(np.int32)).view(np.float64)  # sums of bits with zeros
        return values, team.sum(scores)

    def forget(self) -> None:
        """Takes away what is kept."""
        shutil.rmtree(self._folder, ignore_errors=True)

    def _first_with(self, team: Team) -> np.ndarray:
        """The rank of the first worker that has each fold (folds,), -1 where nobody has."""
        has = np.zeros((team.size, self.plan.folds), np.int32)
        has[team.rank, list(self.done)] = 1
        has = team.sum(has)
        return np.where(has.any(axis=0), has.argmax(axis=0), -1)

    @contextmanager
    def _written(self) -> Iterator[Path]:
        """The folder that trained folds are kept in; one for now where it cannot be written."""
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            check_writable(self._folder, self._folder)
        except (OSError, RequestError):
            with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as made:
                yield Path(made)
            return
        yield self._folder

    def _read(self, folder: Path) -> None:
        """Takes up what is kept and not known yet."""
        for number in range(self.plan.folds):
            if number not in self.done and (trained := self._kept(folder / f"{number}.npz", number)):
                self.done[number] = trained

    def _keep(self, number: int) -> None:
        with suppress(OSError):  # without the cache a stopped cross-validation begins again, that is all
            self._folder.mkdir(parents=True, exist_ok=True)
            with replacing(self._folder / f"{number}.npz") as aside:
                np.savez(aside, **vars(self.done[number]))

    def _kept(self, file: Path, number: int) -> Trained | None:
        """A fold that was trained before; None if there is none, or what there is cannot be one."""
        try:
            with np.load(file, allow_pickle=False) as kept:
                trained = Trained(kept["values"], kept["scores"])
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
            return None
        expected = (len(self.plan.models),), (len(self.held[number]), len(self._images.class_names))
        shapes, dtypes = (trained.values.shape, trained.scores.shape), (trained.values.dtype, trained.scores.dtype)
        return trained if shapes == expected and list(map(str, dtypes)) == ["float64", "float32"] else None


def _digest(plan: Plan, images: Data) -> str:
    """What tells a cross-validation from any other."""
    recipes = [recipe.model_dump(mode="json") for recipe in plan.models]
    content = [sorted(images.digests.items()), digest_of(images.class_names, images.parts.values())]
    text = json.dumps([recipes, plan.folds, plan.seed, content], sort_keys=True, default=str)
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


@as_keras_ships
def _train(plan: Plan, numbers: Sequence[int], device: str, folder: Path) -> None:
    join(device)
    for recipe in plan.models:
        require_plugin(recipe.plugin, "the recipe")
    work = FoldWork(plan, load_images(plan.settings, None, quiet=True), folder)
    starter = multiprocessing.parent_process()
    for number in numbers:
        if starter is not None and not starter.is_alive():
            return
        work.train([number])


def _train_apart(plan: Plan, numbers: Sequence[int], device: str, folder: Path, errors: "SimpleQueue[str]") -> None:
    """Trains folds in a process of their own; what goes wrong is told to the one that started it."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    try:
        _train(plan, numbers, device, folder)
    except (RequestError, FailureError) as error:
        errors.put(str(error))
    except KeyboardInterrupt:
        sys.exit(130)
