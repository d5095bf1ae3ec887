"""Files that are written whole or not at all."""

import os
import re
import secrets
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from zoo.errors import FailureError, RequestError

# Files that are being written, or were when their process was killed; earlier versions named them by process id.
_ASIDE = re.compile(r"\.(aside-[0-9a-f]{16}|\d+)-.+")


def is_half_written(file: Path) -> bool:
    """Whether a name is one that `replacing` gives a file that it has not put in its place yet."""
    return _ASIDE.fullmatch(file.name) is not None


def check_output(path: Path, endings: Sequence[str]) -> None:
    """Raises a `RequestError` for a file to write that ends otherwise, is a folder, or lies in none that exists."""
    if path.suffix.lower() not in endings or path.is_dir() or not path.absolute().parent.is_dir():
        raise RequestError(f"{path} is not possible; allowed: a file in an existing folder that ends in {endings[0]}.")


def check_writable(path: Path, folder: Path) -> None:
    """Raises a `RequestError` for `path` where its folder, or the one that it would be made in, takes no new files."""
    if not os.access(folder, os.W_OK | os.X_OK):
        why = f"{folder} is on a read-only file system" if _is_read_only(folder) else f"no permission in {folder}"
        raise RequestError(f"{path} cannot be written: {why}.")


def _is_read_only(folder: Path) -> bool:
    try:
        return bool(os.statvfs(folder).f_flag & os.ST_RDONLY)
    except (AttributeError, OSError):  # AttributeError: Windows
        return False


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """An empty file beside `path` to be filled in the block, and put in place of `path` in one step when it ends.

    Whoever reads `path` at any moment, also after a crash, finds the old file or the new one. The name of the file
    aside is drawn at random and made exclusively: processes of several machines may write one path at the same time.
    It ends as `path` does, because writers look at endings.

    Raises:
        OSError: no space, or no permission; `path` is as it was.
    """
    aside = path.with_name(f".aside-{secrets.token_hex(8)}-{path.name}")  # as `_ASIDE`
    aside.touch(exist_ok=False)
    try:
        yield aside
        with open(aside, "rb+") as written:
            os.fsync(written.fileno())
        os.replace(aside, path)
    finally:
        with suppress(OSError):  # which would hide what went wrong
            aside.unlink(missing_ok=True)


def write_whole(path: Path, write: Callable[[Path], Any]) -> None:
    """Has `write` fill a file aside, then puts it in place of `path`, see `replacing`.

    Raises:
        FailureError: no space, or no permission; `path` is as it was.
    """
    try:
        with replacing(path) as aside:
            write(aside)
    except OSError as error:
        raise FailureError(f"{path} cannot be written: {error.strerror or error}.") from error


def check_free(out: Path, mark: str, command: str, *, overwrite: bool) -> None:
    """Raises a `RequestError` where a folder cannot be written, without touching anything: called before the long work.

    Args:
        out: the folder.
        mark: the file by which what `command` wrote is known.
        command: as it is typed.
        overwrite: what it wrote may be replaced.
    """
    if (out / mark).is_file():
        if not overwrite:
            raise RequestError(f"{out} already holds a set; choose another folder, or --overwrite to replace it.")
    elif out.is_dir() and any(out.iterdir()):
        raise RequestError(f"{out} holds something that `{command}` did not write; choose another folder.")
    elif os.path.lexists(out) and not out.is_dir():
        raise RequestError(f"{out} is a file; choose a folder.")
    standing = next(parent for parent in (out, *out.absolute().parents) if parent.exists())
    check_writable(out, standing)


def write_folder(out: Path, fill: Callable[[Path], None]) -> None:
    """Has `fill` make a folder aside, then puts it in place of `out`, which is as it was if that fails.

    Raises:
        FailureError: no space, or no permission.
    """
    aside = out.with_name(f".aside-{secrets.token_hex(8)}-{out.name}")
    try:
        aside.mkdir(parents=True)
        fill(aside)
        if out.exists():
            shutil.rmtree(out)  # no system replaces a folder that is not empty
        aside.rename(out)
    except OSError as error:
        raise FailureError(f"{out} cannot be written: {error.strerror or error}.") from error
    finally:
        shutil.rmtree(aside, ignore_errors=True)
