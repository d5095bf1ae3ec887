"""What the page is given beside the file: facts, images with the scores that LiteRT gave, and images to decode."""

import io
from base64 import b64encode
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

import numpy as np
from PIL import Image

from recipes.data import Split
from recipes.data.decoding import decode_to
from recipes.evaluate.selection import select
from recipes.scorers.shares import what_is_missing
from recipes.scorers.tflite import TFLiteScorer
from recipes.support.rows import evenly_spaced
from recipes.tasks import Task
from zoo.errors import RequestError

MOST_SCORED = 1_000  # test images that right and wrong ones are chosen among
MOST_SHIPPED = 100
MOST_BYTES = 4 * 2**20  # of images that are shipped
MOST_WRONG = 12
MADE_UP = 20  # images, where the model's own are not known
DRAWN = 64  # pixels of a side: a grey model of no more is given a pad to draw on
DTYPES = ("float32", "uint8")  # of LiteRT.js, of those that a `.tflite` file of ours can have
PROBE_SIZE = (97, 61)  # width and height


@dataclass(frozen=True)
class Examples:
    """Images that the page shows, and verifies itself with.

    Attributes:
        images: uint8 (N, H, W, C).
        scores: float32 (N, classes) that LiteRT gave in Python.
        labels: whole numbers (N,), None where they are not known or not one class an image.
        right: of each, whether the best score is the label's; None without labels.
        words: which images these are.
        scored: how many these were.
    """

    images: np.ndarray
    scores: np.ndarray
    labels: np.ndarray | None
    words: str
    scored: int

    @property
    def right(self) -> np.ndarray | None:
        return None if self.labels is None else self.scores.argmax(1) == self.labels

    def take(self, rows: np.ndarray) -> "Examples":
        """Some of them, in this order."""
        labels = None if self.labels is None else self.labels[rows]
        return Examples(self.images[rows], self.scores[rows], labels, self.words, self.scored)


@dataclass(frozen=True)
class Contents:
    """All that is written beside page and runtime.

    Attributes:
        model: the file's bytes.
        facts: as JSON types.
        arrays: scores float32, little-endian, of the examples; then their images; then what the probes become.
        remarks: what is worth saying on the terminal, a sentence each.
    """

    model: bytes
    facts: Mapping[str, Any]
    arrays: bytes
    remarks: tuple[str, ...] = ()


def check_runs_in_browser(scorer: TFLiteScorer) -> None:
    """Raises a `RequestError` for a file that LiteRT.js, or the page, does not take."""
    file = scorer.file
    (given,), (made,) = ([file.graph.tensors[i] for i in places] for places in (file.graph.inputs, file.graph.outputs))
    for tensor, what in ((given, "images"), (made, "scores")):
        if tensor.dtype not in DTYPES:
            ways = "export it as float32, float16, dynamic or int8"
            raise RequestError(
                f"{scorer.path} has {what} of {tensor.dtype}; allowed in a browser: {', '.join(DTYPES)}: {ways}."
            )
    if -1 in (*given.signature, *made.signature):
        what = f"takes images of any size {list(given.signature)}"
        raise RequestError(f"{scorer.path} {what}; allowed in a browser: one size: export it without --dynamic-size.")
    if (channels := scorer.image_shape[2]) not in (1, 3):
        raise RequestError(f"{scorer.path} takes images of {channels} channels; allowed: 1 (grey) or 3 (RGB).")


