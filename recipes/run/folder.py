"""A run: the folder that holds one training and explains itself. Every later command takes it."""

import contextlib
import csv
import io
import os
import re
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
from recipes.data.names import from_lines, to_lines
from recipes.run.contents import CALIBRATION, EXPORTS, KEPT_OF_DATA, METRICS, WAYS_ON
from recipes.run.keras_file import check_model, load_keras_file
from recipes.support.files import check_writable, is_half_written, write_whole
from recipes.support.reading import Document
from recipes.support.tables import some_of, to_json
from zoo.backend import keras
from zoo.errors import RequestError
from zoo.registry import require_plugin

if TYPE_CHECKING:
    from recipes.data import Data

_BEGINNING = {".lock", "checkpoints", "tensorboard", "labels.txt", "split.csv", "data.json", "skipped.json"}
CONTROL = re.compile(r"[\x00-\x1f\x7f]")  # no name has them
LONGEST_HISTORY = 200_000  # rows: two phases of as many epochs as a recipe may have
_READ_ONCE = {
    "recipe.toml": "recipe",
    "labels.txt": "class_names",
    "history.csv": "history",
    "metrics.json": "metrics",
    "export.json": "exports",
    "data.json": "_kept_of_data",
    "calibration.json": "calibration",
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

        The plugin that its model is registered in is loaded, if there is one. All of its small files are read: a run
        that is damaged is refused here, before the long work, by a line that names the file.

        Raises:
            RequestError: there is no run at `path`, a file in it is damaged, or its plugin is not what it was, see
                `zoo.registry.require_plugin`.
        """
        if isinstance(path, Run):
            return path
        run = cls(Path(path))
        if not run.path.exists():
            raise RequestError(f"{run.path} does not exist.")
        if not run.is_run:
            raise RequestError(f"{run.path} is not a run: it has no recipe.toml.")
        run._check_files()
        require_plugin(run.recipe.plugin, str(run.path))
        return run

    def _check_files(self) -> None:
        """Reads all small files; `RequestError` as `open`. Names that were lost are written again by a resume."""
        lost = not self.document("labels.txt").is_there and not self.is_finished
        for name, attribute in _READ_ONCE.items():
            if not (lost and name == "labels.txt"):
                getattr(self, attribute)
        if not lost and tuple(self.metrics.get("class_names", self.class_names)) != self.class_names:
            raise self.document("labels.txt").refused("has other names than metrics.json")

    def document(self, name: str) -> Document:
        """A small file of the run, with what to do where it cannot be read."""
        return Document(self.path / name, WAYS_ON[name].format(run=self.path))

    @property
    def is_run(self) -> bool:
        return (self.path / "recipe.toml").is_file()

    @cached_property
    def recipe(self) -> ResolvedRecipe:
        """The settings that the run was trained with."""
        return load_resolved(self.document("recipe.toml"))

    @cached_property
    def class_names(self) -> tuple[str, ...]:
        """Position is the label; of several labels and numbers, what each score is called.

        Raises:
            RequestError: the file is missing, damaged, or not text.
        """
        labels = self.document("labels.txt")
        names = from_lines(labels.text())
        if not names or any(not name.strip() or CONTROL.search(name) for name in names):
            raise labels.refused("is not a list of names, one a line")
        return names

    @cached_property
    def history(self) -> list[dict[str, float]]:
        """The rows of `history.csv`, one an epoch; empty before the first. What is not a number is not-a-number."""
        file = self.document("history.csv")
        rows = file.rows(LONGEST_HISTORY, "epoch") if file.is_there else []
        return [{key: _number(value) for key, value in row.items()} for row in rows]

    @cached_property
    def metrics(self) -> dict[str, Any]:
        """The metrics that were written last, empty while the training is not finished."""
        file = self.document("metrics.json")
        metrics: dict[str, Any] = file.json(METRICS) if file.is_there else {}
        return metrics

    @cached_property
    def exports(self) -> dict[str, dict[str, Any]]:
        """What each kind of export came to when it was last made, see `recipes.export.parity.Exported`."""
        file = self.document("export.json")
        rows: dict[str, dict[str, Any]] = file.json(EXPORTS) if file.is_there else {}
        return rows

    @cached_property
    def calibration(self) -> dict[str, Any]:
        """The `temperature` that is in its model, and how many validation `images` it was fitted on;
        `class_thresholds` that are in it, what was `added` to the logits of each class; and the `threshold` from which
        on predictions are sure, a `recipes.tasks.selective.Threshold`. What there is none of is left out."""
        file = self.document("calibration.json")
        kept: dict[str, Any] = file.json(CALIBRATION) if file.is_there else {}
        return kept

    @property
    def data_digests(self) -> dict[str, str]:
        """Of each part of a set that is not made of files; empty for one that is, and in runs of earlier versions."""
        digests: dict[str, str] = self._kept_of_data.get("digests", {})
        return digests

    @cached_property
    def _kept_of_data(self) -> dict[str, Any]:
        """`digests`, see `data_digests`, and that of the `unknown` images; what there is none of is left out."""
        file = self.document("data.json")
        kept: dict[str, Any] = file.json(KEPT_OF_DATA) if file.is_there else {}
        return kept

    @property
    def is_finished(self) -> bool:
        """Whether the training came to its end, be its metrics still there or not."""
        has_model = os.path.lexists(self.path / "model.keras")
        return self.document("metrics.json").is_there or (has_model and not self.checkpoints)

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

    @cached_property
    def training_digests(self) -> frozenset[str]:
        """Of the content of the files that its training used, to learn or to choose the epoch; empty where images are
        not files, and in runs of earlier versions."""
        from recipes.data.split_table import LARGEST

        rows = Document(self.split_table).rows(LARGEST, "file", "split") if self.split_table else []
        return frozenset(row["digest"] for row in rows if row.get("digest") and row.get("split") != "test")

    def load_model(self) -> "keras.Model":
        """The trained model.

        Raises:
            RequestError: the training did not get as far as a model, the file is damaged, or it is of another run.
        """
        model = load_keras_file(self.model_file)
        check_model(model, self.model_file, self.recipe.data.image_shape, self.class_names)
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
        kept = self.data_digests
        if kept and sorted(kept.values()) != sorted(data.digests.values()):
            raise RequestError(
                f"{data.source} does not hold the images that {self.path} was trained with: bring them back, or train "
                "a new run."
            )
        if data.unknown is not None and data.unknown_digest != self._kept_of_data.get("unknown"):
            assert self.recipe.unknown is not None
            raise RequestError(
                f"{self.recipe.unknown.source} does not hold the unknown images that {self.path} was trained against: "
                "bring them back, or train a new run."
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
        except OSError as error:
            raise RequestError(f"{self.path} cannot be written: {error.strerror or error}.") from None
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

    def keep_threshold(self, threshold: Mapping[str, Any] | None) -> None:
        """Adds it to `calibration.json`, replaces it there, or takes it away."""
        kept = {key: value for key, value in self.calibration.items() if key != "threshold"}
        self.write_json("calibration.json", kept | ({"threshold": threshold} if threshold else {}))

    def save_model(self, model: "keras.Model") -> None:
        """Keeps the model without its optimizer: with it the file would be three times as large, and plain Keras could
        not load it where the schedule is one of this package."""
        bare = type(model)(model.input, model.output, name=model.name)
        write_whole(self.path / "model.keras", lambda aside: bare.save(aside))

    def tidy(self) -> None:
        """Removes what a killed process left aside, so that the training can go on; for the holder of the lock.

        Raises:
            RequestError: there is no place for checkpoints.
        """
        try:
            (self.path / "checkpoints").mkdir(exist_ok=True)  # copies of a folder may lack what is empty
        except OSError as error:
            raise RequestError(f"{self.path / 'checkpoints'} cannot be written: {error.strerror}.") from None
        for file in [*self.path.iterdir(), *self.checkpoints]:
            if is_half_written(file):
                file.unlink()

    @property
    def checkpoints(self) -> list[Path]:
        """What only an unfinished training needs."""
        folder = self.path / "checkpoints"
        return [file for file in folder.iterdir() if file.is_file()] if folder.is_dir() else []

    def remove_checkpoints(self) -> None:
        for file in self.checkpoints:
            file.unlink()

    def write_data(self, data: "Data") -> None:
        """What later commands must know: class names, which file is in which part, which files were left out."""
        self.write_text("labels.txt", to_lines(data.class_names))
        if rows := data.split_table():
            self.write_rows("split.csv", rows)
        kept: dict[str, Any] = {"unknown": data.unknown_digest} if data.unknown is not None else {}
        if not rows and data.digests:
            kept["digests"] = dict(data.digests)
        if kept:
            self.write_json("data.json", kept)
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
