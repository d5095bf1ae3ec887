"""Predictions that may be left out: how often those that are kept are right, and from which score on to keep them."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

CONFIDENCE = 0.95  # that a threshold keeps what it promises
RANKS = 100  # numbers of accepted images that are tried
FIRST = 10  # one in so many images is accepted at the first try, where that is enough to show anything
CURVE = 50  # points of a curve that are kept
AT = 0.99  # precision whose coverage is told


@dataclass(frozen=True)
class Threshold:
    """A score from which on a prediction is given, and what validation images say of it.

    Attributes:
        value: the score.
        precision: the fraction of right predictions that was asked for, of those given.
        confidence: with which it is kept.
        images: how many there were.
        accepted, right: how many of them were given a prediction, and how many of these are right.
        lower: the lower bound of the precision, by Clopper and Pearson.
    """

    value: float
    precision: float
    confidence: float
    images: int
    accepted: int
    right: int
    lower: float

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def choose_threshold(
    scores: np.ndarray, right: np.ndarray, precision: float, *, confidence: float = CONFIDENCE
) -> Threshold | None:
    """The lowest threshold of which a precision can be shown.

    Thresholds are tried from the strictest on, each by the exact binomial test (the lower bound of Clopper and Pearson
    1934 must reach the precision), until one fails; the last that passed is taken. In such a fixed sequence each test
    may use the whole error probability (Angelopoulos et al. 2021, https://arxiv.org/abs/2110.01052, section 2.3), as
    long as predictions of lower scores are less often right. The sequence goes by the number of accepted images,
    which labels have no part in: from a tenth, or from as many as it takes where all of them are right, to all, in a
    hundred steps.

    Args:
        scores: of the predictions (N,).
        right: booleans (N,), whether each is correct.
        precision: of the predictions that are given, above 0 and below 1.
        confidence: with which it holds for other images of the kind.

    Returns:
        None where it cannot be shown of any.

    >>> choose_threshold(np.linspace(0.5, 1, 400), np.ones(400, bool), 0.99).accepted
    400
    >>> choose_threshold(np.ones(200), np.ones(200, bool), 0.99)  # 99 % takes 299 images
    """
    from scipy.stats import beta

    count = len(scores)
    order = np.argsort(-scores, kind="stable")
    ranked, correct = scores[order], np.cumsum(right[order])
    first = max(least_images(precision, confidence), -(-count // FIRST))
    if first > count:
        return None
    chosen = None
    for rank in np.unique(np.linspace(first, count, RANKS).astype(int)):
        accepted = int(np.searchsorted(-ranked, -ranked[rank - 1], side="right"))  # with all that have the same score
        hits = int(correct[accepted - 1])
        lower = float(beta.ppf(1 - confidence, hits, accepted - hits + 1)) if hits else 0.0
        if lower < precision:
            break
        value = float(ranked[accepted - 1])
        chosen = Threshold(value, precision, confidence, count, accepted, hits, lower)
    return chosen


def least_images(precision: float, confidence: float = CONFIDENCE) -> int:
    """How many images it takes to show a precision where all of them are right.

    >>> least_images(0.99), least_images(0.9)
    (299, 29)
    """
    return int(np.ceil(np.log(1 - confidence) / np.log(precision)))


def highest_shown(scores: np.ndarray, right: np.ndarray, precision: float) -> float | None:
    """The highest precision below the one asked for of which a threshold can be shown, of some round ones."""
    below = [p for p in (0.999, 0.998, 0.995, 0.99, 0.98, 0.97, 0.95, 0.9, 0.8, 0.7, 0.6, 0.5) if p < precision]
    return next((p for p in below if choose_threshold(scores, right, p)), None)


def selective(labels: np.ndarray, scores: np.ndarray) -> dict[str, Any]:
    """What becomes of the errors where the least sure predictions are left out.

    Args:
        labels: integers (N,).
        scores: probabilities (N, classes).

    Returns:
        `aurc`, the area under the curve of risk (the fraction of wrong predictions among those given) over coverage
        (the fraction of images that are given one), 0 at best (Geifman and El-Yaniv 2017,
        https://arxiv.org/abs/1705.08500); `coverage_at_99`, the largest coverage with at most 1 % risk on these very
        images; and `risk_coverage`, points of the curve.
    """
    risk = risks(scores.max(1), scores.argmax(1) == labels)
    count = len(risk)
    within = np.flatnonzero(risk <= 1 - AT + 1e-12)
    rows = np.unique(np.linspace(0, count - 1, CURVE).astype(int))
    return {
        "aurc": float(risk.mean()),
        "coverage_at_99": float((within[-1] + 1) / count) if len(within) else 0.0,
        "risk_coverage": [[float((row + 1) / count), float(risk[row])] for row in rows],
    }


def risks(scores: np.ndarray, right: np.ndarray) -> np.ndarray:
    """(N,): the fraction of wrong predictions among the 1, 2, ... surest; of equal scores in any order, in the mean.

    >>> risks(np.array([0.9, 0.8, 0.8, 0.5]), np.array([True, False, True, False])).tolist()
    [0.0, 0.25, 0.3333333333333333, 0.5]
    """
    _, group, sizes = np.unique(-scores, return_inverse=True, return_counts=True)
    wrong = np.bincount(group, weights=~right) / sizes
    found: np.ndarray = np.cumsum(wrong[np.sort(group)]) / np.arange(1, len(scores) + 1)
    return found


def at_threshold(labels: np.ndarray, scores: np.ndarray, kept: Mapping[str, Any]) -> dict[str, Any]:
    """What a threshold comes to on other images: the threshold, its `coverage`, and the `precision_found`, with its
    95 % `interval`; None where no prediction is given."""
    given = scores.max(1) >= kept["value"]
    hits, count = int((scores.argmax(1) == labels)[given].sum()), int(given.sum())
    found = hits / count if count else None
    return {**kept, "coverage": count / len(labels), "precision_found": found, "interval": wilson(hits, count)}


def wilson(correct: int, count: int, *, level: float = 0.95) -> list[float]:
    """Wilson's score interval of a fraction (Wilson 1927, https://doi.org/10.1080/01621459.1927.10502953): its lower
    and its upper end. Of none, nothing is known: from 0 to 1.

    >>> [round(end, 3) for end in wilson(50, 50)]
    [0.929, 1.0]
    """
    from scipy.special import ndtri

    if not count:
        return [0.0, 1.0]
    z = float(ndtri((1 + level) / 2))
    middle = (correct + z * z / 2) / (count + z * z)
    reach = z / (count + z * z) * (correct * (count - correct) / count + z * z / 4) ** 0.5
    return [max(middle - reach, 0.0) if correct else 0.0, min(middle + reach, 1.0) if correct < count else 1.0]
