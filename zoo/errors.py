"""The two ways a call can go wrong, each told in one line."""

import errno
import os
import re
import tempfile
from collections.abc import Iterable
from difflib import get_close_matches

__all__ = ["FailureError", "RequestError", "unknown"]

_FULL = {errno.ENOSPC, errno.EFBIG, errno.EDQUOT}
_MACHINE = _FULL | {errno.EROFS, errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EIO, errno.EACCES, errno.EPERM}
_HDF5 = re.compile(r"errno = (\d+)")  # as its library writes a number into a message


class RequestError(ValueError):
    """What was asked for cannot be done as asked: a wrong name, value or file. Exit code 2."""


class FailureError(RuntimeError):
    """What was asked for was tried, and did not succeed. Exit code 1."""


LONGEST = 500  # characters of what others say of an error; some print the whole file


def first_line(error: BaseException) -> str:
    """What another package says of its error, in one line; the error's kind if it says nothing.

    >>> first_line(OSError("no such device\\n  in the machine")), first_line(EOFError())
    ('no such device', 'EOFError')
    """
    line = (str(error).strip().splitlines() or [type(error).__name__])[0]
    return line if len(line) <= LONGEST else f"{line[:LONGEST]}..."


def of_machine(error: BaseException | None) -> FailureError | None:
    """Returns (does not raise) what the system is to blame for: a full disk, a permission; None if it is not.

    Whoever calls a file damaged because it could not be read asks this first.

    Args:
        error: what was caught; what it was raised from counts, too.
    """
    while error is not None:
        found = _HDF5.search(str(error)) if isinstance(error, OSError) else None
        number = int(found[1]) if found else getattr(error, "errno", None)
        if isinstance(error, MemoryError):
            return FailureError("there is not enough memory.")
        if isinstance(error, OSError) and number in _MACHINE:
            name = "" if error.filename is None else f"{os.fsdecode(error.filename)}: "
            room = f"; temporary files go to {tempfile.gettempdir()}, or where TMPDIR says" if number in _FULL else ""
            return FailureError(f"{name}{os.strerror(number)}{room}.")
        error = error.__cause__ or error.__context__
    return None


def nearest(received: str, allowed: Iterable[str]) -> str:
    """The question whether another name was meant, with a space before it; nothing if none is near.

    >>> nearest("lenet", ["lenet5", "mlp"])
    " did you mean 'lenet5'?"
    """
    near = get_close_matches(received.lower(), list(allowed), n=1, cutoff=0.5)
    return f" did you mean {near[0]!r}?" if near else ""


def unknown(kind: str, received: str, allowed: Iterable[str], hint: str = "") -> RequestError:
    """Returns (does not raise) the error for a name that is not among `allowed`.

    Args:
        kind: what the name names, in the singular: "model", "recipe".
        received: the name as the user wrote it.
        allowed: the names that would have been right.
        hint: where to find them all, used when there are too many to print.

    >>> raise unknown("model", "lenet", ["lenet5", "mlp"])
    Traceback (most recent call last):
    zoo.errors.RequestError: unknown model 'lenet': did you mean 'lenet5'? Allowed: lenet5, mlp.
    """
    names, received = sorted(allowed), received[:100]  # a file may have names without end
    meant = nearest(received, names)
    shown = f" Allowed: {', '.join(names)}." if len(names) <= 12 or not hint else f" {hint}"
    return RequestError(
        f"unknown {kind} {received!r}:{meant}{shown}" if meant else f"unknown {kind} {received!r}.{shown}"
    )
