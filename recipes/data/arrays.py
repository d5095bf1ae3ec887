"""Sets that do not come as files of one image each: TensorFlow Datasets and IDX."""

import hashlib
import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from recipes.data import cache, pixels
from recipes.data.checks.classes import about_classes
from recipes.data.dataset import PARTS, Data, Split
from recipes.data.decoding import Resize, decode, from_array, pillow_warnings, size_of, to_array
from recipes.data.labels import ONE_CLASS
from recipes.data.readers import idx
from recipes.data.readers.sources import kind_of
from recipes.data.splits import cut
from zoo.errors import FailureError, RequestError

if TYPE_CHECKING:
    from recipes.data.readers.tfds import Prepared

Shape = tuple[int, int, int]


@dataclass(frozen=True, eq=False)
class Arrays:
    """The parts that a set brings itself.

    Attributes:
        splits: `train` at least.
        class_names: position is the label.
        image_shape: (H, W, C) before resizing, None where images differ.
    """

    splits: dict[str, Split]
    class_names: tuple[str, ...]
    image_shape: Shape | None


def load_arrays(source: str, shape: Shape | None, resize: Resize, seed: int, *, quiet: bool) -> Data:
    """A set, with the parts that it lacks cut off its training part; parameters as `recipes.data.load`."""
    arrays = open_arrays(source, shape, resize, quiet=quiet)
    given, class_names = arrays.splits, arrays.class_names
    train = given["train"]
    if len(given) < len(PARTS):
        kinds = np.repeat(np.asarray(list(given), "U10"), [len(split) for split in given.values()])
        labels = np.concatenate([split.labels for split in given.values()])
        for finding in about_classes(labels, kinds, class_names, ONE_CLASS.task, source):
            if finding.kind == "too_few":
                raise RequestError(f"{finding.path} {finding.detail}")
        rows = cut({part: np.arange(len(split)) for part, split in given.items()}, train.labels, seed=seed)
        given = {part: given[part] if part in given and part != "train" else train[rows[part]] for part in PARTS}
    return Data(source, class_names, arrays.image_shape, **given)


def open_arrays(source: str, shape: Shape | None, resize: Resize, *, quiet: bool) -> Arrays:
    """The parts that a set brings itself; parameters as `recipes.data.load`.

    Raises:
        RequestError: no such set, a damaged file, or images of different sizes where `shape` is None.
        FailureError: the set could not be prepared.
    """
    if kind_of(source) == "idx":
        return _open_idx(source, shape, resize)
    from recipes.data.readers.tfds import open_source

    prepared = open_source(source)
    surveys = {part: _survey(prepared, part) for part in prepared.parts}
    seen = set().union(*(sizes for _, sizes in surveys.values()))
    if shape is None and len(seen) > 1:
        raise RequestError(f"{source} has images of different sizes; say which size to bring them to (image_shape).")
    native = next(iter(seen)) if len(seen) == 1 else None
    splits = {
        part: Split(_images(prepared, part, shape or native, resize, quiet=quiet), labels)
        for part, (labels, _) in surveys.items()
    }
    return Arrays(splits, prepared.class_names, native)


def _open_idx(source: str, shape: Shape | None, resize: Resize) -> Arrays:
    parts, class_names = idx.read_folder(Path(source).expanduser())
    native = next(iter(parts.values()))[0].shape[1:]
    if shape is not None and shape != native:
        parts = {
            part: (np.stack([to_array(from_array(image), shape, resize) for image in images]), labels)
            for part, (images, labels) in parts.items()
        }
    return Arrays({part: Split(*arrays) for part, arrays in parts.items()}, class_names, native)


def _survey(prepared: "Prepared", part: str) -> tuple[np.ndarray, set[Shape]]:
    """Labels int64 (N,) of a part and the sizes of its images; kept, so that TensorFlow need not be asked again."""
    name = hashlib.sha256(f"{cache.VERSION} {prepared.state} {part}".encode()).hexdigest()[:32]
    file = cache.cache_folder() / f"{name}.labels.json"
    try:
        kept = json.loads(file.read_text("utf-8"))
        return np.asarray(kept["labels"], np.int64), {tuple(size) for size in kept["sizes"]}
    except (OSError, ValueError, KeyError, TypeError):
        pass  # not there, or not whole
    labels, sizes = [], set()
    with pillow_warnings():
        for content, label in prepared.examples(part):
            sizes.add(size_of(content, f"{prepared.source}: {part} {len(labels)}"))
            labels.append(label)
    count = prepared.parts[part]
    if len(labels) != count:
        where = f"{prepared.source} is damaged: its part {part}"
        raise FailureError(f"{where} has {len(labels):,} images, its description says {count:,}.")
    cache.write(file, json.dumps({"labels": labels, "sizes": sorted(sizes)}))
    return np.asarray(labels, np.int64), sizes


def _images(prepared: "Prepared", part: str, shape: Shape, resize: Resize, *, quiet: bool) -> np.ndarray:
    """Images of a part, uint8 (N, H, W, C), from the cache if they are there."""

    def decoded() -> Iterator[np.ndarray]:
        for number, (content, _) in enumerate(prepared.examples(part)):
            yield to_array(decode(f"{prepared.source}: {part} {number}", content), shape, resize)

    count = prepared.parts[part]
    large = sum(prepared.parts.values()) * math.prod(shape) > pixels.memory_limit()
    key = f"{prepared.state} {part}".encode()
    images = pixels.keep(key, (count, *shape), resize, decoded, quiet=quiet, needed=large)
    return images if large else np.array(images)
