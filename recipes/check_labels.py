"""Which labels of a set are probably wrong, for a person to look at."""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from recipes.data import Data, Reader, Split, load, open_reader
from recipes.data.checks import duplicates
from recipes.data.checks.findings import shown
from recipes.data.decoding import from_array, thumbnail
from recipes.data.readers import FileReader
from recipes.data.split_table import LARGEST
from recipes.evaluate.label_errors import find_label_errors, unlike_any_class
from recipes.evaluate.scoring import scores_of
from recipes.evaluate.selection import class_numbers, is_trained_on, learnt
from recipes.report.label_page import Card, write_page
from recipes.scorers import Scorer, open_scorer
from recipes.support.files import check_output, write_whole
from recipes.support.reading import Document
from recipes.tasks import TASKS
from zoo.backend import as_keras_ships
from zoo.errors import RequestError

__all__ = ["CheckedLabels", "check_labels"]

TASK = "classification"
SHOWN = 96  # pixels a side, of the page's images where no model says a size
MOST_ALIKE = 200  # images on the page


@dataclass(frozen=True)
class CheckedLabels:
    """What was found.

    Attributes:
        source, by: what was looked at, and whose scores told.
        images: how many were scored.
        learnt: how many of them the model was trained on.
        suspects: the most suspect first: `image` (file, or part and row), `label`, `likely` and the scores of both,
            and `learnt`, whether the model was trained on it.
        alike: groups of images that look the same and have different labels: `image` and `label` of each.
        unlike: images that are like no class: `image` and `label` of each.
        page: the page, if one was written.
    """

    source: str
    by: str
    images: int
    learnt: int
    suspects: tuple[dict[str, Any], ...]
    alike: tuple[tuple[dict[str, str], ...], ...]
    unlike: tuple[dict[str, str], ...]
    page: Path | None = None

    def to_dict(self) -> dict[str, Any]:
        """As JSON types."""
        return vars(self) | {"page": None if self.page is None else str(self.page)}


@dataclass(frozen=True, eq=False)
class _Scored:
    """Images, their labels and their scores (N, K), by a model that has not learnt those that are not `learnt`.

    `places` are those of the images, by row, among all of the splits, one after the other; None if they are all.
    """

    splits: Sequence[Split]
    names: Sequence[str]
    labels: np.ndarray
    class_names: tuple[str, ...]
    scores: np.ndarray
    learnt: np.ndarray
    places: np.ndarray | None = None

    def pixels(self, row: int) -> np.ndarray:
        """uint8 (H, W, C)."""
        place = row if self.places is None else int(self.places[row])
        for split in self.splits:
            if place < len(split):
                return np.asarray(split.images[place])
            place -= len(split)
        raise IndexError(row)

    def label(self, row: int) -> str:
        return self.class_names[int(self.labels[row])]

    def named(self, row: int) -> dict[str, str]:
        return {"image": shown(self.names[row]), "label": self.label(row)}


