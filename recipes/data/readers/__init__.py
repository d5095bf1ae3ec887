"""What can stand after `--data`: one file and one reader a kind of source."""

import os
from pathlib import Path

from recipes.data.checks.findings import shown
from recipes.data.dataset import TaskName
from recipes.data.readers.digits import DigitsReader
from recipes.data.readers.folder import FolderReader
from recipes.data.readers.idx import IdxReader
from recipes.data.readers.packed import PackedReader
from recipes.data.readers.reader import ArrayReader, Arrays, FileReader, MemoryReader, Reader
from recipes.data.readers.table import TableReader
from recipes.data.readers.tfds import TfdsReader
from zoo.cache import expanded
from zoo.errors import RequestError, unknown

__all__ = [
    "READERS",
    "ArrayReader",
    "Arrays",
    "FileReader",
    "MemoryReader",
    "Reader",
    "absolute_source",
    "check_source",
    "open_reader",
]

# The first that a source is of reads it. Names come first: for a folder called `digits`, write `./digits`.
READERS: list[type[Reader]] = [
    DigitsReader,  # digits
    TfdsReader,  # tfds:NAME, or a folder that TensorFlow Datasets wrote
    PackedReader,  # a folder that `zoo data pack` wrote
    IdxReader,  # a folder of IDX files
    FolderReader,  # any other folder: one sub-folder a class
    TableReader,  # .csv and .tsv
]


def open_reader(source: str | Reader, task: TaskName | None = None) -> Reader:
    """The reader of a source; no image is opened.

    Args:
        source: see `recipes.data.load`; a reader is given back as it is.
        task: how a table's labels are meant, if not as they look.

    Raises:
        RequestError: `source` names no data; the message says what is allowed and the nearest match. A task that such
            a source cannot have.
    """
    if isinstance(source, Reader):
        if task in (None, source.task):
            return source
        source = source.source
    readers = (kind(source, task) for kind in READERS)
    try:
        reader = next((reader for reader in readers if reader.is_there()), None)
        exists = reader is not None or expanded(source).exists()
    except (OSError, RuntimeError, ValueError) as error:  # no permission; no such user; a name that no file can have
        raise RequestError(f"{shown(source)!r} cannot be read: {error}.") from None
    if reader is None:
        raise _no_data(source, exists=exists)
    reader.check_task()
    return reader


def check_source(source: str) -> None:
    """Answers at once, without opening an image, whether `source` can name data.

    Raises:
        RequestError: it cannot; the message says what is allowed and the nearest match.
    """
    open_reader(source)


def absolute_source(source: str) -> str:
    """A source with its path whole, so that later commands may be typed elsewhere; names stay. Looks at no disk."""
    if any(kind(source).is_name for kind in READERS):
        return source
    return str(expanded(source).absolute())


def _no_data(source: str, *, exists: bool) -> RequestError:
    allowed = tuple(dict.fromkeys(kind.called for kind in READERS))
    if exists:
        return RequestError(f"{shown(source)} is neither a folder nor a table; allowed: {', '.join(allowed)}.")
    endings = {ending for kind in READERS for ending in kind.endings}
    if os.sep in source or Path(source).suffix.lower() in endings or source.startswith(("~", ".")):
        return RequestError(f"{shown(source)} does not exist.")
    return unknown("data", source, allowed)
