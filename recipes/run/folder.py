"""A run: the folder that holds one training and explains itself. Every later command takes it."""

import contextlib
import csv
import io
import json
import shutil
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import tomli_w
from filelock import FileLock, Timeout

from recipes.config.presets import SCHEMA, load_resolved
from recipes.config.settings import Recipe, ResolvedRecipe
from recipes.data.labels import task_name
from recipes.data.names import check_count, from_lines, to_lines
from recipes.run.keras_file import load_keras_file
from recipes.support.files import check_writable, is_half_written, write_whole
from recipes.support.tables import some_of, to_json
from zoo.backend import keras
from zoo.errors import RequestError
from zoo.files import check_file
from zoo.registry import require_plugin

if TYPE_CHECKING:
    from recipes.data import Data

_BEGINNING = {".lock", "checkpoints", "tensorboard", "labels.txt", "split.csv", "data.json", "skipped.json"}
_READ_ONCE = {
    "recipe.toml": "recipe",
    "labels.txt": "class_names",
    "history.csv": "history",
    "metrics.json": "metrics",
    "export.json": "exports",
}


@dataclass(frozen=True)
class Run:
    """A run folder. Its files are written whole or not at all.

    What is in them is read at the first access and kept. It is read again after this object has written the file,
    and once this object has the lock: another process may have written before.
    """

    path: Path

    @classmethod
    def create(cls, path: str | Path, *, overwrite: bool = False, tensorboard: bool = False) -> "Run":
        """An empty folder for a new run, with one in it for TensorBoard if asked.

        Raises:
            RequestError: the folder holds a run (unless `overwrite`, which removes it), holds something else
                (always), is being written by another process, or cannot be made.
        """
        run = cls(Path(path))
        check_free(run.path, overwrite=overwrite)
        try:
            if run.is_run or (run.path / ".lock").exists():
                with run.lock():  # not while another process is beginning, or going on with, the run there
                    shutil.rmtree(run.path)
            (run.path / "checkpoints").mkdir(parents=True, exist_ok=True)
            if tensorboard:
                (run.path / "tensorboard").mkdir(exist_ok=True)
        except OSError as error:
            raise RequestError(f"{run.path} cannot be written: {error.strerror}.") from None
        return run

    @classmethod
    def open(cls, path: "str | Path | Run") -> "Run":
        """An existing run, by its folder; one that is open already is given back.

        The plugin that its model is registered in is loaded, if there is one.

        Raises:
            RequestError: there is no run at `path`, or its plugin is not what it was, see
                `zoo.registry.require_plugin`.
        """
        if isinstance(path, Run):
            return path
        run = cls(Path(path))
        if not run.path.exists():
            raise RequestError(f"{run.path} does not exist.")
        if not run.is_run:
            raise RequestError(f"{run.path} is not a run: it has no recipe.toml.")
        require_plugin(run.recipe.plugin, str(run.path))
        return run

    @property
    def is_run(self) -> bool:
        return (self.path / "recipe.toml").is_file()

    @cached_property
    def recipe(self) -> ResolvedRecipe:
        """The settings that the run was trained with."""
        return load_resolved(self.path / "recipe.toml")

    @cached_property
    def class_names(self) -> tuple[str, ...]:
        """Position is the label; of several labels and numbers, what each score is called.

        Raises:
            RequestError: the file is missing, or not text.
        """
        file = self.path / "labels.txt"
        try:
            return from_lines(check_file(file).read_bytes().decode("utf-8"))
        except UnicodeDecodeError:
            raise RequestError(f"{file} is damaged: it is not UTF-8.") from None

    @cached_property
    def history(self) -> list[dict[str, float]]:
        """The rows of `history.csv`, one an epoch; empty before the first. What is not a number is not-a-number."""
        file = self.path / "history.csv"
        if not file.is_file():
            return []
        with file.open(encoding="utf-8", newline="") as lines:
            return [{key: _number(value) for key, value in row.items()} for row in csv.DictReader(lines)]

    @cached_property
    def metrics(self) -> dict[str, Any]:
        """The metrics that were written last, empty while the training is not finished."""
        file = self.path / "metrics.json"
        metrics: dict[str, Any] = json.loads(file.read_text("utf-8")) if file.is_file() else {}
        return metrics

    @cached_property
    def exports(self) -> dict[str, dict[str, Any]]:
        """What each kind of export came to when it was last made, see `recipes.export.parity.Exported`."""
        try:
            rows = json.loads(check_file(self.path / "export.json").read_text("utf-8"))
        except (RequestError, json.JSONDecodeError):
            return {}
        return {kind: row for kind, row in rows.items() if isinstance(row, dict)} if isinstance(rows, dict) else {}

    @property
    def task(self) -> str:
        """What is learned of the labels, see `recipes.data.Data`; runs say so with their metrics."""
        return task_name(self.metrics)

    @property
    def split_table(self) -> Path | None:
        """The file that says which image is in which part; None where images are not files."""
        return self.path / "split.csv" if (self.path / "split.csv").is_file() else None

    @property
    def model_file(self) -> Path:
        """The trained model's file.

        Raises:
            RequestError: the training did not get as far as a model.
        """
        file = self.path / "model.keras"
        if not file.is_file():
            raise RequestError(f"{self.path} has no model.keras: its training did not finish.")
        return file

    def load_model(self) -> "keras.Model":
        """The trained model.

        Raises:
            RequestError: the training did not get as far as a model, the file is damaged, or it has not a score for
                each of the run's labels.
        """
        model = load_keras_file(self.model_file)
        check_count(self.class_names, model.output_shape[-1], self.path)
        return model

    def load_data(self, source: str | None = None) -> "Data":
        """The images of the run, in the parts that it was trained with.

        Args:
            source: where they are now; where they were if None.

        Raises:
            RequestError: they are not there, or are not those of the run, by names, labels and classes.
        """
        from recipes.data import load

        moved = {} if source is None else {"source": source}
        data = load(**self.recipe.data.model_dump() | moved, split_table=self.split_table, quiet=True)
        self.check_data(data)
        return data

    def check_data(self, data: "Data") -> None:
        """Raises a `RequestError` where images are not those that the run was trained with.

        Their classes are compared, which would be shifted, and of a set that is not made of files the digests; files
        are compared by `recipes.data.load`, against the split table. Runs of earlier versions keep no digests.
        """
        if data.class_names != self.class_names:
            here, there = set(data.class_names), set(self.class_names)
            apart = [
                f"{words} {some_of(sorted(names))}"
                for words, names in (("without", there - here), ("with", here - there))
                if names
            ]
            raise RequestError(
                f"{data.source} has other classes than {self.path} was trained on: "
                f"{', '.join(apart) or 'in another order'}."
            )
        file = self.path / "data.json"
        kept = json.loads(file.read_text("utf-8")).get("digests", {}) if file.is_file() else {}
        if kept and sorted(kept.values()) != sorted(data.digests.values()):
            raise RequestError(
                f"{data.source} does not hold the images that {self.path} was trained with: bring them back, or train "
                "a new run."
            )

    def keep_data(self, data: "Data") -> None:
        """As `check_data`, of a run that is gone on with: what `write_data` writes and is lost is written again."""
        if not (self.path / "labels.txt").is_file():
            self.write_data(data)
        self.check_data(data)

    @contextlib.contextmanager
    def lock(self) -> Iterator[None]:
        """Keeps other processes from writing the run; the system lifts it when this process ends, however it ends.

        Raises:
            RequestError: another process is writing.
        """
        lock = FileLock(self.path / ".lock", timeout=0)
        try:
            lock.acquire()
        except Timeout:
            raise RequestError(f"{self.path} is being written by another process.") from None
        self._read_again(*_READ_ONCE)
        try:
            yield
        finally:
            lock.release()

    def write_recipe(self, recipe: Recipe) -> None:
        settings = {"schema": SCHEMA} | recipe.model_dump(mode="json", exclude_none=True)
        self.write_text("recipe.toml", tomli_w.dumps(settings))

    def write_json(self, name: str, value: Mapping[str, Any]) -> None:
        self.write_text(name, to_json(value) + "\n")

    def write_rows(self, name: str, rows: Iterable[Mapping[str, Any]]) -> None:
        """A CSV table; the first row's keys are its columns."""
        rows = list(rows)
        table = io.StringIO()
        writer = csv.DictWriter(table, rows[0], lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        self.write_text(name, table.getvalue())

    def write_text(self, name: str, text: str) -> None:
        write_whole(self.path / name, lambda aside: aside.write_text(text, "utf-8"))
        self._read_again(name)

    def _read_again(self, *names: str) -> None:
        """Forgets what was read of these files."""
        for name in names:
            if name in _READ_ONCE:
                vars(self).pop(_READ_ONCE[name], None)

    def write_exports(self, rows: Mapping[str, Mapping[str, Any]]) -> None:
        """Adds to `export.json`, or replaces, a row for each kind of export; the rows of other kinds stay."""
        self._read_again("export.json")  # another process may have exported meanwhile
        self.write_json("export.json", self.exports | dict(rows))

    def save_model(self, model: "keras.Model") -> None:
        """Keeps the model without its optimizer: with it the file would be three times as large, and plain Keras could
        not load it where the schedule is one of this package."""
        bare = type(model)(model.input, model.output, name=model.name)
        write_whole(self.path / "model.keras", lambda aside: bare.save(aside))

    def remove_half_written(self) -> None:
        """What a killed process left aside; for the holder of the lock."""
        for folder in (self.path, self.path / "checkpoints"):
            for file in folder.iterdir():
                if is_half_written(file):
                    file.unlink()

    def remove_checkpoints(self) -> None:
        """What only an unfinished training needs."""
        for file in (self.path / "checkpoints").iterdir():
            file.unlink()

    def write_data(self, data: "Data") -> None:
        """What later commands must know: class names, which file is in which part, which files were left out."""
        self.write_text("labels.txt", to_lines(data.class_names))
        if rows := data.split_table():
            self.write_rows("split.csv", rows)
        elif data.digests:
            self.write_json("data.json", {"digests": dict(data.digests)})
        if data.skipped:
            self.write_text("skipped.json", to_json([asdict(finding) for finding in data.skipped]) + "\n")


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return float("nan")


def check_free(path: Path, *, overwrite: bool) -> None:
    """Raises the `RequestError` of `Run.create`, without touching anything: called before the long work."""
    if (path / "recipe.toml").is_file():
        if not overwrite:
            raise RequestError(f"{path} already holds a run; choose another folder, or --overwrite to replace it.")
    elif path.is_dir() and any(path.iterdir()) and not _never_began(path):
        raise RequestError(f"{path} holds something that is not a run; choose another folder.")
    elif path.exists() and not path.is_dir():
        raise RequestError(f"{path} is a file; choose a folder.")
    standing = next(parent for parent in (path, *path.absolute().parents) if parent.exists())
    check_writable(path, standing)


def _never_began(path: Path) -> bool:
    """Whether a folder is that of a run which was killed before its recipe, the last of its first files, was there."""
    names = {entry.name for entry in path.iterdir() if not is_half_written(entry)}
    return ".lock" in names and names <= _BEGINNING