@as_keras_ships
def check_labels(source: str | Reader, by: str | Path, *, out: str | Path | None = None) -> CheckedLabels:
    """Looks for wrong labels, for images that look the same and have different labels, and for images like no class.

    Nothing in the set is changed. The page shows each image with its label and the likely one; what a person decides on
    it can be saved as a table, which `recipes.data.load` takes where images are files.

    Args:
        source: images with one class each, see `recipes.data.load`.
        by: what scores them: a run, or a `.tflite`, `.keras` or `.onnx` file; or the predictions that
            `recipes.cross_validate.cross_validate` wrote, which are of models that have not learnt the image. A model
            knows the labels that it was trained on by heart, and hardly finds errors among them.
        out: the HTML page to write.

    Raises:
        RequestError: another task, a class that the scores lack, or predictions that are not of these images.
        FailureError: the page cannot be written.
    """
    reader = open_reader(source)
    page = None if out is None else Path(out)
    if page is not None:
        check_output(page, (".html", ".htm"))
    table = Path(by).suffix.lower() == ".csv" and not Path(by).is_dir()
    scored = _by_predictions(reader, Path(by)) if table else _by_scorer(reader, open_scorer(by))
    found = find_label_errors(scored.labels, scored.scores)
    order = np.argsort(scored.learnt[found.rows], kind="stable")  # of what was learnt, later
    rows, likely = found.rows[order], found.likely[order]
    suspects = tuple(_suspect(scored, row, other) for row, other in zip(rows, likely, strict=True))
    alike = _alike(scored)
    unlike = unlike_any_class(scored.labels, scored.scores)
    unlike = unlike[~np.isin(unlike, rows)]
    checked = CheckedLabels(
        source=reader.source,
        by=str(by),
        images=len(scored.labels),
        learnt=int(scored.learnt.sum()),
        suspects=suspects,
        alike=tuple(tuple(scored.named(row) for row in group) for group in alike),
        unlike=tuple(scored.named(row) for row in unlike),
        page=page,
    )
    if page is not None:
        cards = [_card(scored, row, int(other)) for row, other in zip(rows, likely, strict=True)]
        same = [_card(scored, row) for group in alike for row in group][:MOST_ALIKE]
        odd = [_card(scored, row) for row in unlike]
        saved = _table(reader, scored)
        sections = {"Suspected labels": cards, "Alike, with different labels": same, "Like no class": odd}
        title = f"Labels of {shown(reader.source)}"
        write_whole(page, lambda aside: write_page(aside, title, _told(checked), sections, scored.class_names, saved))
    return checked


def _suspect(scored: _Scored, row: int, other: int) -> dict[str, Any]:
    scores = scored.scores[row]
    return scored.named(row) | {
        "likely": scored.class_names[other],
        "label_score": float(scores[scored.labels[row]]),
        "likely_score": float(scores[other]),
        "learnt": bool(scored.learnt[row]),
    }


def _card(scored: _Scored, row: int, likely: int | None = None) -> Card:
    scores = scored.scores[row]
    other = int(scores.argmax()) if likely is None else likely
    told = "the model was trained on it" if scored.learnt[row] else ""
    return Card(
        int(row),
        shown(scored.names[row]),
        scored.pixels(row),
        scored.label(row),
        float(scores[scored.labels[row]]),
        scored.class_names[other],
        float(scores[other]),
        told,
    )


def _told(checked: CheckedLabels) -> str:
    told = f"{checked.images:,} images, scored by {checked.by}: {len(checked.suspects):,} labels are suspected."
    if checked.learnt:
        told += (
            f" The model was trained on {checked.learnt:,} of the images, and knows their labels by heart: suspects "
            "among them come last. `zoo cross-validate --out FILE.csv` scores each image by a model that has not seen "
            "it."
        )
    return told


# ---- where scores come from ------------------------------------------------------------------------------------------


def _by_scorer(reader: Reader, scorer: Scorer) -> _Scored:
    if scorer.task is not None and scorer.task.name != TASK:
        raise RequestError(f"labels are checked of one class an image; {scorer.path} is for {scorer.task.name}.")
    own = scorer.run is not None and is_trained_on(scorer.run, reader)
    if own and scorer.run is not None:
        data = scorer.run.load_data()
    else:
        size: dict[str, Any] = {"image_shape": scorer.image_shape, "resize": scorer.resize}
        data = load(reader, purpose="score", skip_bad=True, quiet=True, **size)
    _check_task(data)
    names = scorer.class_names or data.class_names
    splits = {part: split for part, split in data.parts.items() if len(split)}
    labels = class_numbers(scorer, data)[np.concatenate([split.labels for split in splits.values()])]
    raw, missing = scores_of(scorer, TASKS[TASK], names, [split.images for split in splits.values()])
    told = [
        np.full(len(split), part == "train") if own else learnt(scorer, data, split) for part, split in splits.items()
    ]
    return _Scored(list(splits.values()), _names(data), labels, names, missing.added_to(raw), np.concatenate(told))


