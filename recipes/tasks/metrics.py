"""How good scores are, by scikit-learn's definitions where it has one."""

from collections.abc import Callable, Collection, Mapping, Sequence
from hashlib import sha256
from typing import Any

import numpy as np

from recipes.tasks.confusion import confusion
from recipes.tasks.selective import selective, wilson

TOP_K = 5
WORST = 24  # mistakes that are listed
ROWS = 4096  # images at a time, where a number for each of their classes is needed
BINS = 15  # of equal width, as in Guo et al. 2017

Metric = Callable[[np.ndarray, np.ndarray], Any]

# Further metrics, by task and by their key in `metrics.json`: functions of labels and scores that give JSON types.
METRICS: dict[str, dict[str, Metric]] = {"classification": {}, "multilabel": {}, "regression": {}}


def further(task: str, labels: np.ndarray, scores: np.ndarray) -> dict[str, Any]:
    """What the `METRICS` of a task come to, by their keys."""
    return {name: metric(labels, scores) for name, metric in METRICS[task].items()}


def classification_metrics(
    labels: np.ndarray, scores: np.ndarray, class_names: Sequence[str], files: Sequence[str] | None = None
) -> dict[str, Any]:
    """Metrics of a classifier, as JSON types.

    Args:
        labels: integers (N,).
        scores: probabilities (N, classes).
        class_names: position is the label.
        files: the image file behind each row, to name mistakes by.

    Returns:
        `accuracy` (top-1) and `accuracy_interval` (95 %), `balanced_accuracy` (the mean recall of the classes that have
        images) and `mcc` (Matthews' correlation), `top_k` (`{"k": k, "accuracy": fraction with the label among the k
        best}`), `loss` (natural log), what `calibration` and `recipes.tasks.selective.selective` have, `per_class`
        (precision, recall, their 95 % intervals, f1, support), `most_confused` and, of at most 1,000 classes,
        `confusion_matrix` (see `recipes.tasks.confusion.confusion`), `worst_mistakes`, `wrong` (row numbers of all of
        them), `examples_digest` (of labels and files, see `examples_digest`); and what is in
        `METRICS["classification"]`.
    """
    from sklearn import metrics

    classes = np.arange(len(class_names))
    predicted = scores.argmax(1)
    precision, recall, f1, support = metrics.precision_recall_fscore_support(
        labels, predicted, labels=classes, zero_division=0
    )
    k = min(TOP_K, len(class_names) - 1)
    counts = [np.bincount(those, minlength=len(classes)) for those in (labels[labels == predicted], predicted, labels)]
    correct, guessed, there = counts
    return {
        "accuracy": float(metrics.accuracy_score(labels, predicted)),
        "accuracy_interval": accuracy_interval(predicted == labels),
        "balanced_accuracy": float(recall[there > 0].mean()),
        "mcc": _matthews(*counts),
        "loss": log_loss(labels, scores),
        **calibration(labels, scores),
        **selective(labels, scores),
        "top_k": {"k": k, "accuracy": float((_rank(labels, scores) < k).mean())},
        "examples": len(labels),
        "per_class": {
            name: {
                "precision": float(precision[i]),
                "recall": float(recall[i]),
                "f1": float(f1[i]),
                "support": int(support[i]),
                "precision_interval": wilson(int(correct[i]), int(guessed[i])),
                "recall_interval": wilson(int(correct[i]), int(there[i])),
            }
            for i, name in enumerate(class_names)
        },
        **confusion(labels, predicted, class_names),
        "class_names": list(class_names),
        "worst_mistakes": worst_mistakes(labels, scores, class_names, files),
        "wrong": np.flatnonzero(predicted != labels).tolist(),
        "examples_digest": examples_digest(labels, files),
        **further("classification", labels, scores),
    }


