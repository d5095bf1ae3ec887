"""How many images each class has, what that is worth, and what the names of classes are mistaken for."""

import unicodedata
from collections.abc import Mapping

import numpy as np

from recipes.data.checks.findings import Finding
from recipes.data.dataset import TaskName
from recipes.data.labels import LABEL_KINDS
from recipes.data.names import alike

FEW = 20  # images of a class; with fewer, neither training nor its score is worth much
NEEDED = 3  # images of a class, where all parts are split from one: each part gets one
IMBALANCE = 10.0  # times as many images in the largest class as in the smallest


def about_classes(
    labels: np.ndarray,
    parts: np.ndarray,
    class_names: tuple[str, ...],
    task: TaskName,
    source: str,
    where: Mapping[str, str] | None = None,
) -> list[Finding]:
    """Findings about how many images each class has.

    Args:
        labels, parts: of the images that can be used.
        class_names, task: as in `Data`.
        source: what findings about all of it are told of.
        where: the folder of each class.
    """
    kind = LABEL_KINDS[task]
    if not kind.has_classes:
        return []
    given = {part for part in ("train", "validation", "test") if (parts == part).any()}
    training = np.isin(parts, ["", "train"])
    hot = kind.hot(labels, len(class_names))
    counts = hot[training].sum(0)
    needed = NEEDED - len(given & {"validation", "test"})
    found = []
    for name, count in zip(class_names, counts, strict=True):
        path = (where or {}).get(name) or f"{source}: {name}"
        if count == 0:
            found.append(Finding(path, "empty_class", "is a class without any image to train with."))
        elif count < needed and kind.single_label:
            detail = (
                f"has {count} image(s); at least {needed} are needed, one for each part that is split off from them."
            )
            found.append(Finding(path, "too_few", detail))
        elif count < FEW:
            found.append(
                Finding(path, "few", f"is a class of {count} images; with fewer than {FEW} little is learned.")
            )
    for part in sorted(given - {"train"}):
        for name, count in zip(class_names, hot[parts == part].sum(0), strict=True):
            if not count:
                found.append(Finding(source, "few", f"has no image of class {name} in its part {part}."))
    if kind.single_label and counts.min() and counts.max() > IMBALANCE * counts.min():
        most, least = int(counts.argmax()), int(counts.argmin())
        detail = (
            f"has {counts[most] / counts[least]:.0f} times as many images of {class_names[most]} ({counts[most]:,}) "
            f"as of {class_names[least]} ({counts[least]:,})."
        )
        found.append(Finding(source, "imbalance", detail))
    return found


def about_names(class_names: tuple[str, ...], source: str) -> list[Finding]:
    """Remarks about classes that people, or other file systems, would take for one and the same."""
    seen: dict[str, str] = {}
    found = []
    for name in class_names:
        twin = seen.setdefault(alike(name), name)
        if twin != name:
            only = "upper and lower case" if twin.casefold() == name.casefold() else "blanks or case"
            only = "how their accents are encoded (NFC, NFD)" if _composed(twin) == _composed(name) else only
            found.append(Finding(source, "twins", f"has the classes {twin!r} and {name!r}: they differ in {only}."))
    return found


def _composed(name: str) -> str:
    return unicodedata.normalize("NFC", name)
