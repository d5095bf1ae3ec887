"""What every source of images is converted to."""

import hashlib
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from os.path import relpath
from pathlib import Path
from typing import Any

import numpy as np

from recipes.data.checks.findings import Finding
from recipes.data.decoded import DecodedImages
from recipes.data.labels import LABEL_KINDS, ONE_CLASS, LabelKind
from zoo.backend import tf

TaskName = str  # a name in `LABEL_KINDS`
PARTS = ("train", "validation", "test")
EVALUATION_BATCH = 250  # images at a time where nothing is learned


def at_once(copies: int) -> int:
    """`EVALUATION_BATCH` for a model that sees so many copies of each image: as much memory, whatever it sees."""
    return max(EVALUATION_BATCH // copies, 1)


@dataclass(frozen=True, eq=False)
class Split:
    """Images and labels in a fixed order.

    Attributes:
        images: uint8 (N, H, W, C), pixels 0-255; where they do not fit in memory an `np.memmap` or, read in the same
            ways, `recipes.data.decoded.DecodedImages`.
        labels: int64 (N,); multi-label float32 (N, classes) of 0 and 1; regression float32 (N,).
        files: the image file behind each row, None where images are not files.
        groups: int64 (N,), images of one number belong together and are never parted; None where each stands alone.
    """

    images: np.ndarray | DecodedImages
    labels: np.ndarray
    files: tuple[str, ...] | None = None
    groups: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, rows: Any) -> "Split":
        files = None if self.files is None else tuple(np.asarray(self.files, object)[rows])
        groups = None if self.groups is None else self.groups[rows]
        images = self.images.only(rows) if isinstance(self.images, DecodedImages) else self.images[rows]
        return Split(images, self.labels[rows], files, groups)

    def batches(self, batch_size: int, *, seed: int | None = None) -> "tf.data.Dataset":
        """All images once, in batches (uint8 (B, H, W, C), labels (B, ...)); the last batch may be smaller.

        Args:
            batch_size: images a batch.
            seed: shuffles, in another order every time the dataset is gone through; in order if None.
        """
        from recipes.data.batches import batches

        return batches(self.images, self.labels, batch_size, seed)


def concatenate(splits: Sequence[Split]) -> Split:
    """The images of all splits, one after another, held in memory; with files and groups where all have them."""
    files = tuple(file for split in splits for file in split.files or ())
    groups = [split.groups for split in splits if split.groups is not None]
    return Split(
        np.concatenate([split.images for split in splits]),
        np.concatenate([split.labels for split in splits]),
        files if all(split.files is not None for split in splits) else None,
        np.concatenate(groups) if len(groups) == len(splits) else None,
    )


@dataclass(frozen=True, eq=False)
class Data:
    """A set of labelled images in three parts that share no image.

    Attributes:
        source: what `load` was given.
        class_names: position is the label; for regression the name of the one number.
        image_shape: (H, W, C) of the images as they came, None where they differ among themselves.
        task: what is learned of the labels, a name in `recipes.data.labels.LABEL_KINDS`.
        skipped: files that were left out because they cannot be used (`skip_bad`).
        root: the folder that the names in `split_table` are relative to, None where images are not files.
        digests: of the content of each file, by its path; of the set, by its source, where images are not files.
        unknown: images of no class, uint8 (N, H, W, C), to learn against; None where there are none.
    """

    source: str
    class_names: tuple[str, ...]
    image_shape: tuple[int, int, int] | None
    train: Split
    validation: Split
    test: Split
    task: TaskName = ONE_CLASS.task
    skipped: tuple[Finding, ...] = ()
    root: Path | None = None
    digests: Mapping[str, str] = field(default_factory=dict)
    unknown: np.ndarray | None = None

    @property
    def picture_shape(self) -> tuple[int, int, int] | None:
        """`image_shape`, as it was once called."""
        return self.image_shape

    @property
    def label_kind(self) -> LabelKind:
        """How the labels are read, written, counted and ordered."""
        return LABEL_KINDS[self.task]

    @property
    def parts(self) -> dict[str, Split]:
        """The three parts by name."""
        return {"train": self.train, "validation": self.validation, "test": self.test}

    @property
    def sizes(self) -> dict[str, int]:
        """How many images each part has."""
        return {part: len(split) for part, split in self.parts.items()}

    @property
    def unknown_digest(self) -> str | None:
        """What tells the unknown images from any others, None where there are none."""
        if self.unknown is None:
            return None
        return hashlib.sha256(np.ascontiguousarray(self.unknown).data).hexdigest()

    def split_table(self) -> list[dict[str, str]]:
        """Which file is in which part: rows of `file` (relative to `root`), `split`, `label` and the
        `digest` of its content.

        Kept as CSV, `load(..., split_table=FILE)` gives exactly these images again. Empty where images are not
        files: such sets bring their own parts, or are split by the seed alone.
        """
        rows = []
        for part, split in self.parts.items():
            for file, label in zip(split.files or (), split.labels, strict=bool(split.files)):
                text = self.label_kind.text(label, self.class_names)
                row = {"file": relative(file, self.root or Path()), "split": part, "label": text}
                rows.append(row | ({"digest": self.digests[file]} if file in self.digests else {}))
        return rows


def digest_of(class_names: Sequence[str], splits: Iterable[Split]) -> int:
    """A number of 31 bits that differs, as good as always, where names, labels, or the first or last images differ."""
    digest = zlib.crc32("\n".join(class_names).encode())
    for split in splits:
        for array in (split.labels, split.images[:8], split.images[-8:]):
            digest = zlib.crc32(np.ascontiguousarray(array).data, digest)
    return digest >> 1


def relative(file: str, root: Path) -> str:
    """The name of a file in a split table: the same, however the path to it was written."""
    return Path(relpath(file, root)).as_posix()


def class_weights(labels: np.ndarray, classes: int) -> dict[int, float]:
    """Weights that let every class count the same: images / (classes * images of the class).

    Args:
        labels: int64 (N,), every class at least once.
        classes: how many there are.

    >>> class_weights(np.array([0, 0, 0, 1]), 2)
    {0: 0.6666666666666666, 1: 2.0}
    """
    from sklearn.utils.class_weight import compute_class_weight

    weights = compute_class_weight("balanced", classes=np.arange(classes), y=labels)
    return {label: float(weight) for label, weight in enumerate(weights)}
