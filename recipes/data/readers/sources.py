"""What can stand after `--data`, and what it names."""

import os
from pathlib import Path
from typing import Literal

from recipes.data.checks.findings import shown
from recipes.data.dataset import Task
from recipes.data.labels import ONE_CLASS
from recipes.data.listing import Listing
from zoo.errors import RequestError, unknown

NAMED = ("digits",)
ALLOWED = (*NAMED, "tfds:NAME", "FOLDER", "TABLE.csv")
TABLES = (".csv", ".tsv")

Kind = Literal["digits", "tfds", "folder", "table", "idx"]


def check_source(source: str) -> None:
    """Answers at once, without opening an image, whether `source` can name data.

    Raises:
        RequestError: it cannot; the message says what is allowed and the nearest match.
    """
    kind_of(source)


def kind_of(source: str) -> Kind:
    """What sort of thing `source` names.

    A folder that TFDS wrote is `tfds`, one with IDX files `idx`. To read a folder that is called `digits`, write
    `./digits`.

    Raises:
        RequestError: as `check_source`.
    """
    if source in NAMED:
        return "digits"
    if source.startswith("tfds:") and source != "tfds:":
        return "tfds"
    path = Path(source).expanduser()
    try:
        is_folder, there = path.is_dir(), path.exists()
        below = sorted(os.listdir(path)) if is_folder else []
    except (OSError, ValueError) as error:
        raise RequestError(f"{shown(source)!r} cannot be read: {error}.") from None
    if is_folder:
        if "dataset_info.json" in below:
            return "tfds"
        from recipes.data.readers import idx

        return "idx" if idx.find(path) else "folder"
    if there and path.suffix.lower() in TABLES:
        return "table"
    if there:
        raise RequestError(f"{shown(source)} is neither a folder nor a table; allowed: {', '.join(ALLOWED)}.")
    if os.sep in source or path.suffix.lower() in TABLES or source.startswith(("~", ".")):
        raise RequestError(f"{shown(source)} does not exist.")
    raise unknown("data", source, ALLOWED)


def list_source(source: str, task: Task | None = None) -> Listing:
    """The files of a folder or a table, without opening any image.

    Raises:
        RequestError: it has no classes, or a line that is not possible.
    """
    if kind_of(source) == "table":
        from recipes.data.readers.table import list_table

        return list_table(source, task)
    from recipes.data.readers.folder import list_folder

    if not ONE_CLASS.is_meant(task):
        raise RequestError(f"{shown(source)} is a folder of classes: task={task!r} is not possible.")
    return list_folder(source)
