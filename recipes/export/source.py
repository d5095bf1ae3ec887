"""What is exported: a trained model, from a run or from a `.keras` file, with images to verify the export on."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from copy import copy
from dataclasses import replace
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np

from recipes.data import Data, Split, load
from recipes.data.dataset import at_once
from recipes.run.folder import Run
from recipes.run.keras_file import image_model, load_keras_file, refuse_hdf5
from recipes.support.files import check_writable
from zoo.backend import keras
from zoo.errors import RequestError
from zoo.files import check_file
from zoo.groups import copies_in


class ExportSource(ABC):
    """A model and its images. It is opened once; model and images are loaded when they are first asked for.

    Attributes:
        folder: where exported files usually go.
        stem: what their names usually begin with.
        resize: what was done to images of another size.
        versions: of the libraries that the model was trained with.
        integers: the int8 flatbuffer where it is not what the converter makes by itself, see `recipes.export.repair`.
        float_layers: that stayed in float32 there.
    """

    folder: Path
    stem: str
    resize: str
    versions: Mapping[str, str]
    integers: bytes | None = None
    float_layers: tuple[str, ...] = ()

    @property
    @abstractmethod
    def name(self) -> str:
        """Of the model."""

    @cached_property
    @abstractmethod
    def model(self) -> "keras.Model":
        """As it was trained: from images (B, H, W, C) to scores (B, classes)."""

    @cached_property
    @abstractmethod
    def data(self) -> Data:
        """Its images: ranges of integers come from `train`, an export is verified on `test`."""

    @cached_property
    @abstractmethod
    def class_names(self) -> tuple[str, ...]:
        """In the order of the scores."""

    @cached_property
    @abstractmethod
    def digest(self) -> str:
        """sha256 of what the model was trained with (its recipe) and of its weights."""

    @property
    def answers(self) -> Mapping[str, Any]:
        """What files say of their scores, if it is known: the `temperature` that is in the model, and the `threshold`
        from which on a prediction is sure."""
        return {}

    @abstractmethod
    def check_keeps(self) -> None:
        """Raises a `RequestError` where `keep` could not write."""

    @abstractmethod
    def keep(self, results: Mapping[str, Mapping[str, Any]]) -> None:
        """Keeps what exports came to, by kind."""

    def check_model(self) -> None:
        """Loads the model and the names of its scores.

        Raises:
            RequestError: they cannot be read, or do not go from images to scores with a name for each.
        """
        classes = int(self.model.output_shape[-1])
        if len(self.class_names) != classes:
            raise RequestError(f"{self.name} gives {classes} scores; there are {len(self.class_names)} labels.")

    def usual_file(self, kind: str, ending: str) -> Path:
        """Where a kind of export goes if nothing else is asked for."""
        return self.folder / f"{self.stem}-{kind}{ending}"

    @cached_property
    def float32_model(self) -> "keras.Model":
        """The model, computing in float32."""
        from recipes.export.conversion import in_float32

        return in_float32(self.model)

    @cached_property
    def any_size_model(self) -> "keras.Model":
        """The model in float32 with height and width left open; raises a `RequestError` if its head has one size."""
        from recipes.export.conversion import of_any_size

        return of_any_size(self.float32_model)

    @cached_property
    def expected(self) -> np.ndarray:
        """The model's scores (N, classes) float32 of the test images."""
        batches = self.data.test.batches(at_once(copies_in(self.model)))
        return np.asarray(self.model.predict(batches, verbose=0), np.float32)

    def with_test_images(self, images: np.ndarray) -> "ExportSource":
        """The same model with other test images uint8 (N, H, W, C), whose labels nobody asks for."""
        other = copy(self)
        labels = np.resize(self.data.test.labels, (len(images), *self.data.test.labels.shape[1:]))
        other.__dict__["data"] = replace(self.data, test=Split(images, labels))
        return other

    def with_integers(self, content: bytes, float_layers: tuple[str, ...]) -> "ExportSource":
        """The same source with an int8 flatbuffer that is there by now."""
        other = copy(self)
        other.integers, other.float_layers = content, float_layers
        return other

    @property
    def task(self) -> str:
        """What the labels are, see `recipes.data.Data`."""
        return self.data.task

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(H, W, C) of its images."""
        height, width, channels = self.data.test.images.shape[1:]
        return int(height), int(width), int(channels)


class RunSource(ExportSource):
    """The model of a run; what exports come to is kept in the run's `export.json`."""

    def __init__(self, run: Run, images: str | None = None) -> None:
        """
        Args:
            run: the run.
            images: where its images are now, if they were moved.
        """
        recipe = run.recipe
        self.run = run
        self.images = images
        self.folder = run.path
        self.stem = recipe.model.name
        self.resize = recipe.data.resize
        self.versions = recipe.versions

    @property
    def name(self) -> str:
        return self.stem

    @cached_property
    def model(self) -> "keras.Model":
        return image_model(self.run.load_model())

    @cached_property
    def data(self) -> Data:
        source = self.run.recipe.data.source
        try:
            return self.run.load_data(self.images)
        except RequestError as error:
            if self.images is None and str(error) == f"{source} does not exist.":
                raise RequestError(f"{error} Give --data with where the images of {self.run.path} are now.") from error
            raise

    @cached_property
    def class_names(self) -> tuple[str, ...]:
        return self.run.class_names

    @cached_property
    def digest(self) -> str:
        return _digest(self.model, (self.run.path / "recipe.toml").read_bytes())

    @property
    def answers(self) -> Mapping[str, Any]:
        kept = {key: value for key, value in self.run.calibration.items() if key == "temperature"}
        threshold = self.run.calibration.get("threshold")
        return kept | ({"threshold": threshold["value"]} if threshold else {})

    def check_keeps(self) -> None:
        check_writable(self.run.path / "export.json", self.run.path)

    def keep(self, results: Mapping[str, Mapping[str, Any]]) -> None:
        """A row a kind, each from its last export."""
        self.run.write_exports(results)


