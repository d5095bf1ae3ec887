"""A `.tflite` file as it is used: opened, run and read without TensorFlow."""

import json
import re
import zipfile
from collections.abc import Mapping, Sequence
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np

from recipes.support.quiet import native_output_hidden
from recipes.tflite import metadata
from recipes.tflite.graph import Graph, Tensor, read_graph
from zoo.errors import RequestError

LABELS, FACTS = "labels.txt", "convzoo.json"
MAX_ARENA = 2**32  # bytes for an image's way through the graph; a file that asks for more is nonsense, or means harm
# How what is attached begins: whole, or cut off before its first name.
_ATTACHED = re.compile(rb"PK\x03\x04(.{26}" + re.escape(LABELS.encode()) + rb"|.{0,40}\Z)", re.DOTALL)


class TFLiteFile:
    """An image classifier in a file, ready to run.

    Attributes:
        input_shape: (H, W, C) of one image.
        graph: tensors and operations.
        metadata: TFLite's metadata as a tree, empty if the file has none.
        labels: class names, empty if the file carries none.
        facts: what export wrote about the file: `resize`, `model`, and so on; empty if it is not ours.

    Raises:
        RequestError: the file is missing, empty, truncated, not TFLite, or not from one image to scores.
    """

    def __init__(self, path: str | Path, *, threads: int = 1, keep_all: bool = False) -> None:
        """
        Args:
            path: the file.
            threads: of the interpreter.
            keep_all: keeps every tensor between the operations to look at it, which is slow.
        """
        self.path = Path(path)
        content = read_content(self.path)
        try:
            self.graph: Graph = read_graph(content)
            self.metadata = metadata.find(content)
        except Exception as error:  # the parser meets nonsense offsets in many ways
            raise self._damaged() from error
        self.labels, self.facts = self._read_attached(content)
        self._check_graph()
        try:
            with native_output_hidden():
                self._interpreter = _interpreter(content, threads, keep_all)
                self._input = dict(self._interpreter.get_input_details()[0])
                self.input_shape = self._settle_shape()
                self._interpreter.allocate_tensors()
                self._output = dict(self._interpreter.get_output_details()[0])
        except RequestError:
            raise
        except Exception as error:  # whatever is left to be nonsense
            raise self._damaged() from error

    @property
    def operators(self) -> dict[str, int]:
        """How often each kind of operation occurs."""
        return self.graph.counts

    @property
    def input_dtype(self) -> str:
        return np.dtype(self._input["dtype"]).name

    @cached_property
    def _normalization(self) -> tuple[np.ndarray, np.ndarray]:
        mean, std = metadata.normalization(self.metadata)
        return np.asarray(mean, np.float32), np.asarray(std, np.float32)

    def predict(self, images: np.ndarray) -> np.ndarray:
        """Scores float32 (N, classes) of images uint8 (N, H, W, C), one at a time as an app would."""
        with native_output_hidden():
            return np.stack([self._predict_one(image) for image in images])

    def resize(self, height: int, width: int) -> None:
        """Sets the image's size, of a file that takes any.

        Raises:
            RequestError: this file does not.
        """
        try:
            with native_output_hidden():
                self._interpreter.resize_tensor_input(
                    self._input["index"], (1, height, width, self._input["shape"][3]), strict=True
                )
                self._interpreter.allocate_tensors()
        except Exception as error:
            raise RequestError(f"{self.path} does not take images of {height}x{width}.") from error

    def set_input(self, image: np.ndarray) -> None:
        """Puts an image uint8 (H, W, C) where `invoke` takes it from."""
        self._interpreter.set_tensor(self._input["index"], self._as_input(image[None]))

    def invoke(self) -> None:
        """One run of the graph, nothing else: what is timed."""
        self._interpreter.invoke()

    def tensor(self, index: int) -> np.ndarray:
        """The real values of a tensor after `invoke`; of inner ones only with `keep_all`."""
        tensor = self.graph.tensors[index]
        values: np.ndarray = self._interpreter.get_tensor(index)
        if not tensor.scales:
            return values
        return _dequantised(values, tensor.scales[0], tensor.zero_points[0])

    def _predict_one(self, image: np.ndarray) -> np.ndarray:
        self.set_input(image)
        self.invoke()
        return _real(self._interpreter.get_tensor(self._output["index"])[0], self._output)

    def _as_input(self, images: np.ndarray) -> np.ndarray:
        if self._input["dtype"] == np.uint8:
            return images  # in TFLite uint8 means the pixels as they are, whatever their scale
        mean, std = self._normalization
        values = (images.astype(np.float32) - mean) / std
        return values if self._input["dtype"] == np.float32 else _quantised(values, self._input)

    def _read_attached(self, content: bytes) -> tuple[tuple[str, ...], dict[str, Any]]:
        """Labels and facts; none where nothing is attached."""
        try:
            texts, end = metadata.attached_files(content, self.path)
        except zipfile.BadZipFile:
            if _ATTACHED.search(content):
                raise RequestError(f"{self.path} is truncated: what is attached to it is cut off.") from None
            return (), {}
        facts = self._parse_facts(texts.get(FACTS, "{}"))
        if "sha256" in facts and facts["sha256"] != sha256(content[:end]).hexdigest():
            raise RequestError(f"{self.path} is damaged: its content does not match its own digest.")
        labels = texts.get(metadata.label_file(self.metadata) or LABELS, "")
        return tuple(labels.splitlines()), facts

    def _parse_facts(self, text: str) -> dict[str, Any]:
        try:
            facts = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise self._damaged() from error
        if not isinstance(facts, dict):
            raise self._damaged()
        return facts

    def _check_graph(self) -> None:
        """Raises a `RequestError` for what is not an image classifier of builtin operations."""
        if foreign := self.graph.custom:
            raise RequestError(
                f"{self.path} needs operations that TFLite does not have built in: {', '.join(foreign)}."
            )
        image = self._only(self.graph.inputs, "inputs").signature
        scores = self._only(self.graph.outputs, "outputs").signature
        if len(image) != 4 or image[0] not in (1, -1) or image[3] < 1:
            raise RequestError(f"{self.path} takes {list(image)}; allowed: one image (1, H, W, C).")
        if len(scores) != 2:
            raise RequestError(f"{self.path} gives {list(scores)}; allowed: scores (1, classes).")
        if self.graph.arena > MAX_ARENA:
            raise RequestError(f"{self.path} asks for {self.graph.arena:,} bytes of memory; allowed: {MAX_ARENA:,}.")
        if self.labels and scores[1] != -1 and len(self.labels) != scores[1]:
            raise RequestError(f"{self.path} has {len(self.labels)} labels for {scores[1]} scores.")

    def _only(self, indices: Sequence[int], what: str) -> Tensor:
        if len(indices) != 1:
            raise RequestError(f"{self.path} has {len(indices)} {what}; allowed: a model from one image to scores.")
        return self.graph.tensors[indices[0]]

    def _settle_shape(self) -> tuple[int, int, int]:
        """(H, W, C) of the input; of a file that takes any size the one that it knows, set before anything is run."""
        shape = self.graph.tensors[self.graph.inputs[0]].signature
        _, height, width, channels = shape
        if -1 not in (height, width):
            return height, width, channels
        height, width, channels = self.facts.get("image_shape", (224, 224, channels))
        self._interpreter.resize_tensor_input(self._input["index"], (1, height, width, channels))
        return height, width, channels

    def _damaged(self) -> RequestError:
        return RequestError(f"{self.path} is truncated or damaged.")


