"""What looks at many files told, a few hundred bytes a file: sets of millions must not take as many objects."""

from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar, overload

import numpy as np

from recipes.data.decoding import THUMBNAIL, Look

Row = TypeVar("Row")
_Rest = tuple[str, str, bool, bool, int, str]  # of a look, what many files have in common


class LazyRows(Sequence[Row]):
    """What is made of a row, 0 to N - 1, when it is asked for."""

    def made(self, row: int) -> Row:
        """That of one row."""
        raise NotImplementedError

    @overload
    def __getitem__(self, row: int) -> Row: ...
    @overload
    def __getitem__(self, row: slice) -> list[Row]: ...
    def __getitem__(self, row: int | slice) -> Row | list[Row]:
        rows = range(len(self))[row]
        return self.made(rows) if isinstance(rows, int) else [self.made(one) for one in rows]


class Looks(LazyRows[Look]):
    """A `Look` for each of N files, kept in columns and made when it is asked for.

    Attributes:
        digests: (N,) of 20 bytes.
        thumbnails: uint8 (N, 16, 18).
        sides: int32 (N, 2), width and height.
    """

    def __init__(self, count: int) -> None:
        width, height = THUMBNAIL
        self.digests = np.zeros(count, "V20")
        self.thumbnails = np.zeros((count, height, width), np.uint8)
        self.sides = np.zeros((count, 2), np.int32)
        self._kinds: dict[_Rest, int] = {}
        self._rests: list[_Rest] = []
        self._rest = np.zeros(count, np.int32)  # into `_rests`

    @classmethod
    def of(cls, looks: Iterable[Look]) -> "Looks":
        """The looks in columns."""
        given = list(looks)
        made = cls(len(given))
        for row, look in enumerate(given):
            made.put(row, look)
        return made

    def put(self, row: int, look: Look) -> None:
        """Keeps the look at a file."""
        self.digests[row] = np.void(look.digest)
        self.thumbnails[row] = np.frombuffer(look.thumbnail, np.uint8).reshape(self.thumbnails.shape[1:])
        self.sides[row] = look.width, look.height
        rest = (look.format, look.mode, look.animated, look.transparent, look.top, look.depth)
        if rest not in self._kinds:
            self._kinds[rest] = len(self._rests)
            self._rests.append(rest)
        self._rest[row] = self._kinds[rest]

    def only(self, chosen: np.ndarray) -> "Looks":
        """Those of a mask, bool (N,); this object itself where these are all."""
        if chosen.all():
            return self
        made = Looks(0)
        made.digests, made.thumbnails, made.sides = self.digests[chosen], self.thumbnails[chosen], self.sides[chosen]
        made._kinds, made._rests, made._rest = self._kinds, self._rests, self._rest[chosen]
        return made

    def __len__(self) -> int:
        return len(self._rest)

    def made(self, row: int) -> Look:
        format_, mode, animated, transparent, top, depth = self._rests[self._rest[row]]
        width, height = (int(side) for side in self.sides[row])
        digest, thumbnail = self.digests[row].tobytes(), self.thumbnails[row].tobytes()
        return Look(format_, mode, width, height, animated, transparent, digest, thumbnail, top, depth)


class LazyTexts(LazyRows[str]):
    """Texts that are made when they are asked for.

    Args:
        count: how many there are.
        make: from the number of one to its text.
    """

    def __init__(self, count: int, make: Callable[[int], str]) -> None:
        self._count, self._make = count, make

    def __len__(self) -> int:
        return self._count

    def made(self, row: int) -> str:
        return self._make(row)
