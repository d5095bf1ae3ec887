"""Every file opened once, in threads, and what was found kept for the next start."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import islice
from typing import Any

from recipes.data import cache
from recipes.data.cache import Known
from recipes.data.decoding import ImageError, Look, digest_of, look, pillow_warnings
from recipes.data.identity import Identity, identity, trusted_devices
from recipes.support.threads import in_threads, progress

_KEPT_EVERY = 2_000  # files; a start that is broken off loses no more than these


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


def examine(paths: Sequence[str], *, quiet: bool = False) -> list[Examined]:
    """Opens and decodes every file whose content is not known; reads those that may have changed, see `cache.recall`.

    Args:
        paths: files that exist.
        quiet: no progress bar on stderr.
    """
    known, before = {}, {}
    for path, one in cache.recall(paths):
        if _is_whole(one):
            if one.is_certain:
                known[path] = _from_json(one.facts)
            else:
                before[path] = one
    fresh = [path for path in paths if path not in known]
    trusted = trusted_devices()

    def examined(path: str) -> tuple[str, Identity | None, bytes, Examined]:
        return _examined(path, before.get(path), trusted)

    with pillow_warnings():
        done = progress(in_threads(examined, fresh), len(fresh), "looking at images", quiet=quiet)
        while some := list(islice(done, _KEPT_EVERY)):
            cache.remember((path, when, digest, _to_json(found)) for path, when, digest, found in some if digest)
            known.update((path, found) for path, _, _, found in some)
    return [known[path] for path in paths]


def _examined(path: str, before: Known | None, trusted: frozenset[int]) -> tuple[str, Identity | None, bytes, Examined]:
    """Path, identity and digest of a file, and what is found; no digest where it is not to be remembered."""
    when = identity(path)  # before it is opened: a file that changes meanwhile is looked at again
    try:
        if before is not None and digest_of(path) == before.digest:
            is_news = when is not None and when.settled and when.facts[0] in trusted  # it need not be read next time
            return path, when, before.digest if is_news else b"", _from_json(before.facts)
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
