"""Scores that are what their task says of them: shares from 0 to 1. A model from elsewhere is looked at."""

from dataclasses import dataclass

import numpy as np

from recipes.tasks import TASKS
from zoo.errors import RequestError

_CLOSE = 1e-3  # to 0, to 1, and of a row's sum to 1: float32 of half precision


@dataclass(frozen=True)
class Missing:
    """What has to be put behind a model so that its scores are shares of the classes.

    Attributes:
        activation: `softmax` or `sigmoid`; empty if its scores are shares.
        first_class: whether the one score is that of the second of two classes.
        low, high: the least and the largest score.
    """

    activation: str = ""
    first_class: bool = False
    low: float = 0.0
    high: float = 1.0

    def __bool__(self) -> bool:
        return bool(self.activation or self.first_class)

    @property
    def words(self) -> str:
        """What was done, as a sentence about the model."""
        added = [f"a {self.activation}"] * bool(self.activation) + ["the score of the first class"] * self.first_class
        return f"scores on the test images are {self.low:.3g} to {self.high:.3g}; {' and '.join(added)} is added behind"

    def added_to(self, scores: np.ndarray) -> np.ndarray:
        """Shares float32 (N, classes) of the scores (N, units)."""
        shares = scores.astype(np.float64)
        if self.activation == "softmax":
            shares = np.exp(shares - shares.max(1, keepdims=True))
            shares /= shares.sum(1, keepdims=True)
        elif self.activation == "sigmoid":
            shares = 0.5 * (1 + np.tanh(shares / 2))  # which does not overflow
        if self.first_class:
            shares = np.concatenate([1 - shares, shares], axis=1)
        return shares.astype(np.float32) if self else scores


def what_is_missing(name: str, scores: np.ndarray, task: str, classes: int, *, step: float = 0.0) -> Missing:
    """Looks at the scores of a model on images.

    Args:
        name: of the model, for messages.
        scores: float (N, units) that it gives for the test images.
        task: what the labels are, see `recipes.data.Data`.
        classes: how many there are.
        step: the least difference of two scores, where they are quantised.

    Raises:
        RequestError: each class has a probability of its own where an image has one class.
    """
    if not TASKS[task].probabilities or not np.isfinite(scores).all():
        return Missing()
    close = max(_CLOSE, step)
    units, inside = scores.shape[1], bool((scores >= -close).all() and (scores <= 1 + close).all())
    low, high = float(scores.min()), float(scores.max())
    one_class = TASKS[task].labels.single_label
    if one_class and units == 1 and classes == 2:
        return Missing("" if inside else "sigmoid", first_class=True, low=low, high=high)
    if units != classes or (inside and not one_class):
        return Missing()  # other numbers of scores are refused by their numbers
    if not inside:
        return Missing("softmax" if one_class else "sigmoid", low=low, high=high)
    if np.abs(scores.sum(1) - 1).max() > classes * close:
        sums = scores.sum(1)
        raise RequestError(
            f"{name} gives each class a probability of its own (their sums are {sums.min():.3g} to "
            f"{sums.max():.3g}); allowed for one class an image: a softmax, logits, or one sigmoid for two classes."
        )
    return Missing()
