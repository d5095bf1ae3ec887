"""An `.onnx` file, in ONNX Runtime."""

import json
import reprlib
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from recipes.data.decoded import Images
from recipes.data.decoding import RESIZE_RULES
from recipes.data.names import check_count, from_lines
from recipes.scorers.scorer import Scorer, symmetry_told, task_told, temperature_told, threshold_told
from recipes.support.extras import require
from recipes.tflite.child import OnnxRuntime, channels_first
from recipes.tflite.file import FACTS, LABELS, MAX_SIDE, MESSAGE
from recipes.tflite.isolated import Isolated
from zoo.errors import RequestError, first_line
from zoo.files import check_file

USUAL_SIDE = 224  # of a file that takes any size and does not say which it knows
_MACS_PER_BYTE = 50  # by which time is allowed; a file does not tell in advance
_ELSEWHERE = b"\x0a\x08location\x12"  # the key of a tensor that lies in another file, as it is written
_DTYPES = ("float32", "float16", "float64", "uint8")


class OnnxScorer(Scorer):
    """An `.onnx` file from one image to scores; what export wrote about it is read from its metadata.

    Images are (1, H, W, C) or (1, C, H, W), pixels 0-255.

    Args:
        path: the file.
        isolated: as of `TFLiteScorer`.

    Raises:
        RequestError: it is missing, is refused by ONNX Runtime, is not from one image to scores, or takes weights from
            other files; or ONNX Runtime is not installed.
    """

    def __init__(self, path: Path, *, isolated: bool = True) -> None:
        content = check_file(path).read_bytes()
        require(f"{path}: a file for ONNX Runtime", "onnx", "onnxruntime")
        if not content:
            raise RequestError(f"{path} is empty.")
        if _ELSEWHERE in content:
            raise RequestError(f"{path} takes weights from other files; allowed: a file that has them inside.")
        self.path = path
        self.runtime = "ONNX Runtime in a process of its own" if isolated else "ONNX Runtime"
        self._session: _Session = (
            Isolated(path, content, _MACS_PER_BYTE * len(content), runtime="ONNX Runtime")
            if isolated
            else _Here(path, content)
        )
        told = self._session.facts()
        shape = self._input_shape(told)
        self._read_attached(told["metadata"])
        self.image_shape = self._settled_shape(shape)
        if not self._facts:
            self.remarks = ("it does not say how pixels are scaled: it is given 0-255",)

    def scores(self, images: Images) -> np.ndarray:
        together = max(1, MESSAGE // images[0].size)
        parts = [self._session.run(images[row : row + together], "float32") for row in range(0, len(images), together)]
        scores = np.concatenate(parts)
        if self.class_names:
            check_count(self.class_names, scores.shape[1], self.path)
        return scores

    @property
    def model_name(self) -> str:
        return str(self._facts.get("model", self.path.stem))

    @property
    def temperature(self) -> float | None:
        return temperature_told(self._facts)

    @property
    def threshold(self) -> float | None:
        return threshold_told(self._facts)

    @cached_property
    def symmetry(self) -> tuple[str, float]:
        return symmetry_told(self._facts, whole=False)

    @property
    def facts(self) -> Mapping[str, Any]:
        return {"bytes": self.path.stat().st_size}

    def _input_shape(self, told: Mapping[str, Any]) -> list[Any]:
        """(H, W, C) of the input, None where it is open; `RequestError` unless it goes from one image to scores."""
        for end, what in (("inputs", "images"), ("outputs", "scores")):
            if len(told[end]) != 1:
                raise RequestError(
                    f"{self.path} has {len(told[end])} {end}; allowed: a model from one image to scores."
                )
            _, shape, dtype = told[end][0]
            if dtype not in _DTYPES:
                raise RequestError(f"{self.path} has {what} of {dtype}; allowed: {', '.join(_DTYPES)}.")
        (_, image, _), (_, scores, _) = told["inputs"][0], told["outputs"][0]
        sizes = [size if isinstance(size, int) and size > 0 else None for size in image]
        if len(sizes) != 4 or sizes[0] not in (1, None):
            raise RequestError(f"{self.path} takes {image}; allowed: one image, (1, H, W, C) or (1, C, H, W).")
        if scores and len(scores) != 2:
            raise RequestError(f"{self.path} gives {scores}; allowed: scores (1, classes).")
        shape = [sizes[2], sizes[3], sizes[1]] if channels_first(image) else sizes[1:]
        if shape[2] not in (1, 3):
            raise RequestError(f"{self.path} takes {image}; allowed: images of 1 channel (grey) or 3 (RGB).")
        return shape

    def _read_attached(self, metadata: Mapping[str, str]) -> None:
        try:
            facts = json.loads(metadata.get(FACTS, "{}"))
        except (ValueError, RecursionError):
            facts = None
        if not isinstance(facts, dict):
            raise RequestError(f"{self.path} is damaged: {FACTS} in it is not an object of JSON.")
        self._facts: dict[str, Any] = facts
        self.class_names = from_lines(metadata.get(LABELS, ""))
        self.task = task_told(facts)
        if (resize := facts.get("resize", "fill")) not in RESIZE_RULES:
            allowed = ", ".join(RESIZE_RULES)
            raise RequestError(f"{self.path} wants images resized by {reprlib.repr(resize)}; allowed: {allowed}.")
        self.resize = resize

    def _settled_shape(self, shape: list[Any]) -> tuple[int, int, int]:
        height, width, channels = (size or USUAL_SIDE for size in shape)
        if max(height, width) > MAX_SIDE:
            raise RequestError(f"{self.path} takes images of {shape}; allowed: sides from 1 to {MAX_SIDE:,}.")
        return height, width, channels


class _Session(Protocol):
    """What runs a file: a child process, or this one."""

    def run(self, values: np.ndarray, dtype: str) -> np.ndarray: ...

    def facts(self) -> dict[str, Any]: ...


class _Here:
    """ONNX Runtime in this process."""

    def __init__(self, path: Path, content: bytes) -> None:
        self._path = path
        try:
            self._opened = OnnxRuntime(content)
        except Exception as error:  # as ONNX Runtime finds it
            raise RequestError(f"{path} cannot be run: ONNX Runtime refuses it: {first_line(error)}") from error

    def run(self, values: np.ndarray, dtype: str) -> np.ndarray:
        shape = [1, *values.shape[1:]]
        return np.stack([np.frombuffer(self._opened.run(one.tobytes(), shape), dtype) for one in values])

    def facts(self) -> dict[str, Any]:
        return self._opened.facts()
