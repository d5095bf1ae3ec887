"""Models that Keras runs: that of a run, and that of a `.keras` file."""

from collections.abc import Callable, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from recipes.data.dataset import Split, at_once
from recipes.data.decoded import Images
from recipes.run.folder import Run
from recipes.run.keras_file import image_model, load_keras_file
from recipes.scorers.scorer import Scorer
from recipes.tasks import task_of
from zoo.anatomy import dissect
from zoo.backend import keras, tf
from zoo.errors import RequestError
from zoo.groups import copies_in, symmetry_of
from zoo.keras_internals import as_constants


class _Model(Scorer):
    """A model in this process."""

    runtime = "Keras"

    @cached_property
    def keras_model(self) -> "keras.Model":
        raise NotImplementedError

    def scores(self, images: Images) -> np.ndarray:
        labels = np.zeros(len(images), np.int64)  # which Keras does not ask for
        given = Split(images, labels).batches(at_once(copies_in(self.keras_model)))
        return np.asarray(self.keras_model.predict(given, verbose=0))

    @cached_property
    def on_any_device(self) -> Callable[[Images], np.ndarray]:
        model, most = self.keras_model, at_once(copies_in(self.keras_model))
        given = tf.TensorSpec((None, *self.image_shape), tf.uint8)
        run = as_constants(lambda images: model(images, training=False), given)

        def scores(images: Images) -> np.ndarray:
            starts = range(0, len(images), most)
            return np.concatenate([run(tf.constant(images[start : start + most])).numpy() for start in starts])

        return scores

    @property
    def symmetry(self) -> tuple[str, float]:
        return symmetry_of(self.keras_model), 1e-4

    @property
    def model_name(self) -> str:
        return str(self.keras_model.name)

    @property
    def facts(self) -> Mapping[str, Any]:
        return {"parameters": self.keras_model.count_params(), "macs": dissect(self.keras_model).macs}


class RunScorer(_Model):
    """The model of a run.

    Args:
        run: which has everything that must be known.
    """

    def __init__(self, run: Run) -> None:
        self.path = run.path
        self.opened = run
        self.image_shape = run.recipe.data.image_shape
        self.resize = run.recipe.data.resize
        self.class_names = run.class_names
        self.task = task_of(run.metrics)

    @property
    def model_name(self) -> str:
        return self.opened.recipe.model.name

    @property
    def temperature(self) -> float | None:
        return self.opened.calibration.get("temperature")

    @property
    def threshold(self) -> float | None:
        kept = self.opened.calibration.get("threshold")
        return kept["value"] if kept else None

    @cached_property
    def keras_model(self) -> "keras.Model":
        return self.opened.load_model()

    @cached_property
    def run(self) -> Run:
        return self.opened


class KerasFileScorer(_Model):
    """The model of a `.keras` file: looked through, and loaded without running code that it may bring.

    A file says nothing of its labels. One that is a run's own is told of by the run.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.keras_model = image_model(load_keras_file(path))
        sizes = tuple(self.keras_model.input_shape[1:])
        if self.run is not None:
            mine = RunScorer(self.run)
            self.image_shape, self.resize = mine.image_shape, mine.resize
            self.class_names, self.task = mine.class_names, mine.task
        elif None in sizes:
            raise RequestError(
                f"{path} takes images of any size; allowed: a file of one size, or the run that it is of."
            )
        else:
            self.image_shape = sizes
        if self.image_shape[2] not in (1, 3):
            raise RequestError(f"{path} takes images of {self.image_shape[2]} channels; allowed: 1 (grey) or 3 (RGB).")

    @cached_property
    def run(self) -> Run | None:
        folder = Run(self.path.absolute().parent)
        return folder if folder.is_run and self.path.name == "model.keras" else None

    @property
    def temperature(self) -> float | None:
        return None if self.run is None else RunScorer(self.run).temperature

    @property
    def threshold(self) -> float | None:
        return None if self.run is None else RunScorer(self.run).threshold

    @property
    def facts(self) -> Mapping[str, Any]:
        return {**super().facts, "bytes": self.path.stat().st_size}
