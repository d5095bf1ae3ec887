"""The kinds of labels that images have: how each is read, written, counted and ordered.

A kind has no state. What a model learns of such labels, and how it is judged, is a task of `recipes.tasks`.
"""

import re
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, ClassVar

import numpy as np

from recipes.data.names import fault_of_name, quoted
from recipes.support.numbers import NUMBER_TEXT
from recipes.support.rows import evenly_spaced
from zoo.errors import RequestError

BLANKS = " \t"  # around a cell of a table or a name in it: no part of the text. Any other space is.
_WHOLE = re.compile(r"[+-]?[0-9]+")
_LARGEST = float(np.finfo(np.float32).max)
_RARE = 3  # of a combination of labels seen less often, no image could be put into each part


class LabelKind(ABC):
    """One kind of labels.

    Attributes:
        task: the name of the task that such labels are for, as `Data.task` has it.
        has_classes: whether the names that belong to the labels are of classes.
        single_label: whether every image has exactly one class.
    """

    task: ClassVar[str]
    has_classes: ClassVar[bool] = True
    single_label: ClassVar[bool] = False

    def is_meant(self, task: str | None) -> bool:
        """Whether labels are of this kind as far as a user's choice of a task (None: no choice) says."""
        return task is None or task == self.task

    @abstractmethod
    def fits(self, texts: Sequence[str]) -> bool:
        """Whether a column of a table looks like labels of this kind and of none before it in `infer_kind`."""

    @abstractmethod
    def parse(
        self, texts: Sequence[str], table: str, lines: Sequence[int] | None = None
    ) -> tuple[np.ndarray, tuple[str, ...]]:
        """Labels, as `Split.labels`, and class names, from the column of a table.

        Args:
            texts: one an image.
            table: what an error calls the table.
            lines: the line of the table that each stands in; from 2 without gaps if None.

        Raises:
            RequestError: a text that is no label; the message names the line.
        """

    def loss(self, texts: Sequence[str]) -> str | None:
        """What is lost when a column that `parse` takes becomes labels, as the end of a sentence; None if nothing."""
        return None

    @abstractmethod
    def text(self, label: Any, class_names: Sequence[str]) -> str:
        """A label as a table writes it."""

    def is_same(self, text: str, label: Any, class_names: Sequence[str]) -> bool:
        """Whether a table's text is still what an image has as its label."""
        return text == self.text(label, class_names)

    @abstractmethod
    def strata(self, labels: np.ndarray) -> np.ndarray:
        """int64 (N,): what a split into parts keeps the proportions of."""

    @abstractmethod
    def in_turn(self, labels: np.ndarray, count: int) -> np.ndarray:
        """Row numbers, at most `count`, of images that show the range of labels."""

    def numbered(self, labels: np.ndarray) -> np.ndarray:
        """int64 (N,): the same number for images that may be copies of each other, as far as their labels tell."""
        return np.unique(labels, axis=0, return_inverse=True)[1].reshape(-1).astype(np.int64)

    def hot(self, labels: np.ndarray, classes: int) -> np.ndarray:
        """bool (N, classes): which image has which class; of kinds with classes."""
        raise NotImplementedError

    def renumbered(self, labels: np.ndarray, numbers: np.ndarray, classes: int) -> np.ndarray:
        """The same labels where class i is `numbers[i]` of `classes` classes."""
        return labels

    def used_only(self, labels: np.ndarray, class_names: tuple[str, ...]) -> tuple[np.ndarray, tuple[str, ...]]:
        """Labels and class names without the classes of no image, where that leaves the meaning of the labels."""
        return labels, class_names

    def same_class(self, labels: np.ndarray, others: np.ndarray) -> float | None:
        """Fraction of pairs of one class; None where images have not one class each.

        Args:
            labels: (N, ...).
            others: row numbers (N, K), for each image its K partners.
        """
        return None


