"""What pydantic finds wrong with settings, as one line."""

from collections.abc import Iterable, Mapping
from typing import Any, TypeVar, get_args

from pydantic import BaseModel, ValidationError

from recipes.support.reading import brief
from zoo.errors import RequestError, unknown

Settings = TypeVar("Settings", bound=BaseModel)


def validated(
    kind: type[Settings], settings: Mapping[str, Any], called: str, *, noun: str = "setting", allowed: str = ""
) -> Settings:
    """Settings as an object.

    Args:
        kind: the class of the object.
        settings: what was read or given.
        called: what a message begins with, as in `recipe mine.toml`.
        noun: what a key is called that `kind` does not have.
        allowed: what any value may be; if empty, it is in the words of what is wrong.

    Raises:
        RequestError: the first thing that is wrong: what was received, what is allowed, the nearest match.
    """
    try:
        return kind.model_validate(settings)
    except ValidationError as error:
        raise RequestError(f"{called}: {_first_problem(error, kind, noun, allowed)}") from None


def _first_problem(error: ValidationError, kind: type[BaseModel], noun: str, allowed: str) -> str:
    problem = error.errors()[0]
    *tables, key = map(_printable, problem["loc"]) if problem["loc"] else ("",)
    where = ".".join([*tables, key]).strip(".")
    if problem["type"] == "extra_forbidden" and not (allowed and tables):
        return str(unknown(noun, where, [".".join([*tables, name]) for name in _keys(kind, tables)]))
    if problem["type"] == "missing" and not allowed:
        return f"{where} is missing."
    words = problem["msg"].removeprefix("Value error, ").rstrip(".")
    if not where:
        return f"{words}."
    if allowed:  # the value is one of several kinds, and is held against each
        own = (one["msg"] for one in error.errors() if one["loc"][:2] == problem["loc"][:2])
        words = next((msg.removeprefix("Value error, ") for msg in own if "dictionary" not in msg), words)
        return f"{'.'.join([*tables, key][:2])}: {words[0].lower()}{words[1:]}; allowed: {allowed}."
    if problem["type"] == "value_error" and isinstance(problem["input"], dict):
        return f"{where}: {words}."  # about several of its settings, which the message names
    return f"{where}={brief(problem['input'])} is not possible: {words[0].lower()}{words[1:]}."


def _printable(part: str | int) -> str:
    """A key as a file has it, in its first line's worth."""
    key = str(part)
    return key if key.isprintable() and len(key) < 100 else brief(key)


def _keys(kind: Any, tables: Iterable[str]) -> Iterable[str]:
    """The names of the settings in a table of a table of `kind`; none where that is not of a fixed set."""
    for table in tables:
        field = getattr(kind, "model_fields", {}).get(table)
        annotation = field.annotation if field else None
        kind = next((one for one in get_args(annotation) if one is not type(None)), annotation)
    return getattr(kind, "model_fields", ())
