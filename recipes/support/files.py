"""Files that are written whole or not at all."""

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from zoo.errors import FailureError, RequestError

_ASIDE = re.compile(r"\.\d+-.+")  # files that are being written, or were when their process was killed


def is_half_written(file: Path) -> bool:
    """Whether a name is one that `write_whole` gives a file that it has not put in its place yet."""
    return _ASIDE.fullmatch(file.name) is not None


def check_writable(path: Path, folder: Path) -> None:
    """Raises a `RequestError` for `path` where its folder, or the one that it would be made in, takes no new files."""
    if not os.access(folder, os.W_OK | os.X_OK):
        raise RequestError(f"{path} cannot be written: no permission in {folder}.")


def write_whole(path: Path, write: Callable[[Path], Any]) -> None:
    """Has `write` fill a file aside, then puts it in place of `path` in one step.

    Whoever reads `path` at any moment, also after a crash, finds the old file or the new one.

    Raises:
        FailureError: no space, or no permission; `path` is as it was.
    """
    aside = path.with_name(f".{os.getpid()}-{path.name}")  # as `_ASIDE`; the ending stays: writers look at it
    try:
        write(aside)
        with open(aside, "rb+") as written:
            os.fsync(written.fileno())
        os.replace(aside, path)
    except OSError as error:
        raise FailureError(f"{path} cannot be written: {error.strerror or error}.") from error
    finally:
        aside.unlink(missing_ok=True)
