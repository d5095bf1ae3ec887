"""The temperature of a trained model: fitted on its validation images, and folded into its weights."""

from typing import TYPE_CHECKING

import numpy as np

from recipes.config.settings import Recipe
from recipes.data import Data, Split
from recipes.data.dataset import at_once
from recipes.tasks import TASKS, Task
from zoo.backend import keras
from zoo.groups import copies_in
from zoo.keras_internals import nodes

if TYPE_CHECKING:
    from collections.abc import Callable

SCORES = "scores"  # the layer that makes probabilities of logits
# The layers whose outputs are logits, as heads name them; what comes after one is a mean or a maximum, which do not
# mind a factor above 0.
LAST = ("logits", "score_map", "whole_map")


def calibrate(
    model: "keras.Model", logits: "Callable[[], np.ndarray]", validation: Split, recipe: Recipe, task: Task
) -> float | None:
    """Divides the logits of a trained model by the temperature that its validation images ask for.

    The kernel and the bias of its last layer are divided: it has no layer, parameter or operation more, and every
    file that is made of it is calibrated.

    Args:
        model: of `zoo.create_model`.
        logits: gives those of the validation images, float (N, classes).
        validation: labels.
        recipe: whether it is asked for.
        task: what the labels are.

    Returns:
        The temperature; None where nothing was done: the recipe says so, scores are no probabilities, or nothing is
        known of the validation images.
    """
    last = last_layer(model)
    if not recipe.calibrate or not task.probabilities or last is None or not len(validation):
        return None
    found = logits()
    temperature = task.fit_temperature(found, validation.labels) if np.isfinite(found).all() else None
    if temperature is not None:
        from zoo.ranges import divide_from

        divide_from(model, last.name, temperature)
    return temperature


def calibrate_whole(model: "keras.Model", images: Data, recipe: Recipe) -> float | None:
    """As `calibrate`, by what a whole model makes of the validation images."""
    batch = at_once(copies_in(model))
    return calibrate(
        model,
        lambda: before_scores(model).predict(images.validation.batches(batch), verbose=0),
        images.validation,
        recipe,
        TASKS[images.task],
    )


def last_layer(model: "keras.Model") -> "keras.layers.Layer | None":
    """The layer of a model that logits come from; None of a model that is not of this zoo."""
    layers = {layer.name: layer for layer in model.layers}
    return next((layers[name] for name in LAST if name in layers), None)


def before_scores(model: "keras.Model") -> "keras.Model":
    """The same model, or its last part, without its last activation: to logits."""
    return keras.Model(model.input, given_to(model, SCORES))


def given_to(model: "keras.Model", name: str) -> "keras.KerasTensor":
    """What a layer of a model is given; the layer may be shared with other models, whose tensors are others."""
    return next(node.input_tensors[0] for node in nodes(model) if node.operation.name == name)
