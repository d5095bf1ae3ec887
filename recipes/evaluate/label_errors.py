"""Which labels are probably wrong, told from what a model that has not learnt them says."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, eq=False)
class LabelErrors:
    """Suspected labels, the most suspect first.

    Attributes:
        rows: int64 (M,), of the images.
        likely: int64 (M,), the class that each probably is of.
        ratios: float64 (M,), the score of the label to that of the likely class: below 1.
    """

    rows: np.ndarray
    likely: np.ndarray
    ratios: np.ndarray


def find_label_errors(labels: np.ndarray, scores: np.ndarray) -> LabelErrors:
    """As many as confident learning counts, those whose labels the model believes least.

    An image counts as one of class j if its score for j is at least what images that are labelled j have on average, so
    that a class of which the model is less sure has a lower bar; of several such classes, the one of the highest
    score. Labels that are not that class are counted: the confident joint of Northcutt, Jiang and Chuang 2021,
    https://arxiv.org/abs/1911.00068, section 3.1. So many are suspected, of those whose label is not the class of the
    highest score: those of which the label's score is the smallest part of that one. It finds more of the wrong labels
    than the counted images themselves, by their margin (section 3.2), see docs/data.md.

    Args:
        labels: int64 (N,).
        scores: probabilities (N, K), by a model that was not trained on the image.
    """
    scores = np.asarray(scores, np.float64)
    classes = scores.shape[1]
    own, bars = _bars(labels, scores)
    bars[np.bincount(labels, minlength=classes) == 0] = np.inf
    above = scores >= bars * (1 - 1e-9)  # the mean of equal scores may be a bit larger than they are
    confident = np.where(above, scores, -np.inf)
    counted = (confident.argmax(axis=1) != labels) & (confident.max(axis=1) >= own)
    likely = scores.argmax(axis=1)
    best = scores.max(axis=1)
    rows = np.flatnonzero(own < best)
    ratios = own[rows] / best[rows]
    order = np.argsort(ratios, kind="stable")[: counted.sum()]
    return LabelErrors(rows[order], likely[rows[order]], ratios[order])


def unlike_any_class(labels: np.ndarray, scores: np.ndarray, most: int = 50) -> np.ndarray:
    """Row numbers int64 (M,) of images that are like no class, the least like any first.

    Their scores have at least half the entropy that equal scores of all classes would have; the scores of a class
    count against those that its own images have on average (Kuan and Mueller 2022, https://arxiv.org/abs/2207.03061,
    section 3.2).

    Args:
        labels, scores: as for `find_label_errors`.
        most: M is at most so many.
    """
    scores = np.asarray(scores, np.float64)
    classes, (_, bars) = scores.shape[1], _bars(labels, scores)
    shifted = np.maximum(scores - bars + bars.max(), 1e-12)
    shares = shifted / shifted.sum(axis=1, keepdims=True)
    entropy = -(shares * np.log(np.maximum(shares, 1e-12))).sum(axis=1) / np.log(max(classes, 2))
    plain = -(scores * np.log(np.maximum(scores, 1e-12))).sum(axis=1) / np.log(max(classes, 2))
    rows = np.flatnonzero(plain >= 0.5)
    return rows[np.argsort(-entropy[rows], kind="stable")][:most]


def _bars(labels: np.ndarray, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The score of each image's label (N,), and its mean over the images of each class (K,), 0 of none."""
    own = np.take_along_axis(scores, labels[:, None], 1)[:, 0]
    counts = np.bincount(labels, minlength=scores.shape[1])
    return own, np.bincount(labels, own, minlength=scores.shape[1]) / np.maximum(counts, 1)
