"""Whether a set can be trained on. `zoo data check` tells it and `load` goes by it: both call `judge`, which splits."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from recipes.data.checks.classes import about_classes, about_names
from recipes.data.checks.findings import BAD_FILE, Finding, errors_first, listed
from recipes.data.dataset import PARTS, TaskName
from recipes.data.labels import LABEL_KINDS
from recipes.data.names import check_names
from recipes.data.splits import SplitError, draw_parts
from recipes.data.system_folders import is_left_by_system

# What the images are for: to train on; to train on together with another set, which has the other classes; to be
# scored, which needs neither a training part nor every class.
Purpose = Literal["train", "join", "score"]


@dataclass(frozen=True, eq=False)
class Verdict:
    """What `judge` came to.

    Attributes:
        parts: row numbers of train, validation and test; where there are errors, of the parts that the set brings.
        findings: about its classes and its split.
    """

    parts: dict[str, np.ndarray]
    findings: list[Finding]


def judge(
    labels: np.ndarray,
    parts: np.ndarray,
    class_names: tuple[str, ...],
    task: TaskName,
    source: str,
    *,
    seed: int,
    purpose: Purpose = "train",
    lacking: str = "",
    exact: np.ndarray | None = None,
    together: np.ndarray | None = None,
    groups: np.ndarray | None = None,
    where: Mapping[str, str] | None = None,
) -> Verdict:
    """Looks at the classes of a set and splits it.

    Args:
        labels, parts: of the images that can be used, as in `Listing`.
        class_names, task: as in `Data`.
        source: what findings about all of it are told of.
        seed: draws the split.
        purpose: what the images are for.
        lacking: what a set without a training part would have to have, if that can be said.
        exact: (N,), equal for exact copies.
        together: (N,), equal for what the split may not part.
        groups: as in `Listing`.
        where: the folder of each class.
    """
    kind = LABEL_KINDS[task]
    given = {part: np.flatnonzero(parts == part) for part in PARTS if (parts == part).any()}
    given = given or {"train": np.arange(len(labels))}
    check_names(class_names, source)
    findings = about_names(class_names, source)
    if not len(labels):
        return Verdict(given, [*findings, Finding(source, "empty_class", "has no image that can be used.")])
    if purpose == "score":
        return Verdict({part: given.get(part, np.arange(0)) for part in PARTS}, findings)
    if "train" not in given:
        missing = f"no part `train` ({lacking} is missing)" if lacking else "no part `train`"
        lacks = f"has {missing}; it has {', '.join(given)}, which `zoo evaluate RUN --data {source}` can score."
        return Verdict(given, [*findings, Finding(source, "no_train", lacks)])
    findings += about_classes(labels, parts, class_names, task, source, where)
    if kind.has_classes and len(class_names) < 1 + (kind.single_label and purpose == "train"):
        findings.append(Finding(source, "one_class", _one_class(class_names, where or {})))
    if any(finding.is_error for finding in findings):
        return Verdict(given, findings)

    def split(units: np.ndarray | None) -> tuple[dict[str, np.ndarray], str]:
        try:
            drawn = draw_parts(given, kind.strata(labels), seed=seed, together=units, groups=groups)
        except SplitError as error:
            return given, f"cannot be split: {error}"
        return drawn, _absent(drawn, given, labels, class_names) if kind.single_label else ""

    drawn, fault = split(together)
    if fault:
        if exact is not None and together is not exact and not split(exact)[1]:
            fault += " Near duplicates are why: --split-near-duplicates lets them come into different parts."
        return Verdict(given, [*findings, Finding(source, "too_few", fault)])
    return Verdict(drawn, findings)


def refusal(findings: Sequence[Finding], source: str, *, skip_bad: bool = False) -> str | None:
    """Why a set with these findings is not trained on, in one line; None if it can be.

    Args:
        findings: all of them.
        source: the set.
        skip_bad: bad files are left out.
    """
    bad = [finding for finding in errors_first(findings) if finding.kind in BAD_FILE]
    if bad and not skip_bad:
        return (
            f"{source}: {len(bad):,} file{'s' * (len(bad) != 1)} cannot be used: {listed(bad)}. "
            f"`zoo data check {source}` lists them; fix or remove them, or leave them out with --skip-bad."
        )
    errors = [finding for finding in errors_first(findings) if finding.is_error and finding not in bad]
    return " ".join(f"{finding.path} {finding.detail}" for finding in errors[:3]) or None


def _absent(
    drawn: Mapping[str, np.ndarray], given: Mapping[str, np.ndarray], labels: np.ndarray, class_names: tuple[str, ...]
) -> str:
    """What is wrong where a class is not in training or, of the parts that were drawn, not in all of them."""
    for part, rows in drawn.items():
        if part in given and part != "train":
            continue
        absent = np.setdiff1d(np.arange(len(class_names)), labels[rows])
        if len(absent):
            return (
                f"has no image of class {class_names[absent[0]]} left for the part {part}: "
                "its images are too few, copies of each other, or of too few groups."
            )
    return ""


def _one_class(class_names: tuple[str, ...], where: Mapping[str, str]) -> str:
    """What is said of a set with fewer than two classes; an archive often unpacks into one folder more."""
    if not class_names:
        return "has no class: no image has a label."
    folder = Path(where.get(class_names[0], ""))
    below = sorted(entry.name for entry in folder.iterdir() if entry.is_dir()) if where and folder.is_dir() else []
    below = [name for name in below if not is_left_by_system(name)]
    text = f"has one class only ({class_names[0]}), and nothing to tell it from."
    if len(below) > 1:
        shown = f"{', '.join(below[:3])} and {len(below) - 3:,} more" if len(below) > 4 else " and ".join(below)
        text += f" Are its folders {shown} the classes? Then the set is {folder}."
    return text
