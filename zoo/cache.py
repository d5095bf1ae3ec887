"""The user's home folder and cache folder; the latter is safe to delete any time."""

import os
from pathlib import Path


def expanded(path: str | Path) -> Path:
    """A path with `~` and `~name` replaced by home folders; where there is no such home, the path as it is."""
    return Path(os.path.expanduser(path))


def cache_folder() -> Path:
    """`CONVZOO_CACHE`, or `convzoo` in `XDG_CACHE_HOME` or `~/.cache`.

    Where the user has no home folder it is one that cannot be made, and whoever asked goes on without a cache.
    """
    if own := os.environ.get("CONVZOO_CACHE"):
        return expanded(own)
    folder = expanded(os.environ.get("XDG_CACHE_HOME") or "~/.cache") / "convzoo"
    return Path(os.devnull, "convzoo") if folder.parts[0].startswith("~") else folder
