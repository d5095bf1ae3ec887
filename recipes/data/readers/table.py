"""A table of files and labels: CSV or TSV with a header."""

import contextlib
import csv
import io
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from recipes.data.checks.findings import Finding, shown
from recipes.data.dataset import PARTS, TaskName
from recipes.data.labels import BLANKS, LABEL_KINDS, SEVERAL_CLASSES, LabelKind, infer_kind
from recipes.data.listing import Listing
from recipes.data.names import alike, quoted
from recipes.data.readers.folder import PART_NAMES
from recipes.data.readers.reader import FileReader
from zoo.errors import RequestError, unknown
from zoo.files import check_file

FIXED = ("file", "split", "group")


class TableReader(FileReader):
    """A table of files, each path relative to the table's own folder, or absolute.

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
    columns, rows, lines = _rows(table)
    if "file" not in columns:
        raise RequestError(f"{shown(table)} has no column `file`; it has {_listed(columns)}.")
    if not rows:
        raise RequestError(f"{shown(table)} has no lines below its header.")
    files = [row["file"] for row in rows]
    _check_files(table, files, lines)
    kind, labels, class_names = _labels(table, columns, rows, lines, task)
    findings, there = _faults_of_files(table, files, lines)
    if "label" in columns and (loss := kind.loss([row["label"] for row in rows])):
        findings.append(Finding(shown(table), "precision", loss))
    listing = Listing(
        source=source,
        root=table.parent,
        names=tuple(files),
        labels=labels,
        class_names=class_names,
        task=kind.task,
        parts=np.asarray(_parts(table, rows, lines) if "split" in columns else [""] * len(rows), "U10"),
        groups=np.asarray([row["group"] for row in rows], object) if "group" in columns else None,
        meant=np.ones(len(rows), bool),
        findings=tuple(findings),
    )
    return listing if there.all() else listing.only(there)


def _rows(table: Path) -> tuple[list[str], list[dict[str, str]], list[int]]:
    """The columns of a table; its rows; and the line of the file that each row begins in."""
    try:
        text = check_file(table).read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError:
        raise RequestError(f"{shown(table)} is not a table in UTF-8.") from None
    except OSError as error:
        raise RequestError(f"{shown(table)} cannot be read: {error.strerror}.") from None
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=_delimiter(table, text), strict=True)
    rows: list[tuple[int, list[str]]] = []
    begins = 1
    try:
        for cells in reader:
            if any(cells):
                rows.append((begins, [cell.strip(BLANKS) for cell in cells]))
            begins = reader.line_num + 1  # a cell may hold line breaks: a row may take several lines
    except csv.Error as error:
        raise RequestError(f"{shown(table)} is not a table: {error} (line {reader.line_num}).") from None
    if not rows:
        raise RequestError(f"{shown(table)} is empty.")
    (_, columns), *rows = rows
    if len(set(columns)) < len(columns):
        raise RequestError(f"{shown(table)} names a column twice: {_listed(columns)}.")
    for line, cells in rows:
        if len(cells) != len(columns):
            raise RequestError(f"{shown(table)} line {line} has {len(cells)} columns, its header {len(columns)}.")
    return columns, [dict(zip(columns, cells, strict=True)) for _, cells in rows], [line for line, _ in rows]


def _delimiter(table: Path, text: str) -> str:
    """What stands between cells: a tab in a .tsv, else the comma or semicolon by which the header has `file`."""
    if table.suffix.lower() == ".tsv":
        return "\t"
    for delimiter in ",;":
        with contextlib.suppress(csv.Error):
            lines = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
            header = next((cells for cells in lines if any(cells)), [])
            if "file" in (cell.strip(BLANKS) for cell in header):
                return delimiter
    return ","


def _check_files(table: Path, files: Sequence[str], lines: Sequence[int]) -> None:
    seen: dict[str, int] = {}
    for line, file in zip(lines, files, strict=True):
        if not file:
            raise RequestError(f"{shown(table)} line {line} names no file.")
        if "\0" in file:
            raise RequestError(f"{shown(table)} line {line}: {quoted(file)} cannot be the name of a file.")
        path = os.path.normpath(table.parent / file)  # `a.png` and `./a.png` are one
        if path in seen:
            raise RequestError(f"{shown(table)} line {line}: {file} is already in line {seen[path]}.")
        seen[path] = line


def _faults_of_files(table: Path, files: Sequence[str], lines: Sequence[int]) -> tuple[list[Finding], np.ndarray]:
    """Findings about what a table names that is no file, or lies elsewhere; bool (N,): which are files."""
    findings, there, elsewhere, near = [], [], [], _Alike()
    inside = os.path.abspath(table.parent)
    for line, file in zip(lines, files, strict=True):
        path = table.parent / file
        there.append(os.path.isfile(path))
        if not there[-1]:
            what = (
                "is a folder" if os.path.isdir(path) else "is not a file" if os.path.lexists(path) else "does not exist"
            )
            like = near.like(path)
            meant = f" There is {shown(like)}, which differs in case or in how accents are encoded." if like else ""
            findings.append(Finding(shown(path), "missing", f"{what}; line {line} of {shown(table)} names it.{meant}"))
        elif os.path.commonpath([inside, os.path.abspath(path)]) != inside:
            elsewhere.append((line, file))
    if elsewhere:
        line, file = elsewhere[0]
        detail = f"names {len(elsewhere):,} file(s) outside of its folder (line {line}: {shown(file)})."
        findings.append(Finding(shown(table), "elsewhere", f"{detail} It cannot be moved together with its folder."))
    return findings, np.asarray(there, bool)


class _Alike:
    """Finds files whose names people would take for another; each folder is listed once."""

    def __init__(self) -> None:
        self._names: dict[str, dict[str, str]] = {}

    def like(self, path: Path) -> str | None:
        folder = str(path.parent)
        if folder not in self._names:
            try:
                self._names[folder] = {alike(name): name for name in os.listdir(folder)}
            except OSError:
                self._names[folder] = {}
        return self._names[folder].get(alike(path.name))


def _parts(table: Path, rows: Sequence[Mapping[str, str]], lines: Sequence[int]) -> list[str]:
    parts = []
    for line, row in zip(lines, rows, strict=True):
        if row["split"].lower() not in PART_NAMES:
            raise unknown(f"split in line {line} of {shown(table)}", row["split"], PARTS)
        parts.append(PART_NAMES[row["split"].lower()])
    return parts


def _labels(
    table: Path, columns: list[str], rows: list[dict[str, str]], lines: list[int], task: TaskName | None
) -> tuple[LabelKind, np.ndarray, tuple[str, ...]]:
    others = [name for name in columns if name not in FIXED]
    if "label" in others:
        if len(others) > 1:
            raise RequestError(
                f"{shown(table)} has a column `label` and also {quoted(next(n for n in others if n != 'label'))}."
            )
        texts = [row["label"] for row in rows]
        kind = LABEL_KINDS[task] if task else infer_kind(texts)
        return kind, *kind.parse(texts, shown(table), lines)
    if len(others) > 1 and SEVERAL_CLASSES.is_meant(task):
        return SEVERAL_CLASSES, *SEVERAL_CLASSES.parse_columns(rows, others, shown(table), lines)
    raise RequestError(f"{shown(table)} has no column `label`; it has {_listed(columns)}.")


def _listed(columns: Sequence[str]) -> str:
    """The columns of a table in a message, each as it is unless it is long."""
    return ", ".join(name if len(name) <= 100 and name.isprintable() else quoted(name) for name in columns[:50])
