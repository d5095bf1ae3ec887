"""How good scores are, by scikit-learn's definitions."""

from collections.abc import Sequence
from typing import Any

import numpy as np

TOP_K = 5


def classification_metrics(labels: np.ndarray, scores: np.ndarray, class_names: Sequence[str]) -> dict[str, Any]:
    """Figures of a classifier, as JSON types.

    Args:
        labels: integers (N,).
        scores: probabilities (N, classes).
        class_names: position is the label.

    Returns:
        `accuracy` (top-1), `top_k` (`{"k": k, "accuracy": share with the label among the k best}`), `loss`
        (natural log), `per_class` (precision, recall, f1, support), `confusion_matrix` (rows are true classes).
    """
    from sklearn import metrics

    classes = np.arange(len(class_names))
    guesses = scores.argmax(1)
    precision, recall, f1, support = metrics.precision_recall_fscore_support(
        labels, guesses, labels=classes, zero_division=0
    )
    k = min(TOP_K, len(class_names) - 1)
    best_k = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    return {
        "accuracy": float(metrics.accuracy_score(labels, guesses)),
        "loss": float(metrics.log_loss(labels, _proper(scores), labels=classes)),
        "top_k": {"k": k, "accuracy": float((best_k == labels[:, None]).any(1).mean())},
        "examples": len(labels),
        "per_class": {
            name: {
                "precision": float(precision[i]),
                "recall": float(recall[i]),
                "f1": float(f1[i]),
                "support": int(support[i]),
            }
            for i, name in enumerate(class_names)
        },
        "confusion_matrix": metrics.confusion_matrix(labels, guesses, labels=classes).tolist(),
        "class_names": list(class_names),
    }


def _proper(scores: np.ndarray) -> np.ndarray:
    """Scores that sum to one in double precision; quantised and float32 scores miss it by more than is allowed."""
    scores = np.clip(scores.astype(np.float64), 1e-7, None)
    return scores / scores.sum(axis=1, keepdims=True)
