"""The user's cache folder, safe to delete any time."""

import os
from pathlib import Path


def cache_folder() -> Path:
    """`CONVZOO_CACHE`, or `convzoo` in `XDG_CACHE_HOME` or `~/.cache`."""
    if own := os.environ.get("CONVZOO_CACHE"):
        return Path(own).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "convzoo"
