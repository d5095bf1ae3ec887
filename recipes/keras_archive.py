"""What a `.keras` file must be before Keras is let near it: Keras trusts its sizes, and calls every fault missing."""

import json
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from zoo.errors import RequestError

SMALL = 64 * 2**20  # bytes that any archive may unfold to
RATIO = 20  # times its own size that a larger one may; weights hardly compress
_MEMBERS = {"config.json", "model.weights.h5"}
_WIDTHS = {"units", "filters", "output_dim", "input_dim"}


def check_archive(path: Path) -> None:
    """Looks through a `.keras` file without unfolding more than a part at a time.

    Raises:
        RequestError: it is missing, empty, truncated, damaged, not a Keras file, or would fill the memory.
    """
    if not path.exists():
        raise RequestError(f"{path} does not exist.")
    if path.is_dir():
        raise RequestError(f"{path} is a folder.")
    try:
        with zipfile.ZipFile(path) as archive:
            sizes = {entry.filename: entry.file_size for entry in archive.infolist()}
            _check_sizes(path, sum(sizes.values()))
            damaged = archive.testzip()
            if damaged or not set(sizes) >= _MEMBERS:
                raise RequestError(f"{path} is damaged: {damaged or 'it has no config.json or model.weights.h5'}.")
            config = json.loads(archive.read("config.json"))
    except (zipfile.BadZipFile, OSError, EOFError):
        why = "is empty" if path.stat().st_size == 0 else "is truncated or not a Keras file"
        raise RequestError(f"{path} {why}.") from None
    except (ValueError, RecursionError) as error:
        if isinstance(error, RequestError):
            raise
        raise RequestError(f"{path} is damaged: its config.json is not JSON.") from None
    # Every unit has a weight of its own: a layer wider than the weights have bytes is made up.
    widest = max(_widths(config), default=0)
    if widest > sizes["model.weights.h5"]:
        raise RequestError(f"{path} asks for a layer of {widest:,} units and does not bring the weights for it.")


def _check_sizes(path: Path, unfolded: int) -> None:
    packed = path.stat().st_size
    if unfolded > max(SMALL, RATIO * packed):
        raise RequestError(
            f"{path} unfolds from {packed:,} to {unfolded:,} bytes; allowed: {RATIO} times its size, or {SMALL:,}."
        )


def _widths(node: Any) -> Iterator[int]:
    """Numbers of units that a config asks for, wherever in it."""
    if isinstance(node, dict):
        for key, value in node.items():
            if key in _WIDTHS and isinstance(value, int):
                yield value
            yield from _widths(value)
    elif isinstance(node, list):
        for value in node:
            yield from _widths(value)