def read_content(path: Path) -> bytes:
    """The bytes of a TFLite file.

    Raises:
        RequestError: it is missing, empty, or not TFLite.
    """
    if not path.is_file():
        raise RequestError(f"{path} {'is a folder' if path.is_dir() else 'does not exist'}.")
    content = path.read_bytes()
    if content[4:8] != b"TFL3":
        raise RequestError(f"{path} {'is not a TFLite file' if content else 'is empty'}.")
    return content


def attach(content: bytes, labels: Sequence[str], facts: Mapping[str, Any]) -> bytes:
    """The file with labels, facts and its digest behind it; `content` may have metadata inside it by then."""
    facts = {**facts, "sha256": sha256(content).hexdigest()}
    return metadata.append_files(
        content, {LABELS: "\n".join(labels) + "\n", FACTS: json.dumps(facts, separators=(",", ":"), ensure_ascii=False)}
    )


def _interpreter(content: bytes, threads: int, keep_all: bool) -> Any:
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    if not keep_all:
        return Interpreter(model_content=content, num_threads=threads)
    return Interpreter(
        model_content=content,
        experimental_preserve_all_tensors=True,
        # The default delegate swallows whole stretches of the graph, and shows nothing of what is between.
        experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
    )


def _quantised(values: np.ndarray, tensor: Mapping[str, Any]) -> np.ndarray:
    scale, zero_point = tensor["quantization"]
    limits = np.iinfo(tensor["dtype"])
    levels: np.ndarray = (values / (scale or 1) + zero_point).round().clip(limits.min, limits.max)
    return levels.astype(tensor["dtype"])


def _real(values: np.ndarray, tensor: Mapping[str, Any]) -> np.ndarray:
    if tensor["dtype"] == np.float32:
        return values
    scale, zero_point = tensor["quantization"]
    return _dequantised(values, scale, zero_point)


def _dequantised(values: np.ndarray, scale: float, zero_point: int) -> np.ndarray:
    real: np.ndarray = (values.astype(np.float32) - zero_point) * scale
    return real
