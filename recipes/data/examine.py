"""Every file opened once, in threads, and what was found kept for the next start."""

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from typing import Any, TypeVar

from recipes.data import cache
from recipes.data.picture import Look, PictureError, look, pillow_warnings

THREADS = max(2, min(8, os.cpu_count() or 2))
_AT_ONCE = 8  # files that a thread is given at a time
_KEPT_EVERY = 2_000  # files; a start that is broken off loses no more than these

Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(frozen=True)
class Examined:
    """One file: either a `look` at the picture, or the `kind` and `detail` of what is wrong with it."""

    look: Look | None
    kind: str = ""
    detail: str = ""


def examine(paths: Sequence[str], *, quiet: bool = False) -> list[Examined]:
    """Opens and decodes every file whose size or time has changed since it was last examined.

    Args:
        paths: files that exist.
        quiet: no progress bar on stderr.
    """
    known = {path: _from_json(facts) for path, facts in cache.recall(paths).items()}
    fresh = [path for path in paths if path not in known]
    with pillow_warnings():
        done = progress(in_threads(_examined, fresh), len(fresh), "looking at pictures", quiet=quiet)
        while some := list(islice(done, _KEPT_EVERY)):
            cache.remember((path, when, _to_json(found)) for path, when, found in some if found.kind != "unreadable")
            known.update((path, found) for path, _, found in some)
    return [known[path] for path in paths]


def _examined(path: str) -> tuple[str, tuple[int, int] | None, Examined]:
    when = cache.state(path)  # before it is opened: a file that changes meanwhile is looked at again
    try:
        return path, when, Examined(look(path))
    except PictureError as error:
        return path, when, Examined(None, error.kind, error.detail)


def in_threads(work: Callable[[Item], Result], items: Sequence[Item]) -> Iterator[Result]:
    """Results in order; work is handed out a little ahead of the reader, so that results do not pile up."""

    def several(start: int) -> list[Result]:  # one by one, handing over would cost as much as a small picture
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

    console = Console(stderr=True)
    if quiet or not total or not console.is_terminal:
        yield from results
        return
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    with Progress(*columns, console=console, transient=True, refresh_per_second=4) as bar:
        yield from bar.track(results, total=total, description=what)


def _to_json(found: Examined) -> dict[str, Any]:
    if found.look is None:
        return {"kind": found.kind, "detail": found.detail}
    facts = vars(found.look)
    return facts | {name: facts[name].hex() for name in ("digest", "thumbnail")}


def _from_json(facts: dict[str, Any]) -> Examined:
    if "thumbnail" not in facts:
        return Examined(None, facts["kind"], facts["detail"])
    return Examined(Look(**facts | {name: bytes.fromhex(facts[name]) for name in ("digest", "thumbnail")}))
