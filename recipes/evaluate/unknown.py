"""Images of none of the classes: how well scores, or features, tell them from those that are."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from recipes.data import Split
from recipes.data.dataset import at_once
from recipes.data.decoded import Images
from recipes.scorers import Scorer
from recipes.support.rows import evenly_spaced
from recipes.training.calibration import SCORES, before_scores, given_to, last_layer
from zoo.backend import keras
from zoo.groups import copies_in

if TYPE_CHECKING:
    from recipes.run.folder import Run

ACCEPTED = 0.95  # of the images of known classes, where false alarms are counted
NEIGHBOUR = 50  # the how many-th nearest training image the distance is to (Sun et al. 2022, section 4.1)
LEARNT = 5_000  # training images whose features are kept


def measure_unknown(
    scorer: Scorer, known: Split, unknown: np.ndarray, best: tuple[np.ndarray, np.ndarray]
) -> dict[str, Any]:
    """How well images of known classes are told from others.

    Args:
        scorer: whose scores and features are looked at.
        known: test images of its classes.
        unknown: images uint8 (N, H, W, C) of no class of it.
        best: the largest probabilities of the known and of the unknown images.

    Returns:
        `images`, `unknown_images`, and `by` what they are told apart, each with `auroc` (how often an image of a known
        class is above one of none; 0.5 is chance) and `fpr_at_95` (the fraction of the others that is above where
        95 % of the known are): `maximum probability`; where Keras runs the model also `maximum logit`, `energy` (Liu et
        al. 2020, https://arxiv.org/abs/2010.03759) and, with a run's training images, by features `nearest neighbours`
        (Sun et al. 2022, https://arxiv.org/abs/2204.06507) and `Mahalanobis` (Lee et al. 2018,
        https://arxiv.org/abs/1807.03888).
    """
    pairs = {"maximum probability": best}
    model = scorer.keras_model
    if model is not None and any(layer.name == SCORES for layer in model.layers):
        from scipy.special import logsumexp

        logits = [_ran(before_scores(model), images) for images in (known.images, unknown)]
        pairs["maximum logit"] = (logits[0].max(1), logits[1].max(1))
        pairs["energy"] = (logsumexp(logits[0], axis=1), logsumexp(logits[1], axis=1))
        if scorer.run is not None and last_layer(model) is not None:
            features = features_of(model)
            learnt, labels = _learnt(scorer.run)
            seen, ours, theirs = (features(images) for images in (learnt, known.images, unknown))
            for name, near in (("nearest neighbours", neighbours(seen)), ("Mahalanobis", mahalanobis(seen, labels))):
                pairs[name] = (near(ours), near(theirs))
    return {
        "images": len(known),
        "unknown_images": len(unknown),
        "by": {name: told_apart(ours, theirs) for name, (ours, theirs) in pairs.items()},
    }


def told_apart(known: np.ndarray, unknown: np.ndarray) -> dict[str, float]:
    """`auroc` and `fpr_at_95` of numbers that ought to be larger for the known."""
    from sklearn.metrics import roc_auc_score

    truth = np.repeat([1, 0], [len(known), len(unknown)])
    least = np.quantile(known, 1 - ACCEPTED, method="lower")
    return {
        "auroc": float(roc_auc_score(truth, np.concatenate([known, unknown]))),
        "fpr_at_95": float((unknown >= least).mean()),
    }


def features_of(model: "keras.Model") -> Callable[[Images], np.ndarray]:
    """A function from images uint8 (N, H, W, C) to what the last layer of a model is given, float64 (N, D): of maps
    the mean over the places, of copies of an image the maximum."""
    layer = last_layer(model)
    assert layer is not None
    inner, copies = keras.Model(model.input, given_to(model, layer.name)), copies_in(model)

    def features(images: Images) -> np.ndarray:
        made = _ran(inner, images, copies)
        if made.ndim == 4:
            made = made.mean((1, 2))
        return np.asarray(made.reshape(len(images), -1, made.shape[-1]).max(1), np.float64)

    return features


def neighbours(seen: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    """Minus the distance of directions (N, D) to the 50th nearest of those that were seen, or half of them if fewer."""
    from sklearn.neighbors import NearestNeighbors

    search = NearestNeighbors(n_neighbors=min(NEIGHBOUR, max(len(seen) // 2, 1))).fit(_directions(seen))
    return lambda features: np.asarray(-search.kneighbors(_directions(features))[0][:, -1])


def mahalanobis(seen: np.ndarray, labels: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    """Minus the squared distance of features (N, D) to the nearest class mean, under the covariance of all classes."""
    classes = np.unique(labels)
    means = np.stack([seen[labels == label].mean(0) for label in classes])
    apart = seen - means[np.searchsorted(classes, labels)]
    inverse = np.linalg.pinv(apart.T @ apart / len(seen), hermitian=True)

    def near(features: np.ndarray) -> np.ndarray:
        distances = []
        for mean in means:
            difference = features - mean
            distances.append(np.einsum("ij,jk,ik->i", difference, inverse, difference, optimize=True))
        return np.asarray(-np.min(distances, axis=0))

    return near


def _directions(features: np.ndarray) -> np.ndarray:
    return np.asarray(features / np.maximum(np.linalg.norm(features, axis=1, keepdims=True), 1e-12))


def _learnt(run: "Run") -> tuple[np.ndarray, np.ndarray]:
    """Training images of a run, evenly over its set, and their labels."""
    train = run.load_data().train
    rows = evenly_spaced(len(train), LEARNT)
    return np.asarray(train.images[rows]), train.labels[rows]


def _ran(model: "keras.Model", images: Images, copies: int = 1) -> np.ndarray:
    """What a model makes of images; of one that makes several rows an image, batch by batch."""
    together = at_once(copies)
    parts = [
        np.asarray(model.predict_on_batch(images[start : start + together]))
        for start in range(0, len(images), together)
    ]
    return np.concatenate(parts)
