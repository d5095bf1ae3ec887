"""Every file opened once, in threads, and what was found kept for the next start."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

from recipes.data import cache
from recipes.data.decoding import ImageError, Look, look, pillow_warnings
from recipes.support.threads import in_threads, progress

_KEPT_EVERY = 2_000  # files; a start that is broken off loses no more than these


@dataclass(frozen=True)
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


def examine(paths: Sequence[str], *, quiet: bool = False) -> list[Examined]:
    """Opens and decodes every file whose size or time has changed since it was last examined.

    Args:
        paths: files that exist.
        quiet: no progress bar on stderr.
    """
    known = {path: _from_json(facts) for path, facts in cache.recall(paths).items()}
    fresh = [path for path in paths if path not in known]
    with pillow_warnings():
        done = progress(in_threads(_examined, fresh), len(fresh), "looking at images", quiet=quiet)
        while some := list(islice(done, _KEPT_EVERY)):
            cache.remember((path, when, _to_json(found)) for path, when, found in some if found.kind != "unreadable")
            known.update((path, found) for path, _, found in some)
    return [known[path] for path in paths]


def _examined(path: str) -> tuple[str, tuple[int, int] | None, Examined]:
    when = cache.state(path)  # before it is opened: a file that changes meanwhile is looked at again
    try:
        return path, when, Examined(look(path))
    except ImageError as error:
        return path, when, Examined(None, error.kind, error.detail)


def _to_json(found: Examined) -> dict[str, Any]:
    if found.look is None:
        return {"kind": found.kind, "detail": found.detail}
    facts = vars(found.look)
    return facts | {name: facts[name].hex() for name in ("digest", "thumbnail")}


def _from_json(facts: dict[str, Any]) -> Examined:
    if "thumbnail" not in facts:
        return Examined(None, facts["kind"], facts["detail"])
    return Examined(Look(**facts | {name: bytes.fromhex(facts[name]) for name in ("digest", "thumbnail")}))