class FileSource(ExportSource):
    """The model of a `.keras` file, with images named beside it.

    Args:
        file: the model.
        images: where its images come from, see `recipes.data.load`.
    """

    def __init__(self, file: Path, images: str) -> None:
        self.file = file
        self.images = images
        self.folder = file.parent
        self.stem = file.stem
        self.resize = "fill"
        self.versions = {}

    @property
    def name(self) -> str:
        return str(self.model.name)

    @cached_property
    def _in_file(self) -> "keras.Model":
        return image_model(load_keras_file(self.file))

    @cached_property
    def model(self) -> "keras.Model":
        """That of the file; with a softmax or a sigmoid behind it if its scores on the test images are no shares."""
        from recipes.export.scores import with_shares

        scores = self._in_file.predict(self.data.test.batches(at_once(copies_in(self._in_file))), verbose=0)
        return with_shares(self._in_file, np.asarray(scores), self.data.task, len(self.class_names))

    @cached_property
    def data(self) -> Data:
        shape = tuple(self._in_file.input_shape[1:])
        if None in shape:
            raise RequestError(f"{self.file} takes images of any size: export a run of it, which knows the size.")
        return load(self.images, image_shape=shape, quiet=True)

    @cached_property
    def class_names(self) -> tuple[str, ...]:
        return self.data.class_names

    @cached_property
    def digest(self) -> str:
        return _digest(self.model, b"")

    def check_keeps(self) -> None:
        pass

    def keep(self, results: Mapping[str, Mapping[str, Any]]) -> None:
        """A `.keras` file has no place for it."""


def open_export_source(source: str | Path | Run, data: str | None = None) -> ExportSource:
    """A run or a `.keras` file as what is exported; neither model nor images are loaded yet.

    Args:
        source: a run, its folder, or a `.keras` file.
        data: for a `.keras` file where the images come from, see `recipes.data.load`; for a run where its own are now,
            if they were moved.

    Raises:
        RequestError: there is no such run or file, or `data` is missing.
    """
    if not isinstance(source, Run):
        refuse_hdf5(Path(source))
    if not isinstance(source, Run) and Path(source).suffix == ".tflite":
        raise RequestError(f"{source} is an exported file; allowed: the run or the .keras file that it was made from.")
    if isinstance(source, Run) or Path(source).suffix != ".keras":
        return RunSource(Run.open(source), data)
    file = check_file(source)
    if data is None:
        raise RequestError(f"{file} does not say which images to verify the export with: give --data.")
    return FileSource(file, data)


def _digest(model: "keras.Model", recipe: bytes) -> str:
    digest = sha256(recipe)
    for weight in model.weights:
        digest.update(f"{weight.path} {weight.shape} {weight.dtype}".encode())
        digest.update(np.ascontiguousarray(weight.numpy()).tobytes())
    return digest.hexdigest()
