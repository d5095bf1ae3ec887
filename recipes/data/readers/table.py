"""A table of files and labels: CSV or TSV with a header."""

import csv
import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from recipes.data.checks.findings import Finding, shown
from recipes.data.dataset import PARTS, TaskName
from recipes.data.labels import LABEL_KINDS, SEVERAL_CLASSES, infer_kind
from recipes.data.listing import Listing
from recipes.data.readers.folder import PART_NAMES
from recipes.data.readers.reader import FileReader
from zoo.errors import RequestError, unknown

FIXED = ("file", "split", "group")


class TableReader(FileReader):
    """A table of files, each path relative to the table's own folder.

    The columns are `file`, then `label` (a class; several with `|` between them; or a number) or several columns of
    0 and 1, one a class; `split` (train, validation or test) and `group` may be there too. A `label` column is read as
    numbers if all of it is numbers and not all of them whole, as several classes if any holds a `|`, else as classes.
    """

    called = "TABLE.csv"
    endings = (".csv", ".tsv")

    def check_task(self) -> None:
        if self.task is not None and self.task not in LABEL_KINDS:
            raise unknown("task", self.task, LABEL_KINDS)

    @property
    def root(self) -> Path:
        return self.path.parent

    def list_files(self) -> Listing:
        return list_table(self.source, self.path, self.task)


def list_table(source: str, table: Path, task: TaskName | None = None) -> Listing:
    """Lists the files that a table names.

    Args:
        source: the table as the user wrote it.
        table: its file.
        task: how the labels are meant, if not as they look.

    Raises:
        RequestError: the table cannot be read, or a line of it; the message names the line.
    """
    columns, rows = _rows(table)
    if "file" not in columns:
        raise RequestError(f"{shown(table)} has no column `file`; it has {', '.join(columns)}.")
    if not rows:
        raise RequestError(f"{shown(table)} has no lines below its header.")
    files = [row["file"] for row in rows]
    _check_files(table, files)
    task, labels, class_names = _labels(table, columns, rows, task)
    missing = [
        Finding(shown(table.parent / file), "missing", f"does not exist; line {number} of {shown(table)} names it.")
        for number, file in enumerate(files, start=2)
        if not (table.parent / file).exists()
    ]
    listing = Listing(
        source=source,
        root=table.parent,
        names=tuple(files),
        labels=labels,
        class_names=class_names,
        task=task,
        parts=np.asarray(_parts(table, rows) if "split" in columns else [""] * len(rows), "U10"),
        groups=np.asarray([row["group"] for row in rows], object) if "group" in columns else None,
        meant=np.ones(len(rows), bool),
        findings=tuple(missing),
    )
    there = np.asarray([(table.parent / file).exists() for file in files], bool)
    return listing if there.all() else listing.only(there)


def _rows(table: Path) -> tuple[list[str], list[dict[str, str]]]:
    try:
        text = table.read_text("utf-8-sig")
    except UnicodeDecodeError:
        raise RequestError(f"{shown(table)} is not a table in UTF-8.") from None
    except OSError as error:
        raise RequestError(f"{shown(table)} cannot be read: {error.strerror}.") from None
    header = text.partition("\n")[0]
    delimiter = "\t" if table.suffix.lower() == ".tsv" else ";" if header.count(";") > header.count(",") else ","
    try:
        lines = [
            line for line in csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True) if any(line)
        ]
    except csv.Error as error:
        raise RequestError(f"{shown(table)} is not a table: {error}.") from None
    if not lines:
        raise RequestError(f"{shown(table)} is empty.")
    columns = [name.strip() for name in lines[0]]
    if len(set(columns)) < len(columns):
        raise RequestError(f"{shown(table)} names a column twice: {', '.join(columns)}.")
    for number, line in enumerate(lines[1:], start=2):
        if len(line) != len(columns):
            raise RequestError(f"{shown(table)} line {number} has {len(line)} columns, its header {len(columns)}.")
    return columns, [dict(zip(columns, map(str.strip, line), strict=True)) for line in lines[1:]]


def _check_files(table: Path, files: Sequence[str]) -> None:
    seen: dict[str, int] = {}
    for number, file in enumerate(files, start=2):
        if not file:
            raise RequestError(f"{shown(table)} line {number} names no file.")
        if file in seen:
            raise RequestError(f"{shown(table)} line {number}: {file} is already in line {seen[file]}.")
        seen[file] = number


def _parts(table: Path, rows: list[dict[str, str]]) -> list[str]:
    parts = []
    for number, row in enumerate(rows, start=2):
        if row["split"].lower() not in PART_NAMES:
            raise unknown(f"split in line {number} of {shown(table)}", row["split"], PARTS)
        parts.append(PART_NAMES[row["split"].lower()])
    return parts


def _labels(
    table: Path, columns: list[str], rows: list[dict[str, str]], task: TaskName | None
) -> tuple[TaskName, np.ndarray, tuple[str, ...]]:
    others = [name for name in columns if name not in FIXED]
    if "label" in others:
        if len(others) > 1:
            raise RequestError(
                f"{shown(table)} has a column `label` and also {next(n for n in others if n != 'label')!r}."
            )
        texts = [row["label"] for row in rows]
        kind = LABEL_KINDS[task] if task else infer_kind(texts)
        return kind.task, *kind.parse(texts, shown(table))
    if len(others) > 1 and SEVERAL_CLASSES.is_meant(task):
        return SEVERAL_CLASSES.task, *SEVERAL_CLASSES.parse_columns(rows, others, shown(table))
    raise RequestError(f"{shown(table)} has no column `label`; it has {', '.join(columns)}.")
