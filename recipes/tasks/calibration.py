"""Probabilities that are right as often as they say: one temperature, fitted on images that nothing was learned from.

Logits are divided by the temperature (Guo et al. 2017, https://arxiv.org/abs/1706.04599, section 4.2), which leaves
their order, and so every prediction, as it is. Where it is asked for, thresholds by class change that order.
"""

import numpy as np

COLDEST, HOTTEST = 0.05, 20.0  # temperatures; what is beyond them says that the images are of another kind
ADDED = 0.5  # mistakes
ROWS = 4096  # images at a time
STRONGEST = 2.0  # times the logarithm of a frequency, of thresholds by class
_TINY = 1e-38  # the least probability that float32 has


def fit_temperature(logits: np.ndarray, labels: np.ndarray) -> float:
    """The temperature of the least log loss.

    Where all images are right that loss has no minimum: it falls until every probability is 0 or 1. Half a mistake is
    added to those that were made (as Jeffreys' prior of a fraction does), spread over the images and the classes as the
    model itself finds mistakes likely.

    Args:
        logits: float (N, classes); log probabilities are as good.
        labels: integers (N,).

    Returns:
        From `COLDEST` to `HOTTEST`: above 1 where the model is surer than it is right, below where it is less sure.
        1 where there is but one class.

    >>> sure = np.array([[4.0, 0.0]] * 4)  # 98 % sure, and right in three of four
    >>> 1 < fit_temperature(sure, np.array([0, 0, 0, 1])) < 10
    True
    """
    from scipy.optimize import brentq
    from scipy.special import softmax

    if logits.shape[1] < 2:
        return 1.0
    logits = logits.astype(np.float64)
    rows, best = np.arange(len(logits)), logits.argmax(1)
    likely = softmax(logits, axis=1)  # to be mistakes: of all classes but the one that is predicted
    likely[rows, best] = 0
    likely *= ADDED / max(likely.sum(), np.finfo(np.float64).tiny)
    weight = 1 + likely.sum(1)
    wanted = logits[rows, labels].sum() + (likely * logits).sum()

    def slope(log_sharpness: float) -> float:
        """Of the loss: its root is where the mean logit that the model expects is the one that is found."""
        return float(weight @ _expected(logits, np.exp(log_sharpness)) - wanted)

    low, high = np.log(1 / HOTTEST), np.log(1 / COLDEST)
    if slope(low) >= 0:
        return HOTTEST
    if slope(high) <= 0:
        return COLDEST
    return float(np.exp(-brentq(slope, low, high, xtol=1e-9)))


def _expected(logits: np.ndarray, sharpness: float) -> np.ndarray:
    """(N,): the mean of an image's logits under the probabilities that they give, times `sharpness`."""
    from scipy.special import softmax

    parts = (logits[start : start + ROWS] for start in range(0, len(logits), ROWS))
    return np.concatenate([(softmax(sharpness * part, axis=1) * part).sum(1) for part in parts])


def class_thresholds(logits: np.ndarray, labels: np.ndarray, counts: np.ndarray) -> tuple[float, np.ndarray]:
    """What is added to the logits of each class for the best balanced accuracy.

    It is the logarithm of each class's frequency, taken away as often as validation images ask for (Menon et al. 2021,
    https://arxiv.org/abs/2007.07314, section 4): for the least log loss where all classes count the same. A number of
    its own for each class would follow the few images that rare classes have.

    Args:
        logits: float (N, classes), of the model after its temperature.
        labels: integers (N,).
        counts: training images of each class (classes,).

    Returns:
        How often, from 0 to `STRONGEST`, and float64 (classes,) of mean 0.

    >>> logits, labels = np.log([[0.9, 0.1], [0.7, 0.3]]), np.array([0, 1])
    >>> strength, added = class_thresholds(logits, labels, np.array([90, 10]))
    >>> bool(added[1] > 0 > added[0])
    True
    """
    from scipy.optimize import minimize_scalar
    from scipy.special import log_softmax

    rarity = -np.log(np.maximum(counts, 1))
    rarity -= rarity.mean()
    weights = 1 / np.bincount(labels, minlength=len(counts))[labels]

    def loss(strength: float) -> float:
        own = np.take_along_axis(log_softmax(logits + strength * rarity, axis=1), labels[:, None], 1)[:, 0]
        return float(-(weights @ own))

    strength = float(minimize_scalar(loss, bounds=(0, STRONGEST), method="bounded").x)
    return strength, strength * rarity


def yes_or_no(logits: np.ndarray) -> np.ndarray:
    """Logits of sigmoids (N, classes) as logits of two classes, no and yes: (N * classes, 2)."""
    flat = logits.reshape(-1)
    return np.stack([np.zeros_like(flat), flat], axis=1)


def reheated(scores: np.ndarray, temperature: float) -> np.ndarray:
    """Probabilities (N, classes) that sum to one, with their logits divided by a temperature: float64.

    >>> reheated(np.array([[0.8, 0.2]]), 0.5).round(3).tolist()
    [[0.941, 0.059]]
    """
    from scipy.special import softmax

    return np.asarray(softmax(np.log(np.maximum(scores, _TINY), dtype=np.float64) / temperature, axis=1))


def reheated_each(scores: np.ndarray, temperature: float) -> np.ndarray:
    """The same of probabilities that are each for itself."""
    from scipy.special import expit, logit

    return np.asarray(expit(logit(np.clip(scores.astype(np.float64), _TINY, 1 - 1e-9)) / temperature))