def _matthews(correct: np.ndarray, guessed: np.ndarray, there: np.ndarray) -> float:
    """Matthews' correlation of predictions and labels by the counts of each class (Gorodkin 2004,
    https://doi.org/10.1016/j.compbiolchem.2004.09.006); 0 where all are of one class, as in scikit-learn, which warns
    there."""
    images = float(there.sum())
    covariance = correct.sum() * images - float(there.astype(float) @ guessed)
    spreads = [images**2 - float(counts.astype(float) @ counts) for counts in (guessed, there)]
    return float(covariance / (spreads[0] ** 0.5 * spreads[1] ** 0.5)) if min(spreads) > 0 else 0.0


def accuracy_interval(right: np.ndarray, *, level: float = 0.95) -> list[float]:
    """Wilson's interval of an accuracy, see `wilson`.

    It holds near 0 and 1 too, where the bootstrap says that 50 of 50 correct predictions leave no doubt.

    Args:
        right: booleans (N,), whether each prediction is correct.
        level: how often such intervals hold the true accuracy, from 0 to 1.

    Returns:
        The lower and the upper end, fractions from 0 to 1.

    >>> [round(end, 3) for end in accuracy_interval(np.ones(50, bool))]
    [0.929, 1.0]
    """
    return wilson(int(right.sum()), len(right), level=level)


def mcnemar(wrong: Collection[int], other_wrong: Collection[int]) -> dict[str, Any]:
    """McNemar's exact test of two classifiers on the same images (McNemar 1947, https://doi.org/10.1007/BF02295996).

    Overlapping intervals of two accuracies are no test where the images are the same: what tells the classifiers apart
    are the images that only one of them gets right.

    Args:
        wrong, other_wrong: row numbers of the images that each classifies wrongly.

    Returns:
        `only_wrong` and `only_other_wrong`, how many images only the one and only the other classifies wrongly, and
        the two-sided `p`: how often two equally good classifiers would be apart by as much or more.

    >>> mcnemar([1, 2, 3], [3, 4])
    {'only_wrong': 2, 'only_other_wrong': 1, 'p': 1.0}
    """
    from scipy.stats import binomtest

    mine, theirs = len(set(wrong) - set(other_wrong)), len(set(other_wrong) - set(wrong))
    p = float(binomtest(mine, mine + theirs).pvalue) if mine + theirs else 1.0
    return {"only_wrong": mine, "only_other_wrong": theirs, "p": p}


def examples_digest(labels: np.ndarray, files: Sequence[str] | None) -> str:
    """16 hexadecimal digits that tell whether two runs are judged by the same labels and files."""
    digest = sha256(np.ascontiguousarray(labels).tobytes())
    digest.update("\0".join(files or ()).encode("utf-8", "surrogateescape"))
    return digest.hexdigest()[:16]


def calibration_error(labels: np.ndarray, scores: np.ndarray, *, bins: int = BINS) -> float:
    """How far the best score is from the fraction of correct predictions: 0 where 80 % sure means right in 80 %.

    The expected calibration error of Guo et al. 2017 (https://arxiv.org/abs/1706.04599, equation 3): images are
    put into bins of equal width by their best score; the gaps between mean score and accuracy are weighted by size.

    Args:
        labels: integers (N,).
        scores: probabilities (N, classes).
        bins: how many; a score on a border belongs to the lower bin.

    >>> labels, scores = np.array([0, 0, 0, 1]), np.array([[0.75, 0.25]] * 4)
    >>> calibration_error(labels, scores)  # 75 % sure, and right in three of four
    0.0
    >>> calibration_error(1 - labels, scores)
    0.5
    """
    return _gap(reliability(scores.max(1), scores.argmax(1) == labels, bins=bins))


def _gap(rows: Sequence[Mapping[str, float]]) -> float:
    count = sum(row["images"] for row in rows)
    return float(sum(row["images"] * abs(row["accuracy"] - row["confidence"]) for row in rows) / count)


