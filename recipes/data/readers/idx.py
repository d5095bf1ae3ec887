"""IDX files, the format that MNIST came in: a folder of train-images-idx3-ubyte and its three companions."""

import gzip
import math
import re
import zlib
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import IO

import numpy as np

from recipes.data.checks.findings import shown
from recipes.data.readers.reader import Arrays, MemoryReader
from zoo.errors import RequestError

_NAME = re.compile(r"(?:.*-)?(train|t10k|test)-(images|labels)[-.]idx[134]-ubyte(?:\.gz)?", re.IGNORECASE)
MAX_BYTES = 8 * 2**30  # of one file's content; a header that says more is taken for damage
_SMALL, _RATIO = 2**29, 1_000  # bytes that any file may hold, and times its own size that a packed one may


class IdxReader(MemoryReader):
    """A folder of IDX files; classes are the labels that occur."""

    called = "FOLDER"
    training_files = "train-images-idx3-ubyte"

    def is_there(self) -> bool:
        return self.path.is_dir() and bool(self.files)

    @cached_property
    def files(self) -> dict[tuple[str, str], Path]:
        """See `find`."""
        return find(self.path)

    def read(self) -> Arrays:
        return read_files(self.files, self.source)


def find(folder: Path) -> dict[tuple[str, str], Path]:
    """The IDX files of a folder by (`train` or `test`, `images` or `labels`); empty if it has none of images.

    Folders that bear such a name, as some archives unpack to beside the files, are passed over.
    """
    found: dict[tuple[str, str], Path] = {}
    for entry in sorted(folder.iterdir()):
        if (match := _NAME.fullmatch(entry.name)) and entry.is_file():
            part, what = match[1].lower().replace("t10k", "test"), match[2].lower()
            found.setdefault((part, what), entry)
    return found if any(what == "images" for _, what in found) else {}


def read_files(files: Mapping[tuple[str, str], Path], source: str) -> Arrays:
    """Images and labels of each part that `find` found.

    Raises:
        RequestError: a file is missing, damaged, or does not fit the others.
    """
    parts: dict[str, tuple[np.ndarray, np.ndarray]] = {}
    for part in ("train", "test"):
        if (part, "images") not in files:
            if (part, "labels") in files:
                raise RequestError(
                    f"{shown(files[part, 'labels'])} has no images beside it ({part}-images-idx3-ubyte)."
                )
            continue
        if (part, "labels") not in files:
            raise RequestError(f"{shown(files[part, 'images'])} has no labels beside it ({part}-labels-idx1-ubyte).")
        images, labels = read(files[part, "images"]), read(files[part, "labels"])
        if images.ndim == 3:
            images = images[..., None]
        if images.ndim != 4 or images.shape[3] not in (1, 3) or labels.ndim != 1:
            raise RequestError(f"{shown(files[part, 'images'])} does not hold images with one label each.")
        if len(images) != len(labels):
            raise RequestError(
                f"{shown(files[part, 'images'])} has {len(images):,} images, {shown(files[part, 'labels'])} "
                f"{len(labels):,} labels."
            )
        parts[part] = images, labels
    if len({images.shape[1:] for images, _ in parts.values()}) > 1:
        raise RequestError(f"{shown(source)}: the images of train and test have different sizes.")
    known = np.unique(
        parts.get("train", next(iter(parts.values())))[1]
    )  # EMNIST's letters begin at 1: there is no class 0 then
    for part, (images, labels) in parts.items():
        if len(foreign := np.setdiff1d(labels, known)):
            raise RequestError(
                f"{shown(files[part, 'labels'])} has the label {foreign[0]}, which training does not have."
            )
        parts[part] = images, np.searchsorted(known, labels).astype(np.int64)
    return Arrays(parts, tuple(str(label) for label in known))


def read(path: Path) -> np.ndarray:
    """An IDX file of unsigned bytes, as it is or in gzip, as an array of the shape that its header states.

    Raises:
        RequestError: it cannot be read, or is shorter or longer than its header says.
    """
    try:
        with gzip.open(path) if path.suffix.lower() == ".gz" else open(path, "rb") as file:
            magic = file.read(4)
            if len(magic) < 4 or magic[:3] != b"\0\0\x08" or not 1 <= magic[3] <= 4:
                raise RequestError(f"{shown(path)} is not an IDX file of unsigned bytes.")
            shape = tuple(int(n) for n in np.frombuffer(file.read(4 * magic[3]), ">u4"))
            count = math.prod(shape)
            if len(shape) < magic[3] or count > min(MAX_BYTES, max(_SMALL, _RATIO * path.stat().st_size)):
                raise RequestError(f"{shown(path)} is damaged: its header says {shape}.")
            content = _read_as_far(file, count + 1)
    except RequestError:
        raise
    except (OSError, EOFError, ValueError, zlib.error) as error:
        raise RequestError(f"{shown(path)} cannot be read: {error}.") from None
    if len(content) != count:
        than = "fewer" if len(content) < count else "more"
        raise RequestError(f"{shown(path)} is damaged: it has {than} bytes than its header says ({shape}).")
    return np.frombuffer(content, np.uint8).reshape(shape)


def _read_as_far(file: gzip.GzipFile | IO[bytes], count: int) -> bytearray:
    """At most so many bytes; the memory that they take goes by what is there, not by what is asked for."""
    content = bytearray()
    while piece := file.read(min(2**24, count - len(content))):
        content += piece
    return content