def _by_predictions(reader: Reader, path: Path) -> _Scored:
    """The images that a table of out-of-fold predictions has, with its scores."""
    table = Document(path, "write it by zoo cross-validate --out")
    rows = table.rows(LARGEST, "image", "fold", "label")
    if not rows:
        raise table.refused("has no line below its header")
    of_files = isinstance(reader, FileReader)
    size: dict[str, Any] = {"image_shape": (SHOWN, SHOWN, 3), "resize": "fit", "purpose": "score", "skip_bad": True}
    data = load(reader, quiet=True, **(size if of_files else {}))
    _check_task(data)
    columns = [name for name in rows[0] if name not in ("image", "fold", "label")]
    if sorted(columns) != sorted(data.class_names):
        raise table.refused(f"has scores of {len(columns):,} classes that are not those of {shown(data.source)}")
    splits = list(data.parts.values()) if of_files else [data.train, data.validation]  # the rest has no scores
    splits = [split for split in splits if len(split)]
    labels = np.concatenate([split.labels for split in splits])
    names = _names(data)[: len(labels)]
    key: Callable[[str], str] = os.path.abspath if of_files else str
    keys = names if of_files else [str(number) for number in range(len(labels))]
    place = {key(name): number for number, name in enumerate(keys)}
    where: dict[int, int] = {}  # the line of each image that has one, by its place
    for number, row in enumerate(rows):
        found = place.get(key(row["image"]))
        if found is None:
            raise table.refused(f"has the image {row['image']}, which {shown(data.source)} does not have")
        if data.class_names[labels[found]] != row["label"]:
            raise table.refused(
                f"has the label {row['label']} for the image {row['image']}; {shown(data.source)} has it as "
                f"{data.class_names[labels[found]]} now"
            )
        if found in where:
            raise table.refused(f"has the image {row['image']} twice; cross-validation scores each once")
        where[found] = number
    try:
        scores = np.array([[float(row[name]) for name in data.class_names] for row in rows])
    except ValueError as error:
        raise table.refused(f"has a score that is no number: {error}") from None
    if not (np.isfinite(scores).all() and (scores >= 0).all() and (scores <= 1).all()):
        raise table.refused("has scores that are not probabilities")
    places = np.array(sorted(where))
    return _Scored(
        splits,
        [names[place] for place in places],
        labels[places],
        data.class_names,
        scores[[where[place] for place in places]],
        np.zeros(len(places), bool),
        places,
    )


def _check_task(data: Data) -> None:
    if data.task != TASK:
        raise RequestError(f"labels are checked of one class an image; {shown(data.source)} is for {data.task}.")


def _names(data: Data) -> list[str]:
    """Of each image: its file, or its part and row."""
    return [
        split.files[row] if split.files else f"{part} {row}"
        for part, split in data.parts.items()
        for row in range(len(split))
    ]


# ---- what is told ----------------------------------------------------------------------------------------------------


def _alike(scored: _Scored) -> list[list[int]]:
    """Groups of rows that look the same and have different labels."""
    small = [thumbnail(from_array(scored.pixels(row))) for row in range(len(scored.labels))]
    groups = duplicates.groups(duplicates.near(duplicates.stacked(small)))
    return [group.tolist() for group in groups if len(np.unique(scored.labels[group])) > 1]


def _table(reader: Reader, scored: _Scored) -> list[dict[str, str]] | None:
    """The rows of a table of all files, as `recipes.data.load` takes one; None where it could not be read back."""
    if not isinstance(reader, FileReader) or any("|" in name for name in scored.class_names):
        return None
    listing = reader.listing
    of_row = {os.path.abspath(name): row for row, name in enumerate(scored.names)}
    rows = []
    for number, path in enumerate(listing.paths):
        row = {"file": os.path.abspath(path), "label": listing.class_names[listing.labels[number]]}
        if listing.given_parts:
            row["split"] = str(listing.parts[number])
        if listing.groups is not None:
            row["group"] = str(listing.groups[number])
        known = of_row.get(row["file"])
        rows.append(row if known is None else row | {"row": str(known)})
    return rows
