"""Where values lie in memory while a network runs: the plan that TensorFlow Lite Micro makes, in the same way."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

ALIGNMENT = 16  # bytes; every buffer begins at a multiple, and takes one


@dataclass(frozen=True)
class Buffer:
    """Values that are kept for a while.

    Attributes:
        size: bytes.
        first, last: the steps, both included, between which they must be there.
    """

    size: int
    first: int
    last: int

    @property
    def room(self) -> int:
        """Bytes that it takes, with what aligns the next."""
        return -(-self.size // ALIGNMENT) * ALIGNMENT


def plan(buffers: Sequence[Buffer]) -> list[int]:
    """The place of each buffer, in bytes from the beginning: the largest first, each in the first gap that it fits.

    As `GreedyMemoryPlanner` in TensorFlow Lite Micro; of equal ones the last comes first.

    >>> plan([Buffer(16, 0, 1), Buffer(64, 1, 2), Buffer(32, 2, 3)])
    [64, 0, 64]
    """
    places = [0] * len(buffers)
    placed: list[int] = []  # in the order of their places
    for number in sorted(range(len(buffers)), key=lambda i: (-buffers[i].room, -i)):
        buffer, place = buffers[number], 0
        for other in placed:
            if buffers[other].first > buffer.last or buffers[other].last < buffer.first:
                continue
            if places[other] - place >= buffer.room:
                break
            place = max(place, places[other] + buffers[other].room)
        places[number] = place
        placed.append(number)
        placed.sort(key=places.__getitem__)
    return places


def peak(buffers: Sequence[Buffer]) -> int:
    """Bytes that all of them take where `plan` puts them."""
    return max((place + buffer.room for place, buffer in zip(plan(buffers), buffers, strict=True)), default=0)


class Timeline:
    """Operations one after another, and the values that they make of others."""

    def __init__(self) -> None:
        self._step = -1
        self._buffers: list[Buffer] = []

    def make(self, size: int, of: Sequence[int] = ()) -> int:
        """The next operation makes values of `size` bytes out of others, which are numbered; returns the number."""
        self._step += 1
        for number in of:
            self._buffers[number] = replace(self._buffers[number], last=self._step)
        self._buffers.append(Buffer(size, self._step, self._step))
        return len(self._buffers) - 1

    @property
    def peak(self) -> int:
        """Bytes that all values take."""
        return peak(self._buffers)
