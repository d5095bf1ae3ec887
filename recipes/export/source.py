"""What is exported: a trained model, from a run or from a `.keras` file, with images to prove the export on."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from pathlib import Path

import keras
import numpy as np

from recipes.data import Data, load
from recipes.data.dataset import EVALUATION_BATCH
from recipes.export.conversion import in_float32
from recipes.run.folder import Run
from recipes.run.keras_file import load_keras_file
from zoo.errors import RequestError


@dataclass(frozen=True)
class Subject:
    """A model and its images.

    Attributes:
        name: of the model.
        model: as it was trained.
        data: its images; ranges of integers come from `train`, proof from `test`.
        class_names: in the order of the scores.
        resize: what was done to images of another size.
        digest: sha256 of what the model was trained with (its recipe) and of its weights.
        versions: of the libraries that it was trained with.
    """

    name: str
    model: keras.Model
    data: Data
    class_names: tuple[str, ...]
    resize: str
    digest: str
    versions: Mapping[str, str]

    @cached_property
    def network(self) -> keras.Model:
        """The model, computing in float32."""
        return in_float32(self.model)

    @cached_property
    def expected(self) -> np.ndarray:
        """The model's scores (N, classes) of the test images."""
        return np.asarray(self.model.predict(self.data.test.batches(EVALUATION_BATCH), verbose=0), np.float32)

    @property
    def task(self) -> str:
        """What the labels are, see `recipes.data.dataset.Data.task`."""
        return self.data.task

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(H, W, C) of its images."""
        return tuple(int(n) for n in self.data.test.images.shape[1:])


def is_keras_file(source: str | Path | Run) -> bool:
    return not isinstance(source, Run) and Path(source).suffix == ".keras"


def open_subject(source: str | Path | Run, data: str | None = None) -> Subject:
    """Loads a model and its images.

    Args:
        source: a run, its folder, or a `.keras` file.
        data: for a `.keras` file: where the images come from, see `recipes.data.load`.

    Raises:
        RequestError: a source that cannot be read, or does not go from images to scores with a name for each.
    """
    subject = _of_file(Path(source), data) if is_keras_file(source) else _of_run(source, data)
    classes = int(subject.model.output_shape[-1])
    if len(subject.class_names) != classes:
        raise RequestError(f"{subject.name} gives {classes} scores; there are {len(subject.class_names)} labels.")
    return subject


def _of_run(source: str | Path | Run, data: str | None) -> Subject:
    run = Run.open(source)
    if data is not None:
        raise RequestError("--data is for a .keras file; a run knows its own images.")
    model, recipe = _image_model(run.load_model()), run.recipe
    digest = _digest(model, (run.path / "recipe.toml").read_bytes())
    images, resize = run.load_data(), recipe.data.resize
    return Subject(recipe.model.name, model, images, run.class_names, resize, digest, recipe.versions)


def _of_file(file: Path, data: str | None) -> Subject:
    model = _image_model(load_keras_file(file))
    if data is None:
        raise RequestError(f"{file} does not say which images to prove the export with: give --data.")
    shape = tuple(model.input_shape[1:])
    if None in shape:
        raise RequestError(f"{file} takes images of any size: export a run of it, which knows the size.")
    images = load(data, image_shape=shape, quiet=True)
    return Subject(model.name, model, images, images.class_names, "fill", _digest(model, b""), {})


def _image_model(model: keras.Model) -> keras.Model:
    inputs, outputs = model.inputs or [], model.outputs or []
    if len(inputs) != 1 or len(outputs) != 1 or len(inputs[0].shape) != 4 or len(outputs[0].shape) != 2:
        given, made = ", ".join(str(x.shape) for x in inputs), ", ".join(str(x.shape) for x in outputs)
        raise RequestError(f"{model.name} goes from {given} to {made}; allowed: one image (B, H, W, C) to scores.")
    return model


def _digest(model: keras.Model, recipe: bytes) -> str:
    digest = sha256(recipe)
    for weight in model.weights:
        digest.update(f"{weight.path} {weight.shape} {weight.dtype}".encode())
        digest.update(np.ascontiguousarray(weight.numpy()).tobytes())
    return digest.hexdigest()
