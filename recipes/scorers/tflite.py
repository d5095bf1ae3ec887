"""A `.tflite` file, in LiteRT."""

from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

import recipes.tflite.file
from recipes.data.decoded import Images
from recipes.scorers.scorer import Scorer, symmetry_told, task_told, temperature_told, threshold_told


class TFLiteScorer(Scorer):
    """A `.tflite` file, verified whole; labels, the resize rule and normalisation are read from it.

    Args:
        path: the file.
        isolated: runs it in a child process with limits, see `recipes.tflite.isolated`; else in this one, for a file
            that was just written here.
    """

    def __init__(self, path: Path, *, isolated: bool = True) -> None:
        self.path = path
        self.file = file = recipes.tflite.file.TFLiteFile(path, isolated=isolated)
        self.runtime = "LiteRT in a process of its own" if isolated else "LiteRT"
        self.image_shape = file.input_shape
        self.resize = file.facts.get("resize", "fill")
        self.class_names = file.labels
        self.task = task_told(file.facts)
        self.score_step = file.score_step
        if not file.facts and not file.says_normalization:
            self.remarks = ("it does not say how pixels are scaled: it is given 0-255",)

    def scores(self, images: Images) -> np.ndarray:
        return self.file.predict(images)

    @property
    def model_name(self) -> str:
        return str(self.file.facts.get("model", self.path.stem))

    @property
    def temperature(self) -> float | None:
        return temperature_told(self.file.facts)

    @property
    def threshold(self) -> float | None:
        return threshold_told(self.file.facts)

    @cached_property
    def symmetry(self) -> tuple[str, float]:
        return symmetry_told(self.file.facts, whole=self.score_step > 0)

    @property
    def facts(self) -> Mapping[str, Any]:
        return {"macs": self.file.settled.macs, "bytes": self.path.stat().st_size}