def contents_of(scorer: TFLiteScorer, data: str | None = None) -> Contents:
    """What the page is given of a file.

    Args:
        scorer: the file, see `check_runs_in_browser`.
        data: images to show and to verify with, see `recipes.data.load`; the test images of the run that the file lies
            in if None. Of a file that is alone, images are made up: they verify, and show nothing.

    Raises:
        RequestError: `data` cannot be read, or has classes that the file does not know.
    """
    found, remarks = _test_images(scorer, data)
    if found is None:
        made_up = _made_up(MADE_UP, scorer.image_shape)
        examples = Examples(made_up, scorer.scores(made_up), None, "made up images", MADE_UP)
        accuracy = None
    else:
        everything = _scored(scorer, found[0], found[1], found[2])
        accuracy = None if everything.right is None else float(everything.right.mean())
        examples = everything.take(_shipped(everything))
    probes = _probes()
    decoded = [decode_to(f"the probe {name}", scorer.image_shape, scorer.resize, content) for name, content in probes]
    content = scorer.file.content
    facts = {
        **_model_facts(scorer, content, examples.scores),
        "examples": {
            "count": len(examples.images),
            "words": examples.words,
            "labels": None if examples.labels is None else examples.labels.tolist(),
            "accuracy": accuracy,
            "scored": examples.scored,
            "shown": found is not None,
        },
        "tall_first": _tall_first(),
        "pad": _pad(scorer.image_shape, examples.images if found else None),
        "probes": [{"name": name, "content": b64encode(encoded).decode()} for name, encoded in probes],
    }
    arrays = [examples.scores.astype("<f4"), examples.images, *decoded]
    return Contents(content, facts, b"".join(array.tobytes() for array in arrays), remarks)


def _model_facts(scorer: TFLiteScorer, content: bytes, scores: np.ndarray) -> dict[str, Any]:
    file = scorer.file
    mean, std = file.normalization
    scale, zero_point = file.score_quantisation
    task, classes = scorer.task, file.graph.tensors[file.graph.outputs[0]].signature[1]
    activation = _activation(scorer, scores)
    return {
        "file": scorer.path.name,
        "bytes": len(content),
        "sha256": sha256(content).hexdigest(),
        "model": scorer.model_name,
        "kind": str(file.facts.get("kind", "")),
        "shape": list(scorer.image_shape),
        "resize": scorer.resize,
        "input": {"dtype": file.input_dtype, "mean": mean.tolist(), "std": std.tolist()},
        "output": {"dtype": file.score_dtype, "scale": scale, "zero_point": zero_point, "activation": activation},
        "classes": list(scorer.class_names or map(str, range(classes))),
        "named": bool(scorer.class_names),
        "task": task.name if task else "classification",
        "shares": classes > 1 if task is None else task.probabilities,
        "threshold": _threshold(file.facts),
        "remarks": [remark[0].upper() + remark[1:] for remark in scorer.remarks],
    }


def _activation(scorer: TFLiteScorer, scores: np.ndarray) -> str:
    """What the page has to put behind a file from elsewhere whose scores are logits."""
    if scorer.task is not None or scores.shape[1] == 1:
        return ""
    try:
        return what_is_missing(
            str(scorer.path), scores, "classification", scores.shape[1], step=scorer.score_step
        ).activation
    except RequestError:  # each class has a probability of its own: they are shown as they are
        return ""


def _threshold(facts: Mapping[str, Any]) -> float | None:
    """The score below which an answer is "not sure", of a file that tells one."""
    told = facts.get("threshold")
    return float(told) if isinstance(told, int | float) and not isinstance(told, bool) and 0 < told <= 1 else None


def _test_images(scorer: TFLiteScorer, data: str | None) -> tuple[tuple[Split, Task, str] | None, tuple[str, ...]]:
    """Images with their task, and which they are, None where none are known; and remarks."""
    run = scorer.run
    named = data if data is not None else None if run is None else run.recipe.data.source
    if named is None:
        return None, ("no image is known of it: the page verifies itself with made up ones; --data shows examples",)
    try:
        selection = select(named, run)
        labelled = selection.load(scorer)
    except (RequestError, ModuleNotFoundError) as error:
        if data is not None:
            raise
        return None, (f"its run's test images cannot be read ({error}): the page verifies itself with made up ones",)
    words = "test images" if selection.run is not None or not selection.all else "images"
    return (labelled.split, labelled.task, words), ()


