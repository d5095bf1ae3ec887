"""The one way out to the terminal: what is printed cannot steer it, and printing never stops the work.

Names of files, classes and labels come from anywhere. A terminal obeys control characters in them: it clears the
screen, changes its title, shows another name than the file's. `outlets` puts an `Outlet` in place of `sys.stdout` and
`sys.stderr`, so that whoever prints, prints through it.
"""

import contextlib
import io
import os
import sys
import unicodedata
from collections.abc import Callable, Iterator
from typing import TextIO, cast

_JOINERS = "\u200c\u200d"  # invisible, but Persian, Hindi and emoji are spelt with them
_CONTROLS = {chr(code): f"\\x{code:02x}" for code in (*range(32), *range(127, 160))} | {
    "\n": "\\n",
    "\r": "\\r",
    "\t": "\\t",
}


def escaped(text: object, *, keep: str = "") -> str:
    r"""Text in which every character shows: others are written as Python writes them in a string.

    Others are control characters, line breaks of any kind, what turns the direction of writing, and halves of surrogate
    pairs, by which Python stands for bytes of a name that are not UTF-8. A text that is escaped stays as it is.

    Args:
        text: what is to be shown.
        keep: characters that stay as they are.

    >>> print(escaped("cat\x1b[2J\ndog"))
    cat\x1b[2J\ndog
    """
    text = str(text)
    if text.isprintable():
        return text
    return "".join(c if _shows(c) or c in keep else _written(c) for c in text)


def _shows(character: str) -> bool:
    return character.isprintable() or character in _JOINERS or unicodedata.category(character) == "Zs"


def _written(character: str) -> str:
    code = ord(character)
    if 0xDC80 <= code <= 0xDCFF:  # a byte, see `os.fsdecode`
        return f"\\x{code - 0xDC00:02x}"
    return _CONTROLS.get(character) or (f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}")


class Outlet(io.TextIOBase):
    """A stream of text whose lines are `escaped`, and whose failures are kept and not raised.

    Where the reader has gone, as `head` does, or the disk that it goes to is full, what follows is dropped.

    Args:
        stream: where the text goes.

    Attributes:
        failure: why what was written is lost; None if it is not, or if nobody reads it any more.
        unescaped: the same outlet for those who steer the terminal themselves, as a progress bar does.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._closed = False
        self.failure: Exception | None = None
        self.unescaped = _Unescaped(self)

    def write(self, text: str) -> int:
        if not isinstance(text, str):  # by which others find out whether a stream takes bytes
            raise TypeError(f"a str is printed, not {type(text).__name__}")
        self.pass_on(escaped(text, keep="\n"))
        return len(text)

    def pass_on(self, text: str) -> None:
        """Writes text as it is; a ? stands for what the stream's encoding lacks."""
        encoding = self.encoding
        self._attempt(lambda: self._stream.write(text.encode(encoding, "replace").decode(encoding)))

    def flush(self) -> None:
        self._attempt(self._stream.flush)

    def _attempt(self, do: Callable[[], object]) -> None:
        if self._closed:
            return
        try:
            do()
        except BrokenPipeError:
            self._drop()
        except (OSError, ValueError) as error:  # ValueError: the stream is closed
            self.failure = error
            self._drop()

    def _drop(self) -> None:
        """Has the system take what the stream still holds, or Python would fail at it when it ends."""
        self._closed = True
        with contextlib.suppress(OSError, ValueError):
            number = self._stream.fileno()  # first: a stream in memory has none
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, number)
            os.close(nowhere)

    @property
    def encoding(self) -> str:  # type: ignore[override]
        return getattr(self._stream, "encoding", None) or "utf-8"

    def writable(self) -> bool:
        return True

    def isatty(self) -> bool:
        try:
            return not self._closed and self._stream.isatty()
        except ValueError:
            return False

    def fileno(self) -> int:
        return self._stream.fileno()


class _Unescaped(io.TextIOBase):
    """An outlet's other side, see `unescaped`."""

    def __init__(self, outlet: Outlet) -> None:
        self._outlet = outlet

    def write(self, text: str) -> int:
        self._outlet.pass_on(text)
        return len(text)

    def flush(self) -> None:
        self._outlet.flush()

    @property
    def encoding(self) -> str:  # type: ignore[override]
        return self._outlet.encoding

    def writable(self) -> bool:
        return True

    def isatty(self) -> bool:
        return self._outlet.isatty()

    def fileno(self) -> int:
        return self._outlet.fileno()


def unescaped(stream: TextIO) -> TextIO:
    """The stream on which control characters stay what they are, for progress bars and colours."""
    return cast(TextIO, stream.unescaped) if isinstance(stream, Outlet) else stream


@contextlib.contextmanager
def outlets() -> Iterator[tuple[Outlet, Outlet]]:
    """Puts an outlet in place of `sys.stdout` and of `sys.stderr` while the block runs; yields both.

    Streams that the process was started without go nowhere.
    """
    open_standard_files()
    kept = sys.stdout, sys.stderr
    with open(os.devnull, "w", encoding="utf-8") as nowhere:
        out, err = (Outlet(stream or nowhere) for stream in kept)
        sys.stdout, sys.stderr = cast(TextIO, out), cast(TextIO, err)
        try:
            yield out, err
        finally:
            out.flush()
            err.flush()
            sys.stdout, sys.stderr = kept


def open_standard_files() -> None:
    """A process may be started without the files 0, 1 and 2; the next one that it opens would be taken for them."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # the lowest number that is free
