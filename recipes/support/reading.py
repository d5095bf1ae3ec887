"""Small text files, read back: whatever became of one, a line says which it is, what is wrong, and what to do.

All of a run's and a study's files, recipes and spaces are read here. Nothing that is read is believed before it was
looked at: what kind of file it is, its size, its encoding, its syntax, how deep it is nested, and its shape.
"""

import codecs
import csv
import io
import json
import os
import re
import reprlib
import stat
import tomllib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from zoo.errors import RequestError, first_line
from zoo.files import NOT_A_FILE

LARGEST = 2**27  # bytes of a file
LARGEST_TOML = 2**18  # Python's reader takes a time that grows with the square of what is nested
VALUES = 20_000_000  # in a file: each takes up to 100 bytes of memory
DEPTH = 32  # of what is nested: no file of ours comes near
LONGEST = 2**63  # whole numbers stay below, to be computed with
_SHORT = reprlib.Repr()
_SHORT.maxstring = _SHORT.maxother = 120
_DOTS = 256  # in a line of TOML: each part of a dotted key is a table in a table


@dataclass(frozen=True)
class Document:
    """A file of text.

    Attributes:
        path: where it is.
        way_on: what to do where it cannot be read, the rest of a sentence.
    """

    path: Path
    way_on: str = ""

    @property
    def is_there(self) -> bool:
        """Whether there is anything of that name, be it readable or not."""
        return os.path.lexists(self.path)

    def refused(self, why: str) -> RequestError:
        """The error (not raised) for a file that cannot be used."""
        return RequestError(f"{self.path} {why.rstrip('.')}{f': {self.way_on}' if self.way_on else ''}.")

    def content(self, largest: int = LARGEST) -> bytes:
        """Its bytes.

        Raises:
            RequestError: it is missing, a folder, a pipe or a device, too large, or cannot be read.
        """
        try:
            facts = os.stat(self.path)
            if not stat.S_ISREG(facts.st_mode):  # a pipe would be waited for, and a device may have no end
                raise self.refused("is a folder" if stat.S_ISDIR(facts.st_mode) else NOT_A_FILE)
            if facts.st_size > largest:
                raise self.refused(f"has {facts.st_size:,} bytes; allowed: {largest:,}")
            with open(self.path, "rb") as file:
                return file.read(facts.st_size)
        except (FileNotFoundError, NotADirectoryError):
            raise self.refused("does not exist") from None
        except OSError as error:
            raise self.refused(f"cannot be read: {error.strerror or error}") from None
        except ValueError as error:  # a name that no file can have
            raise RequestError(f"{brief(str(self.path))} cannot be read: {first_line(error)}.") from None

    def text(self, largest: int = LARGEST) -> str:
        """Its text, with line ends as they are and without a byte order mark.

        Raises:
            RequestError: as `content`, or it is not UTF-8.
        """
        content = self.content(largest).removeprefix(codecs.BOM_UTF8)
        try:
            return content.decode("utf-8")
        except UnicodeDecodeError as error:
            raise self.refused(f"is not text in UTF-8 (byte {error.start:,})") from None

    def json(self, shape: TypeAdapter[Any]) -> dict[str, Any]:
        """The JSON object that it holds, as it was read.

        Args:
            shape: what it must be; it is looked at, and converts nothing.

        Raises:
            RequestError: as `text`, or it is not JSON, or of another shape.
        """
        text = self.text()
        if text.count(",") + text.count("[") + text.count("{") > VALUES:
            raise self.refused(f"holds more than {VALUES:,} values")
        try:
            value = json.loads(text)
        except json.JSONDecodeError as error:
            raise self.refused(f"is not JSON (line {error.lineno:,}: {error.msg})") from None
        except (ValueError, RecursionError) as error:
            raise self.refused(f"cannot be read: {_of_parser(error)}") from None
        if not isinstance(value, dict):
            raise self.refused("is not a JSON object")
        self._check(value)
        try:
            shape.validate_python(value, strict=True)
        except ValidationError as error:
            raise self.refused(f"is not as it was written: {_problem(error)}") from None
        return value

    def toml(self) -> dict[str, Any]:
        """What it holds as TOML.

        Raises:
            RequestError: as `text`, or it is not TOML.
        """
        try:
            value = parse_toml(self.text(LARGEST_TOML))
        except ValueError as error:
            if isinstance(error, RequestError):
                raise
            raise self.refused(f"is not valid TOML: {error}") from None
        self._check(value)
        return value

    def rows(self, most: int, *needed: str) -> list[dict[str, str]]:
        """The lines of a CSV table below its header, by column; empty lines are left out.

        Args:
            most: rows that it may have.
            needed: columns that it must have.

        Raises:
            RequestError: as `text`, it lacks a column, or a line has not as many columns as the header.
        """
        reader = csv.reader(io.StringIO(self.text(), newline=""), strict=True)
        columns: list[str] = []
        rows: list[dict[str, str]] = []
        try:
            for line in reader:
                if not columns:
                    columns = line
                    if len(set(columns)) < len(columns):
                        raise self.refused("names a column twice")
                elif len(line) == len(columns):
                    rows.append(dict(zip(columns, line, strict=True)))
                elif line:
                    raise self.refused(
                        f"line {reader.line_num:,} has {len(line):,} columns, its header {len(columns):,}"
                    )
                if len(rows) > most:
                    raise self.refused(f"has more than {most:,} lines")
        except csv.Error as error:
            raise self.refused(f"is not a table: line {reader.line_num:,}: {error}") from None
        if lacking := [name for name in needed if name not in columns]:
            raise self.refused(f"has no column {lacking[0]}" if columns else "is empty")
        return rows

    def _check(self, value: Any) -> None:
        """Raises a `RequestError` for what is nested deeper, or for a whole number that is larger, than can be used."""
        level = [value]
        for _ in range(DEPTH):
            level = [child for parent in level if isinstance(parent, list | dict) for child in _children(parent)]
            if any(type(child) is int and not -LONGEST < child < LONGEST for child in level):
                raise self.refused("holds a whole number of more than 63 bits")
            if not level:
                return
        raise self.refused(f"is nested more than {DEPTH} levels deep")


