"""What every kind of source can tell about itself, and what it gives: a listing of files, or arrays."""

import hashlib
from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import ClassVar

import numpy as np

from recipes.data.checks.findings import shown
from recipes.data.dataset import TaskName
from recipes.data.decoded import DecodedImages, Images
from recipes.data.decoding import Resize, from_array, to_array
from recipes.data.labels import ONE_CLASS
from recipes.data.listing import Listing
from zoo.cache import expanded
from zoo.errors import RequestError

Shape = tuple[int, int, int]


class Reader(ABC):
    """A source of images.

    Making a reader looks at nothing; `is_there` looks at names, and the properties open the source, each once.

    Attributes:
        called: how messages list sources of this kind.
        endings: of files that are such sources, in lower case.
        what: the source in an error about its labels.
        training_files: the names of the files that images to train with are in, where the kind of source prescribes
            them.
        source: as the user wrote it.
        task: how the labels are meant, if not as they look.
    """

    called: ClassVar[str]
    endings: ClassVar[tuple[str, ...]] = ()
    what: ClassVar[str] = "a set of classes"
    training_files: ClassVar[str] = ""

    def __init__(self, source: str, task: TaskName | None = None) -> None:
        self.source = source
        self.task = task

    @property
    def path(self) -> Path:
        """Where the source lies, if it is not a name."""
        return expanded(self.source)

    @property
    def is_name(self) -> bool:
        """Whether the text names a source of this kind, whatever lies on disk."""
        return False

    def is_there(self) -> bool:
        """Whether `source` is of this kind, told by its name and by the names of the files in it.

        Raises:
            OSError: it may not be read.
        """
        return self.path.suffix.lower() in self.endings and self.path.is_file()

    def check_task(self) -> None:
        """Raises a `RequestError` if the labels cannot be meant as `task`."""
        if not ONE_CLASS.is_meant(self.task):
            raise RequestError(f"{shown(self.source)} is {self.what}: task={self.task!r} is not possible.")

    @property
    @abstractmethod
    def class_names(self) -> tuple[str, ...]:
        """Position is the label."""

    @property
    @abstractmethod
    def parts(self) -> tuple[str, ...]:
        """Those of train, validation and test that the source brings itself."""


class FileReader(Reader):
    """A source that is made of files with one image each."""

    @property
    @abstractmethod
    def root(self) -> Path:
        """The folder that names in the listing, and in a split table of this source alone, are relative to."""

    @abstractmethod
    def list_files(self) -> Listing:
        """Lists the files without opening any image.

        Raises:
            RequestError: there are no classes, or a line of a table is not possible.
        """

    @cached_property
    def listing(self) -> Listing:
        """What `list_files` gives, listed once."""
        return self.list_files()

    @property
    def class_names(self) -> tuple[str, ...]:
        return self.listing.class_names

    @property
    def parts(self) -> tuple[str, ...]:
        return self.listing.given_parts


class ArrayReader(Reader):
    """A source of images that are not files of one image each."""

    @property
    @abstractmethod
    def labels(self) -> dict[str, np.ndarray]:
        """Of each part that the source brings, in the order train, validation, test; one at least. As `Split.labels`
        of `label_task`: int64 (N,) where every image has one class."""

    @property
    @abstractmethod
    def image_shape(self) -> Shape | None:
        """(H, W, C) of the images as they are, None where they differ among themselves."""

    @property
    def resize(self) -> Resize:
        """What `images` is asked for where nothing else is said."""
        return "fill"

    @property
    def label_task(self) -> TaskName:
        """What the labels are."""
        return ONE_CLASS.task

    @property
    def groups(self) -> dict[str, np.ndarray] | None:
        """int64 (N,) of each part: images of one number belong together. None where each stands alone."""
        return None

    def decoded(self, part: str, shape: Shape, resize: Resize) -> DecodedImages | None:
        """As `images`, read one by one and only when they are used; None where the source cannot."""
        return None

    @abstractmethod
    def images(self, part: str, shape: Shape, resize: Resize, *, quiet: bool) -> Images:
        """Images of a part, uint8 (N, H, W, C), in the order of `labels`.

        Args:
            part: one of `parts`.
            shape, resize: as for `recipes.data.decoding.to_array`.
            quiet: no remarks on stderr.

        Raises:
            RequestError: an image is damaged.
            FailureError: no space for what does not fit into memory.
        """

    @property
    def parts(self) -> tuple[str, ...]:
        return tuple(self.labels)

    @property
    def digest(self) -> str:
        """Of all images as they come, and their labels: sets of one digest are taken for the same."""
        digest = hashlib.blake2b(digest_size=20)
        for part, labels in self.labels.items():
            images = self.images(part, self.image_shape or (64, 64, 3), self.resize, quiet=True)
            digest.update(f"{part} {images.shape} ".encode() + labels.tobytes())
            for image in images:
                digest.update(image.tobytes())
        return digest.hexdigest()


@dataclass(frozen=True, eq=False)
class Arrays:
    """Images and labels that are in memory.

    Attributes:
        parts: images uint8 (N, H, W, C) of one size and labels int64 (N,) of each part; one part at least.
        class_names: position is the label.
    """

    parts: dict[str, tuple[np.ndarray, np.ndarray]]
    class_names: tuple[str, ...]


class MemoryReader(ArrayReader):
    """A source that is read into memory as a whole."""

    @abstractmethod
    def read(self) -> Arrays:
        """Reads everything.

        Raises:
            RequestError: it cannot be read, or is damaged.
        """

    @cached_property
    def arrays(self) -> Arrays:
        """What `read` gives, read once.

        Raises:
            RequestError: as `read`, or arrays of other types and shapes than `Arrays` says.
        """
        arrays = self.read()
        shapes = {images.shape[1:] for images, _ in arrays.parts.values()}
        fit = len(shapes) == 1 and all(
            images.dtype == np.uint8
            and images.ndim == 4
            and images.shape[3] in (1, 3)
            and labels.dtype == np.int64
            and labels.shape == images.shape[:1]
            and np.isin(labels, np.arange(len(arrays.class_names))).all()
            for images, labels in arrays.parts.values()
        )
        if not fit:
            raise RequestError(
                f"{shown(self.source)} is not images uint8 (N, H, W, 1 or 3) with a class number int64 (N,) each."
            )
        return arrays

    @property
    def class_names(self) -> tuple[str, ...]:
        return self.arrays.class_names

    @property
    def labels(self) -> dict[str, np.ndarray]:
        return {part: labels for part, (_, labels) in self.arrays.parts.items()}

    @property
    def image_shape(self) -> Shape:
        height, width, channels = next(iter(self.arrays.parts.values()))[0].shape[1:]
        return height, width, channels

    def images(self, part: str, shape: Shape, resize: Resize, *, quiet: bool) -> np.ndarray:
        images = self.arrays.parts[part][0]
        if shape == self.image_shape:
            return images
        return np.stack([to_array(from_array(image), shape, resize) for image in images])
