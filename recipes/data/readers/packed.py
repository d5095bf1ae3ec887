"""A folder that `zoo data pack` wrote."""

import hashlib
import math
from functools import cached_property

import numpy as np

from recipes.data.checks.findings import shown
from recipes.data.dataset import TaskName
from recipes.data.decoded import DecodedImages, Images
from recipes.data.decoding import Resize, decode_to, from_array, to_array
from recipes.data.labels import ONE_CLASS
from recipes.data.pixels import beyond_memory, in_memory, memory_limit
from recipes.data.readers.reader import ArrayReader, Shape
from recipes.data.shards import HEADER, Shards
from zoo.errors import RequestError


class PackedReader(ArrayReader):
    """Shards: images are read by random access, and checked against their digests as they are read."""

    called = "SHARDS"
    what = "a packed set"

    def is_there(self) -> bool:
        return (self.path / HEADER).is_file()

    def check_task(self) -> None:
        if self.task not in (None, self.label_task):
            raise RequestError(
                f"{shown(self.source)} was packed with task={self.label_task!r}: task={self.task!r} is not possible."
            )

    @cached_property
    def shards(self) -> Shards:
        """The set, opened."""
        return Shards(self.path)

    @property
    def class_names(self) -> tuple[str, ...]:
        return self.shards.header.class_names

    @property
    def resize(self) -> Resize:
        return self.shards.header.resize

    @property
    def label_task(self) -> TaskName:
        return self.shards.header.task

    @cached_property
    def labels(self) -> dict[str, np.ndarray]:
        dtype = np.int64 if self.label_task == ONE_CLASS.task else np.float32
        return {part: self.shards.index["label"][rows].astype(dtype) for part, rows in self.shards.rows.items()}

    @property
    def groups(self) -> dict[str, np.ndarray] | None:
        groups = self.shards.index["group"]
        return None if groups[0] < 0 else {part: groups[rows] for part, rows in self.shards.rows.items()}

    @property
    def image_shape(self) -> Shape | None:
        return self.shards.header.pixels or self.shards.header.image_shape

    @property
    def digest(self) -> str:
        header = self.shards.header
        return hashlib.blake2b(f"{header.index} {header.class_names}".encode(), digest_size=20).hexdigest()

    def images(self, part: str, shape: Shape, resize: Resize, *, quiet: bool) -> Images:
        images, key = self.decoded(part, shape, resize), f"{self.digest} {part}".encode()
        if len(self.shards) * math.prod(shape) <= memory_limit():
            return np.array(in_memory(images, key, resize, quiet=quiet))
        return beyond_memory(images, key, resize, quiet=quiet)

    def decoded(self, part: str, shape: Shape, resize: Resize) -> DecodedImages:
        shards, pixels = self.shards, self.shards.header.pixels
        if pixels is not None and resize != self.resize:
            raise RequestError(
                f"{shown(self.source)} was packed with --resize {self.resize}: resize={resize!r} is not "
                "possible; set it so, or pack the files themselves, without --input-shape."
            )

        def decode(number: int) -> np.ndarray:
            record = shards.record(number)
            if pixels is None:
                return decode_to(f"{shards.folder}: {number}", shape, resize, record)
            if len(record) != math.prod(pixels):
                raise RequestError(f"{shown(shards.folder)} is damaged: image {number} is not of {pixels}.")
            image = np.frombuffer(record, np.uint8).reshape(pixels)
            return image if pixels == shape else to_array(from_array(image), shape, resize)

        return DecodedImages(decode, shards.rows[part], shape)
