"""A `.tflite` file as it is used: opened, run and read without TensorFlow."""

import json
import re
import reprlib
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np

from recipes.data.decoded import Images
from recipes.data.decoding import RESIZE_RULES
from recipes.data.names import check_count, from_lines, to_lines
from recipes.support.internals import delegated_operations
from recipes.support.quiet import native_output_hidden
from recipes.tflite import metadata
from recipes.tflite.flatbuffer import DamageError
from recipes.tflite.graph import Graph, Tensor, graph_of, read_model
from recipes.tflite.isolated import Isolated
from recipes.tflite.micro import MicroFile
from recipes.tflite.verify import verify
from zoo.errors import RequestError, first_line
from zoo.files import check_file

LABELS, FACTS = "labels.txt", "convzoo.json"
MAX_ARENA = 10**9  # bytes for an image's way through the graph; a file that asks for more is nonsense, or means harm
MAX_SIDE = 2**14  # pixels
MESSAGE = 2**20  # values that are brought to a child, or made floats, at a time
_DTYPES = ("float32", "uint8", "int8", "int16")  # of images and scores
# How what is attached begins: whole, or cut off before its first name.
_ATTACHED = re.compile(rb"PK\x03\x04(.{26}" + re.escape(LABELS.encode()) + rb"|.{0,40}\Z)", re.DOTALL)


