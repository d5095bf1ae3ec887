"""The names of classes as text: which names there may be, and the one way they are written to a list and read back."""

from collections.abc import Iterable, Sequence

from zoo.errors import RequestError


def fault_of_name(name: str) -> str | None:
    """What keeps a text from being the name of a class; None if nothing does.

    A name is one line of visible text: whatever is accepted comes back the same from `labels.txt`, from split tables,
    metadata, JSON and C headers. Blanks, quotes, commas and accents, composed or not, are kept as they are.

    >>> fault_of_name("cat"), fault_of_name("cat\\n"), fault_of_name("")
    (None, "holds the character '\\\\n'", 'is empty')
    """
    if not name or name.isspace():
        return "is empty"
    odd = next((character for character in name if not character.isprintable()), None)
    return f"holds the character {odd!a}" if odd is not None else None


def check_names(names: Iterable[str], source: str) -> None:
    """Raises a `RequestError` for the first of `names` that cannot be the name of a class, or that is there twice."""
    seen = set()
    for name in names:
        if fault := fault_of_name(name):
            raise RequestError(
                f"{source}: the class {name!a} {fault}; the name of a class must be plain text in UTF-8, in one line."
            )
        if name in seen:
            raise RequestError(f"{source} names the class {name!r} twice.")
        seen.add(name)


def to_lines(names: Sequence[str]) -> str:
    """A list of names, one a line.

    Raises:
        RequestError: a name that would not come back the same.
    """
    check_names(names, "labels.txt")
    return "".join(f"{name}\n" for name in names)


def from_lines(text: str) -> tuple[str, ...]:
    """The names of such a list, whatever it ends its lines with; the last line need not be ended.

    >>> from_lines("cat\\r\\n dog\\n")
    ('cat', ' dog')
    """
    lines = text.replace("\r\n", "\n").split("\n")
    return tuple(lines[:-1] if not lines[-1] else lines)


def check_count(names: Sequence[str], scores: int, source: object) -> None:
    """Raises a `RequestError` where there is not a name for each score: all names behind the fault would be shifted."""
    if len(names) != scores:
        raise RequestError(f"{source} has {len(names):,} labels for {scores:,} scores.")
