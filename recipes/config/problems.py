"""What pydantic finds wrong with settings, as one line."""

import re
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
        raise RequestError(f"{called}: {_first_problem(error, kind, settings, noun, allowed)}") from None


def _first_problem(
    error: ValidationError, kind: type[BaseModel], settings: Mapping[str, Any], noun: str, allowed: str
) -> str:
    problems = error.errors()
    problem = min(problems, key=lambda one: one["type"] == "missing")  # what is there and wrong comes first
    place = _place(problem, settings)
    *tables, key = place or [""]
    where = ".".join([*tables, key]).strip(".")
    if problem["type"] == "extra_forbidden" and not (allowed and tables):
        return str(unknown(noun, where, [".".join([*tables, name]) for name in _keys(kind, tables)]))
    if problem["type"] == "missing" and not allowed:
        return f"{where} is missing."
    if problem["type"] == "literal_error" and isinstance(problem["input"], str) and not allowed:
        return str(unknown(where, problem["input"], re.findall("'([^']*)'", problem["ctx"]["expected"])))
    words = problem["msg"].removeprefix("Value error, ").rstrip(".")
    if not where:
        return f"{words}."
    if allowed:  # the value is one of several kinds, and is held against each
        own = (one["msg"] for one in problems if one["loc"][:2] == problem["loc"][:2])
        words = next((msg.removeprefix("Value error, ") for msg in own if "dictionary" not in msg), words)
        return f"{'.'.join([*tables, key][:2])}: {words[0].lower()}{words[1:]}; allowed: {allowed}."
    if problem["type"] == "value_error" and isinstance(problem["input"], dict):
        return f"{where}: {words}."  # about several of its settings, which the message names
    alike = [one["msg"] for one in problems if one != problem and _place(one, settings) == place]
    if alike:  # the value may be of several kinds, and is of none
        words = " or ".join([words.split(",")[0], *(msg.removeprefix("Input should be ") for msg in alike)])
    return f"{where}={brief(problem['input'])} is not possible: {words[0].lower()}{words[1:]}."


def _place(problem: Any, settings: Any) -> list[str]:
    """The keys that lead to what is wrong, without pydantic's names for the kinds that a value may be of."""
    place = []
    for part in problem["loc"]:
        inside = range(len(settings)) if isinstance(settings, list | tuple) else settings
        if isinstance(inside, Mapping | range) and part in inside:
            place.append(_printable(part))
            settings = settings[part]
    if problem["type"] == "missing":
        place.append(_printable(problem["loc"][-1]))
    return place


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
