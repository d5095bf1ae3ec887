"""Flatbuffers read as trees, with every offset and length checked against the bytes that there are.

The readers that the format's compiler makes believe both: a vector of four bytes that says it holds 2³² values is
read to the end of memory. Format: https://flatbuffers.dev/internals/
"""

import struct
from collections.abc import Mapping
from typing import Any

import numpy as np

# Of each table its fields in order: a scalar ("i4"), a text (`TEXT`), a vector of scalars ("[i4]"), a table's name, a
# list of one, a union (a dict from the number in the field before it, `FIELD_type`, to a table's name; that of None is
# for all other numbers), or None: not read.
Schema = Mapping[str, Mapping[str, Any]]
TEXT = "text"
_MAX_DEPTH = 16  # of tables in tables; ours have 7
_SCALARS = {"i1": "<b", "u1": "<B", "i4": "<i", "u4": "<I", "i8": "<q", "u8": "<Q", "f4": "<f"}


class DamageError(ValueError):
    """What a file cannot be read for, as the end of a sentence that begins with the file's name."""


def read(content: bytes | memoryview, schema: Schema, root: str) -> dict[str, Any]:
    """A flatbuffer as a tree: tables as dicts of the fields that are there, vectors of numbers as views of `content`.

    Args:
        content: the whole of it; other bytes may follow.
        schema: its tables.
        root: the table that it begins with.

    Raises:
        DamageError: an offset or a length leaves the bytes, a text is not UTF-8, or parts refer to each other so that
            the tree would be larger than the file.
    """
    reader = _Reader(memoryview(content), schema)
    return reader.table(reader.follow(0), root, 0)


class _Reader:
    def __init__(self, content: memoryview, schema: Schema) -> None:
        self._content = content
        self._schema = schema
        self._left = 2 * len(content) + 1024  # bytes that may still be read: parts may be shared, not multiplied

    def follow(self, at: int) -> int:
        """The place that an offset refers to."""
        place = at + int(self._scalar(at, "<I"))
        if place == at or place > len(self._content) - 4:
            raise DamageError("an offset leaves the file")
        return place

    def table(self, at: int, name: str, depth: int) -> dict[str, Any]:
        if depth > _MAX_DEPTH:
            raise DamageError("tables are nested without end")
        slots = self._slots(at)
        values: dict[str, Any] = {}
        for slot, (field, kind) in enumerate(self._schema[name].items()):
            if slot >= len(slots) or not slots[slot] or kind is None:
                continue
            place = at + slots[slot]
            if isinstance(kind, dict):
                kind = kind.get(values.get(f"{field}_type", 0), kind.get(None))
                if kind is None:
                    continue
            values[field] = self._value(place, kind, depth)
        return values

    def _value(self, at: int, kind: Any, depth: int) -> Any:
        if isinstance(kind, list):
            places = self._vector(self.follow(at), "<u4")[1]
            return [self.table(self.follow(place), kind[0], depth + 1) for place in places]
        if kind in _SCALARS:
            return self._scalar(at, _SCALARS[kind])
        if kind == TEXT:
            return self._text(self.follow(at))
        if kind.startswith("["):
            start, places = self._vector(self.follow(at), f"<{kind[1:-1]}")
            return np.frombuffer(self._content, f"<{kind[1:-1]}", len(places), start)
        return self.table(self.follow(at), kind, depth + 1)

    def _slots(self, at: int) -> list[int]:
        """Where the fields of a table are, relative to it; 0 for those that are not there."""
        where = at - int(self._scalar(at, "<i"))
        size, inline = (int(self._scalar(where + shift, "<H")) for shift in (0, 2))
        if size < 4 or size % 2 or where + size > len(self._content) or at + inline > len(self._content):
            raise DamageError("a table leaves the file")
        slots = list(struct.unpack_from(f"<{(size - 4) // 2}H", self._content, where + 4))
        if any(slot >= inline or 0 < slot < 4 for slot in slots):
            raise DamageError("a field is outside of its table")
        self._spend(inline + 4)
        return slots

    def _vector(self, at: int, dtype: str) -> tuple[int, range]:
        """Where the values of a vector begin, and the place of each."""
        count, width = int(self._scalar(at, "<I")), np.dtype(dtype).itemsize
        if at + 4 + count * width > len(self._content):
            raise DamageError(f"a vector of {count:,} values leaves the file")
        self._spend(count * width)
        return at + 4, range(at + 4, at + 4 + count * width, width)

    def _text(self, at: int) -> str:
        start, places = self._vector(at, "<u1")
        try:
            return bytes(self._content[start : start + len(places)]).decode("utf-8")
        except UnicodeDecodeError:
            raise DamageError("a text is not UTF-8") from None

    def _scalar(self, at: int, form: str) -> float:
        if not 0 <= at <= len(self._content) - struct.calcsize(form):
            raise DamageError("an offset leaves the file")
        value: float = struct.unpack_from(form, self._content, at)[0]
        return value

    def _spend(self, count: int) -> None:
        self._left -= count
        if self._left < 0:
            raise DamageError("its parts refer to each other again and again")
