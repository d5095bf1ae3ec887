"""Tables and numbers as text."""

import math
from collections.abc import Iterable, Sequence

SHOWN = 8  # mistakes; --json has more


def table(header: Sequence[str], rows: Iterable[Sequence[str]], right: Iterable[int] = ()) -> str:
    """Columns as wide as their widest entry; an empty header is left out. Nothing is ever cut off."""
    rows, right = list(rows), set(right)
    lines = [header, *rows] if any(header) else rows
    widths = [max(len(line[i]) for line in lines) for i in range(len(header))]
    return "\n".join(
        "  ".join(
            cell.rjust(width) if i in right else cell.ljust(width)
            for i, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    )


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
