"""A set packed into few large files that any of its images can be read from: what `zoo data pack` writes.

    shards.json                      what the set is: classes, task, sizes, the shards, the digest of the index
    index.npy                        a row an image: its part, its group, the digest of its record, its label
    names.txt                        a line an image: its file, as JSON
    images-00000.arrayrecord, ...    a record an image, in the order of the index

ArrayRecord is TensorFlow Datasets' own format for random access (https://github.com/google/array_record). A record is
the bytes of an image file, or, if the set was packed at a size, pixels uint8 (H, W, C).
"""

import hashlib
import json
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import BaseModel, ConfigDict, ValidationError

from recipes.data.checks.findings import shown
from recipes.data.dataset import PARTS
from recipes.data.decoding import Resize, digest_of
from recipes.data.labels import NUMBER, ONE_CLASS, SEVERAL_CLASSES
from zoo.errors import FailureError, RequestError, first_line
from zoo.files import check_file

if TYPE_CHECKING:
    from array_record.python.array_record_module import ArrayRecordReader, ArrayRecordWriter

HEADER, INDEX, NAMES = "shards.json", "index.npy", "names.txt"
VERSION = 1
SHARD = 2**28  # bytes, after which another file is begun
SHARD_RECORDS = 2**13  # and so many records: a file is opened by way of about a kilobyte of memory for each
_OPTIONS = "group_size:1,uncompressed"  # every record by itself: whoever wants one reads one; files are compressed
# For random access, as the library documents it. A range of one record is read many times as fast as a list
# of one.
_READ = "readahead_buffer_size:0,max_parallelism:0"


class Header(BaseModel):
    """`shards.json`.

    Attributes:
        version: of the format.
        source: what was packed.
        task, class_names, image_shape: as in `recipes.data.Data`.
        pixels: (H, W, C) of records that are pixels; None where they are files.
        resize: how images were brought to `pixels`.
        counts: how many records each shard has.
        index: the digest of `index.npy`.
    """

    model_config = ConfigDict(extra="forbid")

    version: int
    source: str
    task: str
    class_names: tuple[str, ...]
    image_shape: tuple[int, int, int] | None
    pixels: tuple[int, int, int] | None
    resize: Resize
    counts: tuple[int, ...]
    index: str


@dataclass(frozen=True)
class Packed:
    """What was packed.

    Attributes:
        folder: where.
        sizes: how many images each part has.
        shards: how many files hold them.
        bytes: of all records.
    """

    folder: Path
    sizes: dict[str, int]
    shards: int
    bytes: int

    def to_dict(self) -> dict[str, Any]:
        """In JSON types."""
        return {**vars(self), "folder": str(self.folder)}


def digest_of_record(record: bytes) -> bytes:
    """20 bytes, as of the file that it was."""
    return hashlib.blake2b(record, digest_size=20).digest()


def name_of(number: int) -> str:
    """Of the file of a shard."""
    return f"images-{number:05}.arrayrecord"


def index_type(task: str, classes: int) -> np.dtype:
    """Of a row of the index."""
    label = {ONE_CLASS.task: "<i8", SEVERAL_CLASSES.task: ("u1", (classes,)), NUMBER.task: "<f4"}[task]
    return np.dtype([("part", "u1"), ("group", "<i8"), ("digest", "V20"), ("label", label)])


def _are_possible(labels: np.ndarray, task: str, classes: int) -> bool:
    if task == ONE_CLASS.task:
        return bool(labels.min() >= 0 and labels.max() < classes)
    return bool(np.isfinite(labels).all() and (task == NUMBER.task or labels.max(initial=0) <= 1))


class ShardWriter:
    """Writes records into shards, one after another; `counts` is how many each has, `bytes` what they take in all."""

    def __init__(self, folder: Path) -> None:
        self._folder, self.counts, self.bytes = folder, [0], 0
        self._writer, self._size = self._begin(), 0

    def _begin(self) -> "ArrayRecordWriter":
        return array_record().ArrayRecordWriter(str(self._folder / name_of(len(self.counts) - 1)), _OPTIONS)

    def write(self, record: bytes) -> None:
        """Adds a record.

        Raises:
            OSError: no space, or no permission.
        """
        if self._size >= SHARD or self.counts[-1] >= SHARD_RECORDS:
            self.close()
            self.counts.append(0)
            self._writer, self._size = self._begin(), 0
        self._checked(self._writer.write, record)
        self.counts[-1] += 1
        self._size += len(record)
        self.bytes += len(record)

    def close(self) -> None:
        """Writes what is left."""
        self._checked(self._writer.close)

    def _checked(self, step: Any, *given: bytes) -> None:
        try:
            step(*given)
        except RuntimeError as error:
            raise OSError(first_line(error)) from error


