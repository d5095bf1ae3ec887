"""Every file opened once, in threads, and what was found kept for the next start."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import numpy as np

from recipes.data import cache
from recipes.data.cache import Known
from recipes.data.checks.looks import LazyRows, Looks
from recipes.data.decoding import ImageError, Look, digest_of, look, pillow_warnings
from recipes.data.identity import Identity, identity, trusted_devices
from recipes.support.threads import in_threads, progress

_AT_ONCE = 2_000  # files whose facts are objects at a time; a start that is broken off loses no more than these


@dataclass(frozen=True, slots=True)
class Examined:
    """One file: either a `look` at the image, or the `kind` and `detail` of what is wrong with it."""

    look: Look | None
    kind: str = ""
    detail: str = ""

    def look_at(self, path: str) -> Look:
        """The look, where there must be one.

        Raises:
            ImageError: the file cannot be used.
        """
        if self.look is None:
            raise ImageError(path, self.kind, self.detail)
        return self.look


class Examination(LazyRows[Examined]):
    """What was found of N files.

    Attributes:
        usable: bool (N,).
        looks: at all of them; those at files that cannot be used are empty.
    """

    def __init__(self, count: int) -> None:
        self.usable, self.looks = np.zeros(count, bool), Looks(count)
        self._wrong: dict[int, tuple[str, str]] = {}  # kind and detail, by row

    def put(self, row: int, found: Examined) -> None:
        """Keeps what was found of a file."""
        if found.look is None:
            self._wrong[row] = (found.kind, found.detail)
            return
        self.usable[row] = True
        self.looks.put(row, found.look)

    def __len__(self) -> int:
        return len(self.usable)

    def made(self, row: int) -> Examined:
        return Examined(self.looks[row]) if self.usable[row] else Examined(None, *self._wrong[row])


def examine(paths: Sequence[str], *, quiet: bool = False) -> Examination:
    """Opens and decodes every file whose content is not known; reads those that may have changed, see `cache.recall`.

    Args:
        paths: files that exist.
        quiet: no progress bar on stderr.
    """
    made = Examination(len(paths))
    with pillow_warnings():
        for row, found in progress(_all(paths), len(paths), "looking at images", quiet=quiet):
            made.put(row, found)
    return made


def _all(paths: Sequence[str]) -> Iterator[tuple[int, Examined]]:
    """The row of each file, and what is found, in no order."""
    trusted = trusted_devices()
    for start in range(0, len(paths), _AT_ONCE):
        some = paths[start : start + _AT_ONCE]
        known: dict[str, Examined] = {}
        before: dict[str, Known] = {}
        for path, one in cache.recall(some):
            if _is_whole(one):
                if one.is_certain:
                    known[path] = _from_json(one.facts)
                else:
                    before[path] = one
        yield from ((row, known[path]) for row, path in enumerate(some, start) if path in known)
        fresh = {row: path for row, path in enumerate(some, start) if path not in known}
        found: list[_Found] = []
        looked = in_threads(partial(_examined, before=before, trusted=trusted), list(fresh.values()))
        for row, result in zip(fresh, looked, strict=True):
            found.append(result)
            yield row, result[-1]
        cache.remember((path, when, digest, _to_json(image)) for path, when, digest, image in found if digest)


_Found = tuple[str, Identity | None, bytes, Examined]


def _examined(path: str, before: Mapping[str, Known], trusted: frozenset[int]) -> _Found:
    """Path, identity and digest of a file, and what is found; no digest where it is not to be remembered."""
    earlier = before.get(path)
    when = identity(path)  # before it is opened: a file that changes meanwhile is looked at again
    try:
        if earlier is not None and digest_of(path) == earlier.digest:
            is_news = when is not None and when.settled and when.facts[0] in trusted  # it need not be read next time
            return path, when, earlier.digest if is_news else b"", _from_json(earlier.facts)
        found = look(path)
        return path, when, found.digest, Examined(found)
    except ImageError as error:
        wrong = Examined(None, error.kind, error.detail)
    return path, when, _digest_of_bad(path), wrong


def _digest_of_bad(path: str) -> bytes:
    """The digest of a file that cannot be used; none where that need not be so next time."""
    try:
        digest = digest_of(path)
        try:
            look(path)
        except ImageError as error:
            lasts = error.kind not in ("changed", "unreadable", "missing") and digest_of(path) == digest
            return digest if lasts else b""
    except ImageError:
        pass
    return b""


def _is_whole(known: Known) -> bool:
    """Whether facts are those of an image: a file's digest alone may have been kept for another purpose."""
    return "thumbnail" in known.facts or "kind" in known.facts


def _to_json(found: Examined) -> dict[str, Any]:
    if found.look is None:
        return {"kind": found.kind, "detail": found.detail}
    facts = asdict(found.look)
    return facts | {name: facts[name].hex() for name in ("digest", "thumbnail")}


def _from_json(facts: dict[str, Any]) -> Examined:
    if "thumbnail" not in facts:
        return Examined(None, facts["kind"], facts["detail"])
    return Examined(Look(**facts | {name: bytes.fromhex(facts[name]) for name in ("digest", "thumbnail")}))