class OneClass(LabelKind):
    """Every image has one class: int64 (N,), positions in the class names."""

    task = "classification"
    single_label = True

    def fits(self, texts: Sequence[str]) -> bool:
        return True

    def parse(
        self, texts: Sequence[str], table: str, lines: Sequence[int] | None = None
    ) -> tuple[np.ndarray, tuple[str, ...]]:
        for line, text in _numbered(texts, lines):
            if not text:
                raise RequestError(f"{table} line {line} has no label.")
            _check_name(text, table, line)
        class_names = ordered(texts)
        position = {name: label for label, name in enumerate(class_names)}
        return np.asarray([position[text] for text in texts], np.int64), class_names

    def text(self, label: Any, class_names: Sequence[str]) -> str:
        return class_names[int(label)]

    def strata(self, labels: np.ndarray) -> np.ndarray:
        """The classes."""
        return labels

    def in_turn(self, labels: np.ndarray, count: int) -> np.ndarray:
        """One image of each class, then another of each, and so on."""
        position = np.zeros(len(labels), int)  # an image's number within its class
        for label in np.unique(labels):
            position[labels == label] = np.arange((labels == label).sum())
        return np.lexsort((labels, position))[:count]

    def hot(self, labels: np.ndarray, classes: int) -> np.ndarray:
        return np.asarray(labels[:, None] == np.arange(classes))

    def renumbered(self, labels: np.ndarray, numbers: np.ndarray, classes: int) -> np.ndarray:
        return np.asarray(numbers[labels])

    def used_only(self, labels: np.ndarray, class_names: tuple[str, ...]) -> tuple[np.ndarray, tuple[str, ...]]:
        used, left = np.unique(labels, return_inverse=True)
        return left.astype(labels.dtype), tuple(class_names[label] for label in used)

    def same_class(self, labels: np.ndarray, others: np.ndarray) -> float | None:
        return float((labels[others] == labels[:, None]).mean())


class SeveralClasses(LabelKind):
    """An image has any number of classes: float32 (N, classes) of 0 and 1."""

    task = "multilabel"

    def fits(self, texts: Sequence[str]) -> bool:
        return any("|" in text for text in texts)

    def parse(
        self, texts: Sequence[str], table: str, lines: Sequence[int] | None = None
    ) -> tuple[np.ndarray, tuple[str, ...]]:
        sets = []
        for line, text in _numbered(texts, lines):
            names = {name for part in text.split("|") if (name := part.strip(BLANKS))}
            for name in sorted(names):
                _check_name(name, table, line)
            sets.append(names)
        class_names = ordered(set[str]().union(*sets))
        position = {name: label for label, name in enumerate(class_names)}
        labels = np.zeros((len(sets), len(class_names)), np.float32)
        for row, names in zip(labels, sets, strict=True):
            row[[position[name] for name in names]] = 1
        return labels, class_names

    def parse_columns(
        self,
        rows: Sequence[Mapping[str, str]],
        columns: Sequence[str],
        table: str,
        lines: Sequence[int] | None = None,
    ) -> tuple[np.ndarray, tuple[str, ...]]:
        """As `parse`, from a table with a column of 0 and 1 for each class."""
        for name in columns:
            _check_name(name, table, 1)
            if "|" in name:
                raise RequestError(
                    f"{table} line 1: the class {quoted(name)} holds a |, which parts the names of classes."
                )
            for line, row in _numbered(rows, lines):
                if row[name] not in ("0", "1"):
                    raise RequestError(
                        f"{table} line {line}: {name}={quoted(row[name])} is not possible; allowed: 0, 1. "
                        "A table without a column `label` has one column of 0 and 1 for each class."
                    )
        return np.asarray([[row[name] == "1" for name in columns] for row in rows], np.float32), tuple(columns)

    def text(self, label: Any, class_names: Sequence[str]) -> str:
        return "|".join(name for name, there in zip(class_names, label, strict=True) if there)

    def strata(self, labels: np.ndarray) -> np.ndarray:
        """The sets of classes; all that are rare count as one."""
        packed = np.packbits(labels > 0, axis=1)  # in the same order, and a thousand classes sort in 125 bytes a row
        _, kind, counts = np.unique(packed, axis=0, return_inverse=True, return_counts=True)
        kind = kind.reshape(-1)
        return np.where(counts[kind] < _RARE, -1, kind)

    def in_turn(self, labels: np.ndarray, count: int) -> np.ndarray:
        """As of one class, the first that an image has."""
        return ONE_CLASS.in_turn(labels.argmax(1), count)

    def hot(self, labels: np.ndarray, classes: int) -> np.ndarray:
        return labels > 0

    def renumbered(self, labels: np.ndarray, numbers: np.ndarray, classes: int) -> np.ndarray:
        moved = np.zeros((len(labels), classes), np.float32)
        moved[:, numbers] = labels
        return moved


