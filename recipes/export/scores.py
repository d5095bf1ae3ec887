"""Scores that are what a file says of them: what a model from elsewhere lacks is put behind it as layers."""

import sys

import numpy as np

from recipes.scorers.shares import what_is_missing
from zoo.backend import keras


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
    missing = what_is_missing(model.name, scores, task, classes)
    if not missing:
        return model
    output = model.outputs[0]
    if missing.activation == "softmax":
        output = keras.layers.Softmax(name="probabilities")(output)
    elif missing.activation:
        name = "probability" if missing.first_class else "probabilities"
        output = keras.layers.Activation("sigmoid", name=name)(output)
    if missing.first_class:
        first = keras.layers.Rescaling(-1.0, 1.0, name="first_class")(output)
        output = keras.layers.Concatenate(name="both_classes")([first, output])
    print(f"{model.name}: {missing.words} the model.", file=sys.stderr)
    return keras.Model(model.inputs[0], output, name=model.name)
