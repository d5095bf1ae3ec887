"""The two ways a call can go wrong, each told in one line."""

from collections.abc import Iterable
from difflib import get_close_matches

__all__ = ["FailureError", "RequestError", "unknown"]


class RequestError(ValueError):
    """What was asked for cannot be done as asked: a wrong name, value or file. Exit code 2."""


class FailureError(RuntimeError):
    """What was asked for was tried, and did not succeed. Exit code 1."""


def first_line(error: BaseException) -> str:
    """What another package says of its error, in one line; the error's kind if it says nothing.

    >>> first_line(OSError("no such device\\n  in the machine")), first_line(EOFError())
    ('no such device', 'EOFError')
    """
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


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
    names = sorted(allowed)
    near = get_close_matches(received.lower(), names, n=1, cutoff=0.5)
    meant = f" did you mean {near[0]!r}?" if near else ""
    shown = f" Allowed: {', '.join(names)}." if len(names) <= 12 or not hint else f" {hint}"
    return RequestError(
        f"unknown {kind} {received!r}:{meant}{shown}" if meant else f"unknown {kind} {received!r}.{shown}"
    )
