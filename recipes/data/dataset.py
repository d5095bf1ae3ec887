"""What every source of pictures is turned into."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from recipes.data.picture import Resize
from zoo.errors import FailureError, RequestError, unknown

NAMED = ("digits",)


@dataclass(frozen=True, eq=False)
class Split:
    """Pictures uint8 (N, H, W, C) with pixels 0-255, and their labels int64 (N,), in a fixed order."""

    images: np.ndarray
    labels: np.ndarray

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, rows: Any) -> "Split":
        return Split(self.images[rows], self.labels[rows])


@dataclass(frozen=True, eq=False)
class Data:
    """A set of labelled pictures in three parts that share no picture.

    Attributes:
        source: what `load` was given.
        class_names: position is the label.
        picture_shape: (H, W, C) of the pictures as they came, None where they differ among themselves.
    """

    source: str
    class_names: tuple[str, ...]
    picture_shape: tuple[int, int, int] | None
    train: Split
    validation: Split
    test: Split


def check_source(source: str) -> None:
    """Answers at once, without loading anything, whether `source` can name data.

    Raises:
        RequestError: it cannot; the message says what is allowed and the nearest match.
    """
    if source in NAMED or (source.startswith("tfds:") and source != "tfds:"):
        return
    raise unknown("data", source, [*NAMED, "tfds:NAME"])


def load(
    source: str,
    *,
    image_shape: tuple[int, int, int] | None = None,
    resize: Resize = "fill",
    split_seed: int = 0,
) -> Data:
    """Loads, resizes and splits a set of labelled pictures.

    Args:
        source: `digits` (embedded, needs no network) or `tfds:NAME[/CONFIG][:VERSION]`.
        image_shape: (H, W, C) of the arrays; as the pictures are if None.
        resize: what is done to pictures of another size, see `recipes.data.picture.to_array`.
        split_seed: draws validation and test, stratified by class, where the source does not bring its own.

    Raises:
        RequestError: no such source, or pictures of different sizes without `image_shape`.
        FailureError: the source exists but could not be prepared (no network, no space, no permission).
    """
    check_source(source)
    from recipes.data import tfds_source

    parts, class_names = tfds_source.open_source(source)
    shapes: set[tuple[int, ...]] = set()
    splits = {name: _gather(examples, shapes, image_shape, resize, source) for name, examples in parts.items()}
    _cut(splits, split_seed)
    return Data(
        source=source,
        class_names=class_names,
        picture_shape=next(iter(shapes)) if len(shapes) == 1 else None,
        **splits,
    )


def _gather(
    examples: Iterator[tuple[np.ndarray, int]],
    shapes: set[tuple[int, ...]],
    image_shape: tuple[int, int, int] | None,
    resize: Resize,
    source: str,
) -> Split:
    from PIL import Image

    from recipes.data.picture import to_array

    images, labels = [], []
    for image, label in examples:
        shapes.add(image.shape)
        shape = image_shape or image.shape
        if image.shape != shape:
            image = to_array(Image.fromarray(image.squeeze(2) if image.shape[2] == 1 else image), shape, resize)
        images.append(image)
        labels.append(label)
    if image_shape is None and len(shapes) > 1:
        raise RequestError(f"{source} has pictures of different sizes; say which size to bring them to (image_shape).")
    if not images:
        raise FailureError(f"{source} has a part without any picture.")
    return Split(np.stack(images), np.asarray(labels, np.int64))


def _cut(splits: dict[str, Split], seed: int) -> None:
    """Cuts the missing parts off `train`, stratified: a fifth to test, a tenth of the rest to validate."""
    from sklearn.model_selection import train_test_split

    for part, share in (("test", 0.2), ("validation", 0.1)):
        if part in splits:
            continue
        train = splits["train"]
        try:
            kept, cut = train_test_split(
                np.arange(len(train)), test_size=share, random_state=seed, stratify=train.labels
            )
        except ValueError as error:
            raise RequestError(f"too few pictures to cut off a {part} part: {error}") from None
        splits["train"], splits[part] = train[np.sort(kept)], train[np.sort(cut)]


def data_dir() -> Path:
    """Where prepared sets live: `TFDS_DATA_DIR`, or `~/tensorflow_datasets`."""
    import tensorflow_datasets as tfds

    return Path(tfds.core.constants.DATA_DIR).expanduser()