def by_chance(rows: Sequence[Mapping[str, float]]) -> float:
    """The calibration error that probabilities which are right would show on so few images, in the mean.

    The fraction of correct predictions of a bin strays from its mean probability p by chance, with a variance of
    p (1 - p) / images, and by sqrt(2 / pi) standard deviations in the mean.

    Args:
        rows: of `reliability`.

    >>> round(by_chance([{"confidence": 0.9, "accuracy": 0.85, "images": 100}]), 4)
    0.0239
    """
    count = sum(row["images"] for row in rows)
    variances = (row["images"] * row["confidence"] * max(1 - row["confidence"], 0.0) for row in rows)
    return float(sum((2 / np.pi * variance) ** 0.5 for variance in variances) / count)


def reliability(confidence: np.ndarray, right: np.ndarray, *, bins: int = BINS) -> list[dict[str, float]]:
    """What a reliability diagram draws: bins of equal width by confidence, without those that are empty.

    Args:
        confidence: floats (N,) from 0 to 1; one on a border belongs to the lower bin.
        right: booleans (N,), whether each came true.
        bins: how many.

    Returns:
        For each its mean `confidence`, its `accuracy` (the fraction that came true), and its `images`.
    """
    confidence = confidence.astype(np.float64)
    bin_of = np.clip(np.ceil(confidence * bins).astype(int) - 1, 0, bins - 1)
    counts = np.bincount(bin_of, minlength=bins)
    sums = [np.bincount(bin_of, weights=values, minlength=bins) for values in (confidence, right)]
    return [
        {"confidence": float(sums[0][i] / n), "accuracy": float(sums[1][i] / n), "images": int(n)}
        for i, n in enumerate(counts)
        if n
    ]


def brier_score(labels: np.ndarray, scores: np.ndarray) -> float:
    """How far probabilities (N, classes) are from the truth, squared: 0 is perfect, 2 surely wrong (Brier 1950).

    >>> brier_score(np.array([0, 1]), np.array([[1.0, 0.0], [1.0, 0.0]]))
    1.0
    """
    own = np.take_along_axis(scores, labels[:, None], 1)[:, 0].astype(np.float64)
    return float((np.einsum("ij,ij->i", scores, scores, dtype=np.float64) - 2 * own + 1).mean())


def calibration(labels: np.ndarray, scores: np.ndarray) -> dict[str, Any]:
    """Whether probabilities are right as often as they say: `calibration_error`, `calibration_error_by_chance`,
    `brier_score`, and `reliability`.

    Args:
        labels: integers (N,); or 0 and 1 (N, classes), and every score is the probability of a yes. The squares of the
            Brier score are then those of all classes, in the mean, and 0.25 is knowing nothing.
        scores: probabilities (N, classes).
    """
    if labels.ndim > 1:
        flat, truth = scores.reshape(-1).astype(np.float64), labels.reshape(-1)
        rows = reliability(flat, truth > 0)
        brier = float(np.square(flat - truth).mean())
    else:
        rows, brier = reliability(scores.max(1), scores.argmax(1) == labels), brier_score(labels, scores)
    errors = {"calibration_error": _gap(rows), "calibration_error_by_chance": by_chance(rows)}
    return {**errors, "brier_score": brier, "reliability": rows}


def worst_mistakes(
    labels: np.ndarray,
    scores: np.ndarray,
    class_names: Sequence[str],
    files: Sequence[str] | None = None,
    *,
    count: int = WORST,
) -> list[dict[str, Any]]:
    """The wrong predictions that the model was surest of, surest first, at most `count`.

    Returns:
        For each its `index` in the split, its `file` (None where images are not files), the classes `true` and
        `guess`, and their scores `true_score` and `score`.
    """
    predicted = scores.argmax(1)
    wrong = np.flatnonzero(predicted != labels)
    surest = wrong[np.argsort(-scores[wrong, predicted[wrong]], kind="stable")][:count]
    return [
        {
            "index": int(i),
            "file": None if files is None else str(files[i]),
            "true": class_names[labels[i]],
            "guess": class_names[predicted[i]],
            "score": float(scores[i, predicted[i]]),
            "true_score": float(scores[i, labels[i]]),
        }
        for i in surest
    ]