class Shards:
    """A packed set, opened: records by number, from several threads at once.

    Raises:
        RequestError: the folder is not what `pack` wrote, or is damaged.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.header = self._header()
        self.ends = np.cumsum(self.header.counts)
        self.index = self._index()
        self._readers: dict[int, ArrayRecordReader] = {}
        self._lock = threading.Lock()
        self.bytes_read = 0

    def __len__(self) -> int:
        return len(self.index)

    def _header(self) -> Header:
        file = check_file(self.folder / HEADER)
        try:
            header = Header.model_validate(json.loads(file.read_text("utf-8")))
        except (OSError, ValueError, RecursionError) as error:
            why = error.errors()[0]["msg"] if isinstance(error, ValidationError) else first_line(error)
            raise RequestError(f"{shown(file)} cannot be read: {why}") from None
        if header.version != VERSION:
            raise RequestError(f"{shown(file)} has version {header.version}; this one reads {VERSION}: pack it again.")
        if header.task not in (ONE_CLASS.task, SEVERAL_CLASSES.task, NUMBER.task):
            raise RequestError(f"{shown(file)} has task {header.task!r}, which this version does not know.")
        if not header.counts or min(header.counts) < 0 or min((1, *(header.pixels or ()))) < 1:
            raise RequestError(f"{shown(file)} is damaged: its sizes are not possible.")
        return header

    def _index(self) -> np.ndarray:
        file, header = check_file(self.folder / INDEX), self.header
        damaged = RequestError(f"{shown(file)} is damaged, or belongs to another {HEADER}: pack the set again.")
        try:
            index: np.ndarray = np.load(file, mmap_mode="r", allow_pickle=False)
            if index.dtype != index_type(header.task, len(header.class_names)) or index.shape != (sum(header.counts),):
                raise damaged
            found = digest_of(file).hex()
        except (OSError, ValueError, EOFError, SyntaxError) as error:
            raise RequestError(f"{shown(file)} cannot be read: {first_line(error)}") from None
        if found != header.index or not len(index) or index["part"].max() >= len(PARTS):
            raise damaged
        if not _are_possible(index["label"], header.task, len(header.class_names)):
            raise damaged
        return index

    def record(self, number: int) -> bytes:
        """One record, as it was written.

        Raises:
            FailureError: it is damaged, or not there.
        """
        shard = int(np.searchsorted(self.ends, number, "right"))
        place = number - int(self.ends[shard]) + self.header.counts[shard]
        try:
            record: bytes = self._reader(shard).read(place, place + 1)[0]
        except (RuntimeError, IndexError) as error:
            raise self._damaged(number, first_line(error)) from None
        if digest_of_record(record) != self.index["digest"][number].tobytes():
            raise self._damaged(number, "its bytes are not those that were packed")
        self.bytes_read += len(record)
        return record

    def _reader(self, shard: int) -> "ArrayRecordReader":
        with self._lock:
            if shard not in self._readers:
                file = check_file(self.folder / name_of(shard))
                self._readers[shard] = array_record().ArrayRecordReader(str(file), _READ)
            return self._readers[shard]

    def name(self, number: int) -> str:
        """The file that an image was, relative to what was packed."""
        damaged = OSError, ValueError, RecursionError, RequestError  # the number has to do
        with suppress(*damaged), open(check_file(self.folder / NAMES), encoding="utf-8") as lines:
            for line in islice(lines, number, number + 1):
                return str(json.loads(line))
        return str(number)

    def _damaged(self, number: int, why: str) -> FailureError:
        return FailureError(f"{shown(self.folder)} is damaged: image {number} ({shown(self.name(number))}): {why}.")

    @cached_property
    def rows(self) -> dict[str, np.ndarray]:
        """The numbers of the images of each part that there are, in order."""
        found = {part: np.flatnonzero(self.index["part"] == place) for place, part in enumerate(PARTS)}
        return {part: rows for part, rows in found.items() if len(rows)}


def write_index(
    folder: Path,
    parts: Mapping[str, np.ndarray],
    groups: np.ndarray | None,
    digests: Sequence[bytes],
    labels: np.ndarray,
    task: str,
) -> str:
    """Writes `index.npy`; its digest."""
    rows = np.zeros(len(labels), index_type(task, labels.shape[1] if labels.ndim == 2 else 0))
    for part, members in parts.items():
        rows["part"][members] = PARTS.index(part)
    rows["label"] = labels
    rows["group"] = -1 if groups is None else groups
    rows["digest"] = np.asarray(digests, "V20")
    np.save(folder / INDEX, rows, allow_pickle=False)
    return digest_of(folder / INDEX).hex()


def write_names(folder: Path, names: Sequence[str]) -> None:
    """Writes `names.txt`."""
    with open(folder / NAMES, "w", encoding="utf-8") as lines:
        lines.writelines(f"{json.dumps(name, ensure_ascii=False)}\n" for name in names)


def array_record() -> Any:
    """The library's module, which TensorFlow Datasets brings on Linux.

    Raises:
        RequestError: it is not installed.
    """
    try:
        from array_record.python import array_record_module
    except ImportError:
        raise RequestError("shards need array_record: pip install array_record, where there is one.") from None
    return array_record_module
