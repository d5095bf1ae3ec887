"""The user's cache folder: what was found out about files, and images brought to a size. Safe to delete any time."""

import hashlib
import json
import os
import re
import sqlite3
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import PIL

from recipes.data.decoding import digest_of
from recipes.data.identity import Identity, identity, trusted_devices
from recipes.support.files import replacing
from recipes.support.threads import in_threads
from zoo.cache import cache_folder
from zoo.terminal import escaped

VERSION = 2  # of what is kept about a file; another version does not read the older one's
_TABLE = f"files_{VERSION}_{re.sub(r'[^0-9A-Za-z]', '_', PIL.__version__)}"  # another Pillow may decode otherwise


@dataclass(frozen=True)
class Known:
    """What was found out about a file.

    Attributes:
        facts: what was remembered.
        digest: of the content that they are about.
        is_certain: the file cannot have changed since; if not, its content has to be compared.
    """

    facts: dict[str, Any]
    digest: bytes
    is_certain: bool


def recall(paths: Sequence[str]) -> Iterator[tuple[str, Known]]:
    """What is known about those of `paths` that were remembered, one by one, in no order; none without a cache.

    A file is certainly the same where device, inode, size and both of its times are, its last change was already a
    while ago when it was looked at, and its file system lets no program set the time of change.
    """
    file = cache_folder() / "files.sqlite"
    if not file.is_file():
        return
    trusted, damaged = trusted_devices(), 0
    for path, key, row in _rows(file, paths):
        when, settled, digest, facts, seal = row
        if seal != _seal(key, when, settled, digest, facts):
            damaged += 1
        elif (now := identity(path)) is not None:
            is_same = bool(settled) and json.loads(when) == list(now.facts)
            yield path, Known(json.loads(facts), digest, is_same and now.facts[0] in trusted)
    if damaged:
        say(f"{file} is damaged in {damaged:,} row{'s' * (damaged != 1)}: the files are looked at again.")


def _rows(file: Path, paths: Sequence[str]) -> Iterator[tuple[str, bytes, Sequence[Any]]]:
    """Path, key and columns of those `paths` that are in the database, up to where it is damaged, which heals it."""
    try:
        with closing(sqlite3.connect(file, timeout=10)) as database:
            for start in range(0, len(paths), 500):
                some = {_key(path): path for path in paths[start : start + 500]}
                asked = ", ".join("?" * len(some))
                rows = database.execute(f"SELECT path, {_COLUMNS} FROM {_TABLE} WHERE path IN ({asked})", list(some))
                yield from [(some[key], key, row) for key, *row in rows]
    except (sqlite3.DatabaseError, KeyError, UnicodeDecodeError) as error:  # the last: of a name in the schema
        if _is_no_damage(error):  # things take longer, that is all
            return
        _discard(file)


def _discard(file: Path) -> None:
    """Removes a damaged database, which the next to remember something makes again."""
    say(f"{file} is damaged: files are looked at again.")
    for part in (file, file.with_name(f"{file.name}-journal")):
        with suppress(OSError):
            part.unlink()


def _is_no_damage(error: Exception) -> bool:
    """Whether there is no such table yet, or the system stands in the way: a lock that lasts, a permission."""
    if not isinstance(error, sqlite3.OperationalError):
        return False
    code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF  # its low byte; Python's own have none
    return code != sqlite3.SQLITE_ERROR or str(error) == f"no such table: {_TABLE}"


def remember(found: Iterable[tuple[str, Identity | None, bytes, Mapping[str, Any]]]) -> None:
    """Keeps facts (path, identity before it was read, digest, what was found); says so in one line where it cannot."""
    rows = []
    for path, when, digest, facts in found:
        if when is not None:
            row = (_key(path), json.dumps(when.facts), int(when.settled), digest, json.dumps(facts))
            rows.append((*row, _seal(*row)))
    if not rows:
        return
    folder = cache_folder()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with closing(sqlite3.connect(folder / "files.sqlite", timeout=10)) as database, database:
            database.execute(f"CREATE TABLE IF NOT EXISTS {_TABLE} (path BLOB PRIMARY KEY, {_COLUMNS})")
            database.executemany(f"INSERT OR REPLACE INTO {_TABLE} VALUES (?, ?, ?, ?, ?, ?)", rows)
    except (OSError, sqlite3.Error, UnicodeDecodeError) as error:
        if isinstance(error, sqlite3.DatabaseError | UnicodeDecodeError) and not _is_no_damage(error):
            return _discard(folder / "files.sqlite")  # damage that is in the way of writing alone
        say(f"{folder} cannot be written ({error}): the next start looks at every file again.")


_COLUMNS = "identity, settled, digest, facts, seal"


def digests(paths: Sequence[str]) -> list[bytes]:
    """The digest of each file's content, read only where it may have changed since it was last asked.

    Raises:
        ImageError: a file cannot be read.
    """
    known = {path: one.digest for path, one in recall(paths) if one.is_certain}
    fresh = [path for path in paths if path not in known]
    before = [identity(path) for path in fresh]
    read = list(in_threads(digest_of, fresh))
    remember((path, when, digest, {}) for path, when, digest in zip(fresh, before, read, strict=True))
    known.update(zip(fresh, read, strict=True))
    return [known[path] for path in paths]


def _key(path: str) -> bytes:
    return os.path.abspath(path).encode("utf-8", "surrogateescape")


def _seal(key: bytes, when: str, settled: int, digest: bytes, facts: str) -> bytes:
    """Of a row: damaged ones are not believed."""
    return hashlib.blake2b(repr((key, when, settled, digest, facts)).encode(), digest_size=16).digest()


def write(file: Path, text: str) -> None:
    """Writes a file of the cache whole or not at all; without the cache, things take longer, that is all."""
    with suppress(OSError):
        file.parent.mkdir(parents=True, exist_ok=True)
        with replacing(file) as aside:
            aside.write_bytes(f"{_text_digest(text)}\n{text}".encode())


def read(file: Path) -> str | None:
    """What `write` wrote; None if it is not there, or not as it was, which a line tells."""
    try:
        digest, _, text = file.read_bytes().decode("utf-8", "replace").partition("\n")
    except OSError:
        return None
    if digest != _text_digest(text):
        say(f"{file} is damaged: it is made again.")
        return None
    return text


def _text_digest(text: str) -> str:
    return hashlib.blake2b(text.encode(), digest_size=20).hexdigest()


def say(line: str) -> None:
    """One line on stderr, so that stdout holds results only."""
    print(escaped(line), file=sys.stderr)