def multilabel_metrics(labels: np.ndarray, scores: np.ndarray, class_names: Sequence[str]) -> dict[str, Any]:
    """Metrics of a model that gives an image any number of classes, as JSON types.

    Args:
        labels: 0 and 1 (N, classes).
        scores: probabilities (N, classes); a class is predicted from 0.5 on.
        class_names: position is the column.

    Returns:
        `map` (mean over the classes of average precision), `f1` (over all labels together) and `f1_macro` (mean
        over the classes), `exact` (fraction of images with all classes right), what `calibration` has, `per_class`
        (average_precision, f1, support), and what is in `METRICS["multilabel"]`. Classes without an image have no
        average precision (None); in both means they count as 0, as in scikit-learn.
    """
    from sklearn import metrics

    truth, predicted = labels.astype(int), (scores >= 0.5).astype(int)
    support = truth.sum(0)
    f1 = metrics.f1_score(truth, predicted, average=None, zero_division=0)
    precision = [
        float(metrics.average_precision_score(truth[:, i], scores[:, i])) if there else None
        for i, there in enumerate(support)
    ]
    return {
        "map": float(np.mean([value or 0.0 for value in precision])),
        "f1": float(metrics.f1_score(truth, predicted, average="micro", zero_division=0)),
        "f1_macro": float(f1.mean()),
        "exact": float((truth == predicted).all(1).mean()),
        "examples": len(truth),
        **calibration(labels, scores),
        "per_class": {
            name: {"average_precision": precision[i], "f1": float(f1[i]), "support": int(support[i])}
            for i, name in enumerate(class_names)
        },
        "class_names": list(class_names),
        **further("multilabel", labels, scores),
    }


def regression_metrics(targets: np.ndarray, values: np.ndarray) -> dict[str, Any]:
    """Metrics of a model that gives an image a number, as JSON types.

    Args:
        targets: floats (N,).
        values: what the model gave, (N,) or (N, 1).

    Returns:
        `mae`, `mse`, `r2` (1 is perfect, 0 as good as the mean; None with fewer than two images), and what is in
        `METRICS["regression"]`.
    """
    from sklearn import metrics

    values = np.asarray(values, np.float64).reshape(len(targets))
    return {
        "mae": float(metrics.mean_absolute_error(targets, values)),
        "mse": float(metrics.mean_squared_error(targets, values)),
        "r2": float(metrics.r2_score(targets, values)) if len(targets) > 1 else None,
        "examples": len(targets),
        **further("regression", targets, values),
    }


def log_loss(labels: np.ndarray, scores: np.ndarray) -> float:
    """The mean natural log loss, that of scikit-learn to the last bit, without a table of images x classes of its own.

    Scores are made to sum to one in double precision first; quantised and float32 scores miss it by more than is
    allowed.

    Args:
        labels: integers (N,).
        scores: probabilities (N, classes).

    Raises:
        ValueError: scores that are not numbers.

    >>> round(log_loss(np.array([0, 1]), np.array([[0.5, 0.5], [0.75, 0.25]])), 4)
    1.0397
    """
    from scipy.special import xlogy

    own = np.empty(len(labels))
    for first in range(0, len(labels), ROWS):
        rows = slice(first, first + ROWS)
        clipped = np.clip(scores[rows].astype(np.float64), 1e-7, None)
        own[rows] = clipped[np.arange(len(clipped)), labels[rows]] / clipped.sum(axis=1)
    if not np.isfinite(own).all():
        raise ValueError("the scores of some images are not numbers")
    epsilon = np.finfo(np.float64).eps
    return float(np.mean(-xlogy(1.0, np.clip(own, epsilon, 1 - epsilon))))


def _rank(labels: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """int64 (N,): how many classes come before the label by their score; of equal scores the first class is first."""
    ranks = np.empty(len(labels), np.int64)
    for first in range(0, len(labels), ROWS):
        some, label = scores[first : first + ROWS], labels[first : first + ROWS, None]
        own = np.take_along_axis(some, label, 1)
        ties = (some == own) & (np.arange(scores.shape[1]) < label)
        ranks[first : first + ROWS] = ((some > own) | ties).sum(1)
    return ranks
