"""Zip archives that others may have written: weights, models and checkpoints lie in them."""

import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from zoo.errors import FailureError, RequestError, first_line, of_machine

# Whoever wrote ours used these. LZMA is let ask for 4 GB to unpack a few bytes.
METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
SMALL = 64 * 2**20  # bytes that any archive may unfold to
RATIO = 20  # times its own size that a larger one may; weights hardly compress


@contextmanager
def opened_archive(file: Path | IO[bytes], called: object, *, any_size: bool = False) -> Iterator[zipfile.ZipFile]:
    """An archive, open in the block; whatever goes wrong when it is read there is told as its damage.

    Args:
        file: its path, or an open file.
        called: what an error calls it.
        any_size: where the caller looks at sizes itself.

    Raises:
        RequestError: it is no archive, is truncated, encrypted, packed in another way than ours, unfolds to much more
            than its size, has two files of one name, or lacks what is looked for in the block.
    """
    try:
        with zipfile.ZipFile(file) as archive:
            _check(archive, called, any_size=any_size)
            yield archive
    except (RequestError, FailureError):
        raise
    except KeyError as error:
        raise RequestError(
            f"{called} is damaged: {error.args[0] if error.args else 'a file in it is missing'}."
        ) from None
    except RuntimeError as error:  # encrypted
        raise of_machine(error) or RequestError(f"{called} cannot be read: {first_line(error)}.") from None
    except Exception as error:  # zipfile and zlib raise whatever a damaged entry leads them to
        raise of_machine(error) or RequestError(f"{called} is damaged: {first_line(error)}.") from None


def _check(archive: zipfile.ZipFile, called: object, *, any_size: bool) -> None:
    entries = archive.infolist()
    packed, unfolded = _size(archive), sum(entry.file_size for entry in entries)
    if unfolded > max(SMALL, RATIO * packed) and not any_size:
        raise RequestError(
            f"{called} unfolds from {packed:,} to {unfolded:,} bytes; allowed: {RATIO} times its size, or {SMALL:,}."
        )
    if len({entry.filename for entry in entries}) < len(entries):
        raise RequestError(f"{called} is damaged: it holds two files of one name.")
    if strange := next((entry for entry in entries if entry.compress_type not in METHODS), None):
        raise RequestError(
            f"{called} cannot be read: {strange.filename!r} is packed by method {strange.compress_type}."
        )


def _size(archive: zipfile.ZipFile) -> int:
    file = archive.fp
    assert file is not None
    file.seek(0, 2)
    return file.tell()
