"""The user's cache folder: what was found out about files, and images brought to a size. Safe to delete any time."""

import json
import os
import sqlite3
import sys
from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

from recipes.support.files import replacing
from zoo.cache import cache_folder

VERSION = 1  # of what is kept about a file; another version does not read the older one's


def state(path: str) -> tuple[int, int] | None:
    """Size and time of the last change in ns: what tells that a file is still the one that was looked at."""
    try:
        facts = os.stat(path)
    except OSError:
        return None
    return facts.st_size, facts.st_mtime_ns


def recall(paths: Sequence[str]) -> dict[str, dict[str, Any]]:
    """What is known about those of `paths` that have not changed since `remember`; empty where there is no cache."""
    file = cache_folder() / "files.sqlite"
    if not file.is_file():
        return {}
    known = {}
    try:
        with closing(sqlite3.connect(file, timeout=10)) as database:
            for start in range(0, len(paths), 500):
                some = [os.path.abspath(path) for path in paths[start : start + 500]]
                asked = ", ".join("?" * len(some))
                rows = database.execute(
                    f"SELECT path, size, changed, facts FROM files WHERE version = {VERSION} AND path IN ({asked})",
                    [path.encode("utf-8", "surrogateescape") for path in some],
                )
                by_path = {os.fsdecode(path): ((size, changed), facts) for path, size, changed, facts in rows}
                for path, absolute in zip(paths[start : start + 500], some, strict=True):
                    when, facts = by_path.get(absolute, (None, ""))
                    if when is not None and when == state(path):
                        known[path] = json.loads(facts)
    except (sqlite3.Error, ValueError):
        return {}  # a damaged cache is no reason not to look afresh
    return known


def remember(facts: Iterable[tuple[str, tuple[int, int] | None, Mapping[str, Any]]]) -> None:
    """Keeps facts (path, state before it was looked at, what was found); says so in one line where it cannot."""
    rows = [
        (os.path.abspath(path).encode("utf-8", "surrogateescape"), *when, VERSION, json.dumps(found))
        for path, when, found in facts
        if when is not None
    ]
    if not rows:
        return
    folder = cache_folder()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with closing(sqlite3.connect(folder / "files.sqlite", timeout=10)) as database, database:
            database.execute(
                "CREATE TABLE IF NOT EXISTS files "
                "(path BLOB PRIMARY KEY, size INTEGER, changed INTEGER, version INTEGER, facts TEXT)"
            )
            database.executemany("INSERT OR REPLACE INTO files VALUES (?, ?, ?, ?, ?)", rows)
    except (OSError, sqlite3.Error) as error:
        say(f"{folder} cannot be written ({error}): the next start looks at every file again.")


def write(file: Path, text: str) -> None:
    """Writes a file of the cache whole or not at all; without the cache, things take longer, that is all."""
    with suppress(OSError):
        file.parent.mkdir(parents=True, exist_ok=True)
        with replacing(file) as aside:
            aside.write_text(text, "utf-8")


def say(line: str) -> None:
    """One line on stderr, so that stdout holds results only."""
    print(line, file=sys.stderr)
