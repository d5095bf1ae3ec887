"""The names of classes as text: which names there may be, and the one way they are written to a list and read back."""

import unicodedata
from collections.abc import Iterable, Sequence

from zoo.errors import RequestError

_JOINERS = "\u200c\u200d"


def fault_of_name(name: str) -> str | None:
    """What keeps a text from being the name of a class; None if nothing does.

    A name is one line of visible text: whatever is accepted comes back the same from `labels.txt`, from split tables,
    metadata, JSON and C headers. Blanks of any width, quotes, commas and accents, composed or not, are kept as they
    are; so are the joiners that Persian and the languages of India write words with.

    >>> fault_of_name("cat"), fault_of_name("cat\\n"), fault_of_name("")
    (None, "holds the character '\\\\n'", 'is empty')
    """
    if not name or name.isspace():
        return "is empty"
    odd = next((character for character in name if not _is_text(character)), None)
    return f"holds the character {odd!a}" if odd is not None else None


def _is_text(character: str) -> bool:
    return character.isprintable() or character in _JOINERS or unicodedata.category(character) == "Zs"


def alike(name: str) -> str:
    """A text that is the same for names that differ in case, in blanks, or in how accents are encoded."""
    return " ".join(unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold()).split())


def quoted(text: str) -> str:
    """A text of a file in a message: one line of at most 100 characters, in quotes.

    >>> quoted("a\\tb"), len(quoted("x" * 5_000))
    ("'a\\\\tb'", 102)
    """
    return ascii(text if len(text) <= 100 else f"{text[:97]}...")


def check_names(names: Iterable[str], source: str) -> None:
    """Raises a `RequestError` for the first of `names` that cannot be the name of a class, or that is there twice."""
    seen = set()
    for name in names:
        if fault := fault_of_name(name):
            raise RequestError(
                f"{source}: the class {quoted(name)} {fault}; the name of a class must be plain text in UTF-8, "
                "in one line."
            )
        if name in seen:
            raise RequestError(f"{source} names the class {quoted(name)} twice.")
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


def check_count(names: Sequence[str], scores: object, source: object) -> None:
    """Raises a `RequestError` where there is not a name for each score: all names behind the fault would be shifted.

    Args:
        names: of the scores.
        scores: how many a model gives, as it says itself.
        source: what has both.
    """
    if len(names) != scores:
        raise RequestError(f"{source} has {len(names)} labels for {scores} scores.")