class TFLiteFile:
    """An image classifier in a file, verified when it is opened; an interpreter is made when it is first run.

    Attributes:
        input_shape: (H, W, C) of one image; of a file that takes any size the one that it knows.
        graph: tensors and operations.
        metadata: TFLite's metadata as a tree, empty if the file has none.
        labels: class names, empty if the file carries none.
        facts: what export wrote about the file: `resize`, `model`, and so on; empty if it is not ours.

    Raises:
        RequestError: the file is missing, empty, truncated, not TFLite, not from one image to scores, or has a graph
            that no converter writes.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        threads: int = 1,
        xnnpack: bool = True,
        keep_all: bool = False,
        isolated: bool = False,
        reference: bool = False,
    ) -> None:
        """
        Args:
            path: the file.
            threads: of the interpreter.
            xnnpack: whether operations that XNNPACK can run are handed to it, as LiteRT does by itself.
            keep_all: keeps every tensor between the operations to look at it, which is slow.
            isolated: `predict` runs it in a child process with limits, which a file of unknown origin cannot leave.
            reference: by LiteRT's reference kernels, which are written to be read, and slow.
        """
        self.path = Path(path)
        self._content = read_content(self.path)
        self._threads, self._xnnpack, self._keep_all, self._isolated = threads, xnnpack, keep_all, isolated
        self._reference = reference
        try:
            model = read_model(self._content)
            self.graph: Graph = graph_of(model)
            self.metadata = metadata.of_model(model)
            self.labels, self.facts = self._read_attached(self._content)
            self._check_graph()
            verify(self.graph)
        except DamageError as error:
            raise RequestError(f"{self.path} is truncated or damaged: {error}.") from error
        if (resize := self.facts.get("resize", "fill")) not in RESIZE_RULES:
            allowed = ", ".join(RESIZE_RULES)
            raise RequestError(f"{self.path} wants images resized by {reprlib.repr(resize)}; allowed: {allowed}.")
        self._given, self._made = (self.graph.tensors[i] for i in (*self.graph.inputs, *self.graph.outputs))
        self._normalization = self._read_normalization()
        self.input_shape = self._settled_shape()
        self.settled = self.graph.at_size(*self.input_shape[:2])
        if self.settled.arena > MAX_ARENA:
            raise RequestError(f"{self.path} asks for {self.settled.arena:,} bytes of memory; allowed: {MAX_ARENA:,}.")
        if isolated:
            self._child = Isolated(self.path, self._content, self.settled.macs, threads=threads, xnnpack=xnnpack)

    @property
    def operators(self) -> dict[str, int]:
        """How often each kind of operation occurs."""
        return self.graph.counts

    @property
    def input_dtype(self) -> str:
        return self._given.dtype

    @property
    def score_step(self) -> float:
        """The least difference of two scores; 0 where they are floats."""
        return 0.0 if self._made.dtype == "float32" else _quantisation(self._made)[0]

    @property
    def score_quantisation(self) -> tuple[float, int]:
        """(scale, zero point) of scores that are integers: (value - zero point) * scale."""
        return _quantisation(self._made)

    @property
    def score_dtype(self) -> str:
        return self._made.dtype

    @property
    def content(self) -> bytes:
        """The file's bytes."""
        return self._content

    @property
    def normalization(self) -> tuple[np.ndarray, np.ndarray]:
        """(mean, std) float32, one number or one a channel, of float inputs: (pixel - mean) / std."""
        return self._normalization

    @property
    def says_normalization(self) -> bool:
        """Whether it tells what it is given for pixels 0-255."""
        return self.input_dtype == "uint8" or bool(self.metadata)

    @cached_property
    def _interpreter(self) -> Any:
        """In this process, ready to run."""
        with self._refused_in_one_line("cannot be run"):
            plain = self._keep_all or not self._xnnpack
            made = _interpreter(self._content, self._threads, self._keep_all, plain, self._reference)
            if -1 in self._given.signature:
                made.resize_tensor_input(self.graph.inputs[0], (1, *self.input_shape))
            made.allocate_tensors()
            return made

    def predict(self, images: Images) -> np.ndarray:
        """Scores float32 (N, classes) of images uint8 (N, H, W, C), one at a time as an app would.

        Raises:
            RequestError: it cannot be run, or gives another number of scores than it has labels.
        """
        run = self._run_isolated if self._isolated else self._run_here
        together = max(1, MESSAGE // images[0].size)
        parts = [run(self._as_input(images[row : row + together])) for row in range(0, len(images), together)]
        scores = _real(np.concatenate(parts), self._made)
        if scores.ndim != 2:
            raise RequestError(f"{self.path} gives scores of the shape {scores[0].shape}; allowed: (classes,).")
        if self.labels:  # a graph that leaves the number of its scores open is not known before
            check_count(self.labels, scores.shape[1], self.path)
        return scores

    def in_micro(self, name: str = "") -> MicroFile:
        """The same graph in TensorFlow Lite Micro.

        Args:
            name: of the file in messages, in place of its path.
        """
        return MicroFile(Path(name or self.path), self._content, self.graph)

    def as_input(self, images: np.ndarray) -> np.ndarray:
        """Images uint8 (N, H, W, C) as the graph takes them."""
        return self._as_input(images)

    def as_scores(self, values: np.ndarray) -> np.ndarray:
        """What the graph gives, integers or not, as scores float32."""
        return _real(values, self._made)

    def resize(self, height: int, width: int) -> None:
        """Sets the image's size, of a file that takes any.

        Raises:
            RequestError: this file does not.
        """
        with self._refused_in_one_line(f"does not take images of {height}x{width}"):
            size = (1, height, width, self.input_shape[2])
            self._interpreter.resize_tensor_input(self.graph.inputs[0], size, strict=True)
            self._interpreter.allocate_tensors()

    def set_input(self, image: np.ndarray) -> None:
        """Puts an image uint8 (H, W, C) where `invoke` takes it from."""
        self._interpreter.set_tensor(self.graph.inputs[0], self._as_input(image[None]))

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

    def _run_here(self, values: np.ndarray) -> np.ndarray:
        """The outputs (N, ...) for inputs (N, H, W, C), one at a time."""
        with self._refused_in_one_line("cannot be run"):
            made = []
            for one in values:
                self._interpreter.set_tensor(self.graph.inputs[0], one[None])
                self._interpreter.invoke()
                made.append(self._interpreter.get_tensor(self.graph.outputs[0])[0])
            return np.stack(made)

    def _run_isolated(self, values: np.ndarray) -> np.ndarray:
        return self._child.run(values, self._made.dtype)

    def child_facts(self) -> dict[str, Any]:
        """What loading it in the child took, of a file that is `isolated`, see `Isolated.facts`."""
        return self._child.facts()

    def delegated(self) -> dict[str, int] | None:
        """The operations that the interpreter of this process has handed to XNNPACK, and how often each occurs; None
        where it does not tell."""
        return delegated_operations(self._interpreter)

    @contextmanager
    def _refused_in_one_line(self, what: str) -> Iterator[None]:
        try:
            with native_output_hidden():
                yield
        except (RuntimeError, ValueError) as error:
            if isinstance(error, RequestError):
                raise
            raise RequestError(f"{self.path} {what}: {first_line(error)}") from error

    def _as_input(self, images: np.ndarray) -> np.ndarray:
        if self._given.dtype == "uint8":
            return images  # in TFLite uint8 means the pixels as they are, whatever their scale
        mean, std = self._normalization
        values = (images.astype(np.float32) - mean) / std
        return values if self._given.dtype == "float32" else _quantised(values, self._given)

    def _read_normalization(self) -> tuple[np.ndarray, np.ndarray]:
        mean, std = (np.asarray(values, np.float32) for values in metadata.normalization(self.metadata))
        for values in (mean, std):
            if len(values) not in (1, self._given.signature[3]) or not np.isfinite(values).all():
                raise RequestError(f"{self.path} has metadata with another normalisation than one for its channels.")
        if not std.all():
            raise RequestError(f"{self.path} has metadata that divides pixels by 0.")
        return mean, std

    def _read_attached(self, content: bytes) -> tuple[tuple[str, ...], dict[str, Any]]:
        named = metadata.label_file(self.metadata)
        try:
            texts, end = metadata.attached_files(content, self.path)
        except zipfile.BadZipFile:
            if _ATTACHED.search(content):
                raise RequestError(f"{self.path} is truncated: what is attached to it is cut off.") from None
            return (), {}
        try:
            facts = json.loads(texts.get(FACTS, "{}"))
        except (ValueError, RecursionError):
            raise DamageError(f"{FACTS} in it is not JSON") from None
        if not isinstance(facts, dict):
            raise DamageError(f"{FACTS} in it is not an object")
        if "sha256" in facts and facts["sha256"] != sha256(content[:end]).hexdigest():
            raise RequestError(f"{self.path} is damaged: its content does not match its own digest.")
        return from_lines(texts.get(named or LABELS, "")), facts

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
        if self.labels and scores[1] != -1:
            check_count(self.labels, scores[1], self.path)

        for places, what in ((self.graph.inputs, "images"), (self.graph.outputs, "scores")):
            if (dtype := self.graph.tensors[places[0]].dtype) not in _DTYPES:
                raise RequestError(f"{self.path} has {what} of {dtype}; allowed: {', '.join(_DTYPES)}.")

    def _only(self, indices: Sequence[int], what: str) -> Tensor:
        if len(indices) != 1:
            raise RequestError(f"{self.path} has {len(indices)} {what}; allowed: a model from one image to scores.")
        return self.graph.tensors[indices[0]]

    def _settled_shape(self) -> tuple[int, int, int]:
        """(H, W, C) of the input; of a file that takes any size the one that it knows."""
        _, *signature = self._given.signature
        known = self.facts.get("image_shape", [224, 224, signature[2]]) if -1 in signature else signature
        whole = isinstance(known, list) and len(known) == 3 and all(type(size) is int for size in known)
        if not whole or not all(0 < size <= MAX_SIDE for size in known):
            raise RequestError(
                f"{self.path} takes images of {reprlib.repr(known)}; allowed: sides from 1 to {MAX_SIDE:,}."
            )
        if any(asked not in (-1, size) for asked, size in zip(signature, known, strict=True)):
            raise RequestError(f"{self.path} takes {list(self._given.signature)} and says that it takes {known}.")
        height, width, channels = known
        return height, width, channels


def read_content(path: Path) -> bytes:
    """The bytes of a TFLite file.

    Raises:
        RequestError: it is missing, empty, or not TFLite.
    """
    content = check_file(path).read_bytes()
    if content[4:8] != b"TFL3":
        raise RequestError(f"{path} {'is not a TFLite file' if content else 'is empty'}.")
    return content


def attach(content: bytes, labels: Sequence[str], facts: Mapping[str, Any]) -> bytes:
    """The file with labels, facts and its digest behind it; `content` may have metadata inside it by then."""
    facts = {**facts, "sha256": sha256(content).hexdigest()}
    return metadata.append_files(
        content, {LABELS: to_lines(labels), FACTS: json.dumps(facts, separators=(",", ":"), ensure_ascii=False)}
    )


def _interpreter(content: bytes, threads: int, keep_all: bool, plain: bool, reference: bool) -> Any:
    """`plain`: without the default delegate. It swallows whole stretches of the graph, and shows nothing of what is
    between. `reference`: by the kernels that are written to be read."""
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    kernels = OpResolverType.AUTO
    if reference:
        kernels = OpResolverType.BUILTIN_REF
    elif plain:
        kernels = OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    return Interpreter(
        model_content=content,
        num_threads=None if reference else threads,
        experimental_preserve_all_tensors=keep_all,
        experimental_op_resolver_type=kernels,
    )


def _quantised(values: np.ndarray, tensor: Tensor) -> np.ndarray:
    scale, zero_point = _quantisation(tensor)
    limits = np.iinfo(tensor.dtype)
    levels: np.ndarray = (values / scale + zero_point).round().clip(limits.min, limits.max)
    return levels.astype(tensor.dtype)


def _real(values: np.ndarray, tensor: Tensor) -> np.ndarray:
    if tensor.dtype == "float32":
        return values
    scale, zero_point = _quantisation(tensor)
    return _dequantised(values, scale, zero_point)


def _dequantised(values: np.ndarray, scale: float, zero_point: int) -> np.ndarray:
    real: np.ndarray = (values.astype(np.float32) - zero_point) * scale
    return real


def _quantisation(tensor: Tensor) -> tuple[float, int]:
    return (tensor.scales or (1.0,))[0], (tensor.zero_points or (0,))[0]
