"""Work on many files in threads, and a bar that shows how far it is."""

import os
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import islice
from typing import TypeVar

from zoo.terminal import unescaped

THREADS = max(2, min(8, os.cpu_count() or 2))
_AT_ONCE = 8  # files that a thread is given at a time

Item = TypeVar("Item")
Result = TypeVar("Result")


class Budget:
    """Something that threads take from and give back, bytes of memory for one; who would take too much waits.

    What is more than all there is waits until nobody else has any.
    """

    def __init__(self, total: int) -> None:
        self._total, self._used = total, 0
        self._changed = threading.Condition()

    @contextmanager
    def taken(self, amount: int) -> Iterator[None]:
        """Has `amount` while the block runs; a block must not take more inside."""
        with self._changed:
            self._changed.wait_for(lambda: not self._used or self._used + amount <= self._total)
            self._used += amount
        try:
            yield
        finally:
            with self._changed:
                self._used -= amount
                self._changed.notify_all()


def in_threads(work: Callable[[Item], Result], items: Sequence[Item]) -> Iterator[Result]:
    """Results in order; work is handed out a little ahead of the reader, so that results do not pile up."""

    def several(start: int) -> list[Result]:  # one by one, handing over would cost as much as a small image
        return [work(item) for item in items[start : start + _AT_ONCE]]

    starts = iter(range(0, len(items), _AT_ONCE))
    with ThreadPoolExecutor(THREADS) as pool:
        try:
            waiting = deque(pool.submit(several, start) for start in islice(starts, 2 * THREADS))
            while waiting:
                results = waiting.popleft().result()
                waiting.extend(pool.submit(several, start) for start in islice(starts, 1))
                yield from results
        finally:
            pool.shutdown(cancel_futures=True)


def progress(results: Iterable[Result], total: int, what: str, *, quiet: bool) -> Iterator[Result]:
    """Passes results on, with a bar on stderr if that is a terminal."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(file=unescaped(sys.stderr))
    if quiet or not total or not console.is_terminal:
        yield from results
        return
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    with Progress(*columns, console=console, transient=True, refresh_per_second=4) as bar:
        yield from bar.track(results, total=total, description=what)