class Number(LabelKind):
    """An image has a number: float32 (N,); the one name is the number's."""

    task = "regression"
    has_classes = False

    def fits(self, texts: Sequence[str]) -> bool:
        """If one is a decimal number and not whole, and all are what Python takes for numbers: `nan` or `1_000` among
        decimals is told by `parse`, with its line, rather than taken for the name of a class."""
        decimal = any(NUMBER_TEXT.fullmatch(text) and not _WHOLE.fullmatch(text) for text in texts)
        return decimal and all(_is_number_to_python(text) for text in texts)

    def parse(
        self, texts: Sequence[str], table: str, lines: Sequence[int] | None = None
    ) -> tuple[np.ndarray, tuple[str, ...]]:
        for line, text in _numbered(texts, lines):
            if not NUMBER_TEXT.fullmatch(text):
                raise RequestError(
                    f"{table} line {line}: label {quoted(text)} is not a finite number; allowed: decimal digits, as in "
                    "-3, 0.25 or 1.5e-3."
                )
            if abs(float(text)) > _LARGEST:
                raise RequestError(
                    f"{table} line {line}: label {quoted(text)} is too large for float32; allowed: up to "
                    f"{_LARGEST:.6g}."
                )
        return np.asarray([float(text) for text in texts], np.float32), ("value",)

    def loss(self, texts: Sequence[str]) -> str | None:
        """Different numbers that are one number in float32, whole numbers that are others, and numbers that are 0."""
        numbers = np.unique(np.asarray([float(text) for text in texts], np.float64))
        small, count = numbers.astype(np.float32), len(numbers)
        left = len(np.unique(small))
        if left < count:
            first = int(np.flatnonzero(small[1:] == small[:-1])[0])
            return (
                f"has {count:,} different numbers, of which float32 tells {left:,} apart ({float(numbers[first])!r} "
                f"and {float(numbers[first + 1])!r} become {float(small[first])!r}): subtract an offset, or scale them."
            )
        moved = (small != numbers) & ((numbers == np.rint(numbers)) | (small == 0))
        if not moved.any():
            return None
        first = int(np.flatnonzero(moved)[0])
        return (
            f"has {moved.sum():,} numbers that float32 does not hold ({float(numbers[first])!r} becomes "
            f"{float(small[first])!r}): subtract an offset, or scale them."
        )

    def text(self, label: Any, class_names: Sequence[str]) -> str:
        return repr(float(label))

    def is_same(self, text: str, label: Any, class_names: Sequence[str]) -> bool:
        """Always: a number that was measured again is still that image's."""
        return True

    def numbered(self, labels: np.ndarray) -> np.ndarray:
        """One number for all: copies of one image may have been measured apart."""
        return np.zeros(len(labels), np.int64)

    def strata(self, labels: np.ndarray) -> np.ndarray:
        """Tenths of the values."""
        edges = np.quantile(labels, np.linspace(0, 1, 11)[1:-1])
        return np.searchsorted(edges, labels).astype(np.int64)

    def in_turn(self, labels: np.ndarray, count: int) -> np.ndarray:
        """From the lowest number to the highest, in equal steps of rank."""
        places = evenly_spaced(len(labels), count)
        return np.asarray(np.argsort(labels, kind="stable")[places])


ONE_CLASS, SEVERAL_CLASSES, NUMBER = OneClass(), SeveralClasses(), Number()
LABEL_KINDS: dict[str, LabelKind] = {kind.task: kind for kind in (ONE_CLASS, SEVERAL_CLASSES, NUMBER)}


def infer_kind(texts: Sequence[str]) -> LabelKind:
    """What the column of a table looks like: numbers if all are and not all of them whole, several classes if any
    holds a `|`, else classes."""
    return next(kind for kind in (NUMBER, SEVERAL_CLASSES, ONE_CLASS) if kind.fits(texts))


def task_name(facts: Mapping[str, Any]) -> str:
    """The task that a run's metrics, or what a file says of itself, name; those that name none are of classes."""
    return str(facts.get("task", ONE_CLASS.task))


def ordered(names: Iterable[str]) -> tuple[str, ...]:
    """Class names in the order of their labels: whole numbers by value, anything else as text.

    >>> ordered({"10", "9", "0"}), ordered({"10", "9", "cat"})
    (('0', '9', '10'), ('10', '9', 'cat'))
    """
    names = set(names)
    whole = all(_is_plain_number(name) for name in names)
    return tuple(sorted(names, key=lambda name: (len(name), name)) if whole else sorted(names))


def _numbered(rows: Sequence[Any], lines: Sequence[int] | None) -> Iterator[tuple[int, Any]]:
    return zip(lines or range(2, len(rows) + 2), rows, strict=True)


def _check_name(name: str, table: str, line: int) -> None:
    if fault := fault_of_name(name):
        raise RequestError(f"{table} line {line}: the label {quoted(name)} {fault}; allowed: plain text in one line.")


def _is_plain_number(name: str) -> bool:
    return name.isascii() and name.isdigit() and (name == "0" or name[0] != "0")


def _is_number_to_python(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