def parse_toml(text: str) -> dict[str, Any]:
    """TOML as a dictionary.

    Raises:
        ValueError: it is not TOML, or nothing that a recipe holds; the message is one line.
    """
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    if any(line.count(".") > _DOTS for line in text.split("\n")):
        raise ValueError(f"a line has more than {_DOTS} dots")
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        raise
    except (ValueError, RecursionError) as error:
        raise ValueError(_of_parser(error)) from None


def _children(value: list[Any] | dict[str, Any]) -> Iterable[Any]:
    return value.values() if isinstance(value, dict) else value


def _of_parser(error: Exception) -> str:
    if isinstance(error, RecursionError):
        return "it is nested without end"
    return "it holds a number of thousands of digits" if "digits" in str(error) else first_line(error)


def _problem(error: ValidationError) -> str:
    """The first thing that is wrong with a shape."""
    problem = error.errors(include_url=False, include_context=False)[0]
    where = ".".join(str(part) for part in problem["loc"] if not re.fullmatch(r"[a-z]+\[.*|function-.*", str(part)))
    words = problem["msg"].removeprefix("Value error, ")
    if problem["type"] == "missing":
        return f"{where} is missing"
    return f"{f'{where} is ' if where else 'it is '}{brief(problem['input'])}; {words[0].lower()}{words[1:]}"


def brief(value: Any) -> str:
    """A value as one short line, whatever it is.

    >>> brief([1] * 100), brief("a\\nb")
    ('[1, 1, 1, 1, 1, 1, ...]', "'a\\\\nb'")
    """
    try:
        return _SHORT.repr(value)
    except ValueError:  # a whole number with more digits than Python writes
        return "a number of thousands of digits"
