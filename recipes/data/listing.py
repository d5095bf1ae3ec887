"""What a folder or a table says there is, before any image is opened."""

import os
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from recipes.data.checks.findings import Finding
from recipes.data.checks.looks import LazyTexts
from recipes.data.dataset import PARTS, TaskName
from recipes.data.labels import LABEL_KINDS, LabelKind


@dataclass(frozen=True, eq=False)
class Listing:
    """Image files with their labels, in a fixed order.

    Attributes:
        source: as the user wrote it.
        root: the folder that names are relative to.
        names: one file each.
        labels: as `Split.labels`.
        class_names: position is the label.
        task: what the labels are.
        parts: "train", "validation", "test" or "" (not given) for each file.
        meant: whether the ending of a file tells that it was meant as an image, for each file.
        groups: files of one group belong into one part; None where the source names no groups.
        findings: what the names alone tell.
    """

    source: str
    root: Path
    names: tuple[str, ...]
    labels: np.ndarray
    class_names: tuple[str, ...]
    task: TaskName
    parts: np.ndarray
    meant: np.ndarray
    groups: np.ndarray | None = None
    findings: tuple[Finding, ...] = field(default=())

    @property
    def label_kind(self) -> LabelKind:
        return LABEL_KINDS[self.task]

    def __len__(self) -> int:
        return len(self.names)

    @property
    def paths(self) -> Sequence[str]:
        """Of each file, made when it is asked for."""
        root = str(self.root)
        return LazyTexts(len(self.names), lambda row: os.path.join(root, self.names[row]))

    @property
    def given_parts(self) -> tuple[str, ...]:
        """The parts that the source brings itself."""
        return tuple(part for part in PARTS if (self.parts == part).any())

    def only(self, rows: np.ndarray) -> "Listing":
        """The files of `rows`, a mask or row numbers; this listing itself where a mask has all."""
        if rows.dtype == bool and rows.all():
            return self
        return replace(
            self,
            names=tuple(np.asarray(self.names, object)[rows]),
            labels=self.labels[rows],
            parts=self.parts[rows],
            meant=self.meant[rows],
            groups=None if self.groups is None else self.groups[rows],
        )

    def of_class(self, row: int) -> str:
        """The label of one file, for people."""
        return self.label_kind.text(self.labels[row], self.class_names)
