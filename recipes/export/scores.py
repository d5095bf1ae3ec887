"""Scores that are what a file says of them: shares from 0 to 1. A model from elsewhere is looked at, not believed."""

import sys

import numpy as np

from recipes.tasks import TASKS
from zoo.backend import keras
from zoo.errors import RequestError

_CLOSE = 1e-3  # to 0, to 1, and of a row's sum to 1: float32 of half precision


def with_shares(model: keras.Model, scores: np.ndarray, task: str, classes: int) -> keras.Model:
    """The model itself, or what is behind it where its scores are logits, or one probability for two classes.

    What is added is said in a line on the standard error stream.

    Args:
        model: from one image to scores.
        scores: float (N, units) that it gives for the test images.
        task: what the labels are, see `recipes.data.Data`.
        classes: how many there are.

    Raises:
        RequestError: each class has a probability of its own where an image has one class.
    """
    if not TASKS[task].probabilities or not np.isfinite(scores).all():
        return model
    units, inside = scores.shape[1], bool((scores >= -_CLOSE).all() and (scores <= 1 + _CLOSE).all())
    one_class = TASKS[task].labels.single_label
    output, added = model.outputs[0], []
    if one_class and units == 1 and classes == 2:
        if not inside:
            output, added = keras.layers.Activation("sigmoid", name="probability")(output), ["a sigmoid"]
        first = keras.layers.Rescaling(-1.0, 1.0, name="first_class")(output)
        output = keras.layers.Concatenate(name="both_classes")([first, output])
        added.append("the score of the first class")
    elif units != classes:
        return model  # which is refused by its numbers
    elif not one_class and not inside:
        output, added = keras.layers.Activation("sigmoid", name="probabilities")(output), ["a sigmoid"]
    elif one_class and not inside:
        output, added = keras.layers.Softmax(name="probabilities")(output), ["a softmax"]
    elif one_class and np.abs(scores.sum(1) - 1).max() > classes * _CLOSE:
        sums = scores.sum(1)
        raise RequestError(
            f"{model.name} gives each class a probability of its own (their sums are {sums.min():.3g} to "
            f"{sums.max():.3g}); allowed for one class an image: a softmax, logits, or one sigmoid for two classes."
        )
    if not added:
        return model
    print(
        f"{model.name}: scores on the test images are {scores.min():.3g} to {scores.max():.3g}; "
        f"{' and '.join(added)} is added behind the model.",
        file=sys.stderr,
    )
    return keras.Model(model.inputs[0], output, name=model.name)