def _scored(scorer: TFLiteScorer, split: Split, task: Task, words: str) -> Examples:
    """Images evenly over a set, with their scores."""
    rows = evenly_spaced(len(split), MOST_SCORED)
    images = np.ascontiguousarray(split.images[rows])
    scores = scorer.scores(images)
    known = task.labels.has_classes and split.labels.ndim == 1 and scores.shape[1] > split.labels.max()
    return Examples(images, scores, split.labels[rows].astype(int) if known else None, words, len(rows))


def _shipped(examples: Examples) -> np.ndarray:
    """Which rows are shipped: the wrong ones that are surest, right ones of every class in turn, then others."""
    most = min(MOST_SHIPPED, max(1, MOST_BYTES // examples.images[0].size), len(examples.images))
    if examples.right is None or examples.labels is None:
        return np.arange(most)
    wrong = np.flatnonzero(~examples.right)
    wrong = wrong[np.argsort(-examples.scores[wrong].max(1), kind="stable")][: min(MOST_WRONG, (most + 1) // 3)]
    right = np.flatnonzero(examples.right)
    labels = examples.labels[right]
    turn = np.array([np.count_nonzero(labels[:i] == label) for i, label in enumerate(labels)], int)
    right = right[np.lexsort((labels, turn))]
    return np.concatenate([wrong, right])[:most]


def _made_up(count: int, shape: tuple[int, int, int]) -> np.ndarray:
    """Images uint8 (count, H, W, C) of soft spots, the same ones every time."""
    random = np.random.default_rng(0)
    coarse = random.integers(0, 256, (count, 5, 5, shape[2]), np.uint8)
    small = [coarse_image.squeeze(2) if shape[2] == 1 else coarse_image for coarse_image in coarse]
    size = (shape[1], shape[0])
    large = [np.asarray(Image.fromarray(image).resize(size, Image.Resampling.BICUBIC)) for image in small]
    return np.stack(large).reshape(count, *shape)


def _tall_first() -> bool:
    """Whether this Pillow shrinks the height of a tall image before its width, which rounds differently (from 13.0)."""
    pixels = np.random.default_rng(0).integers(0, 256, (90, 30), np.uint8)
    size = (20, 20)
    tall, wide = (
        np.asarray(Image.fromarray(p).resize(size, Image.Resampling.BILINEAR)) for p in (pixels, pixels.T.copy())
    )
    return bool(np.array_equal(tall, wide.T))


def _probes() -> list[tuple[str, bytes]]:
    """Encoded images, by format, that the page decodes and resizes, to compare with what Python makes of them."""
    width, height = PROBE_SIZE
    (pixels,) = _made_up(1, (height, width, 3))
    pixels ^= np.random.default_rng(1).integers(0, 8, pixels.shape, np.uint8)
    image = Image.fromarray(pixels)
    clear = image.copy()
    clear.putalpha(Image.linear_gradient("L").resize(PROBE_SIZE))
    probes = []
    for name, picture, options in (
        ("PNG", image, {"format": "PNG"}),
        ("JPEG", image, {"format": "JPEG", "quality": 90}),
        ("transparent PNG", clear, {"format": "PNG"}),
    ):
        file = io.BytesIO()
        picture.save(file, **options)
        probes.append((name, file.getvalue()))
    return probes


def _pad(shape: tuple[int, int, int], images: np.ndarray | None) -> dict[str, Any] | None:
    """The pad to draw on: ground and ink (0 or 255), as the test images have them; None where it makes no sense."""
    height, width, channels = shape
    if channels != 1 or max(height, width) > DRAWN:
        return None
    border = (
        np.zeros(1) if images is None else np.concatenate([images[:, [0, -1]].ravel(), images[:, :, [0, -1]].ravel()])
    )
    ground = 0 if np.median(border) < 128 else 255
    return {"ground": ground, "ink": 255 - ground}
