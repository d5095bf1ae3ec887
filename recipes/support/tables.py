"""Tables, numbers and JSON as text."""

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from zoo.terminal import escaped

SHOWN = 8  # mistakes; --json has more


def table(header: Sequence[str], rows: Iterable[Sequence[str]], right: Iterable[int] = ()) -> str:
    """Columns as wide as their widest entry; an empty header is left out. Nothing is ever cut off.

    A row is a line, whatever is in it: see `zoo.terminal.escaped`.
    """
    rows, right = list(rows), set(right)
    lines = [[escaped(cell) for cell in line] for line in ([header, *rows] if any(header) else rows)]
    widths = [max(len(line[i]) for line in lines) for i in range(len(header))]
    return "\n".join(
        "  ".join(
            cell.rjust(width) if i in right else cell.ljust(width)
            for i, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    )


def some_of(names: Sequence[str], count: int = 5) -> str:
    """The first names, and whether there are more."""
    return ", ".join(names[:count]) + (", ..." if len(names) > count else "")


def lines(*parts: str) -> str:
    """Parts that are a line each, whatever is in them."""
    return "\n".join(map(escaped, parts))


def size(shape: Sequence[int | None]) -> str:
    """(32, 32, 3) as `32x32x3`."""
    return "x".join("any" if n is None else str(n) for n in shape)


def short(number: float) -> str:
    """1,369,738 as `1.37M`."""
    if math.isinf(number):
        return "?"
    for limit, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if number >= limit:
            return f"{number / limit:.3g}{unit}"
    return f"{number:g}"


def to_json(value: Any) -> str:
    """JSON with an entry a line, and lists without lists or entries in them on one: a matrix has a line a row.

    >>> print(to_json({"accuracy": 0.5, "confusion_matrix": [[1, 2], [3, 4]]}))
    {
     "accuracy": 0.5,
     "confusion_matrix": [
      [1, 2],
      [3, 4]
     ]
    }
    """
    return _to_json(value, "\n")


def _to_json(value: Any, line: str) -> str:
    inner = f"{line} "
    if isinstance(value, Mapping) and value:
        entries = (f"{json.dumps(str(key))}: {_to_json(entry, inner)}" for key, entry in value.items())
        return f"{{{inner}{f',{inner}'.join(entries)}{line}}}"
    if isinstance(value, list | tuple) and any(isinstance(entry, Mapping | list | tuple) for entry in value):
        return f"[{inner}{f',{inner}'.join(_to_json(entry, inner) for entry in value)}{line}]"
    return json.dumps(value)
