"""The temperature of a trained model, and its thresholds by class: fitted on its validation images, and folded into its
weights."""

from typing import TYPE_CHECKING, Any

import numpy as np

from recipes.config.settings import Recipe
from recipes.data import Data
from recipes.data.dataset import at_once
from recipes.tasks import TASKS, Task
from recipes.tasks.calibration import class_thresholds
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
    model: "keras.Model", logits: "Callable[[], np.ndarray]", images: Data, recipe: Recipe, task: Task
) -> dict[str, Any]:
    """Divides the logits of a trained model by the temperature that its validation images ask for, and adds thresholds
    by class to them.

    The kernel and the bias of its last layer are divided, and the bias is added to: it has no layer, parameter or
    operation more, and every file that is made of it is calibrated.

    Args:
        model: of `zoo.create_model`.
        logits: gives those of the validation images, float (N, classes).
        images: labels of the training and the validation images.
        recipe: what of it is asked for.
        task: what the labels are.

    Returns:
        What a run keeps of it: the `temperature` and how many `images` it was fitted on, `class_thresholds`. Nothing
        where nothing was done: the recipe says so, scores are no probabilities, or nothing is known of the validation
        images.
    """
    last, labels = last_layer(model), images.validation.labels
    balanced = recipe.class_thresholds != "none"
    if not (recipe.calibrate or balanced) or not task.probabilities or last is None or not len(labels):
        return {}
    found, kept = logits(), dict[str, Any]()
    if not np.isfinite(found).all():
        return {}
    temperature = task.fit_temperature(found, labels) if recipe.calibrate else None
    if temperature is not None:
        from zoo.ranges import divide_from

        divide_from(model, last.name, temperature)
        found = found / temperature
        kept = {"temperature": temperature, "images": len(labels)}
    if balanced:
        counts = np.bincount(images.train.labels, minlength=found.shape[1])
        strength, added = class_thresholds(found, labels, counts)
        last.bias.assign_add(added.astype(np.float32))
        kept["class_thresholds"] = {"strength": strength, "added": added.tolist()}
    return kept


def calibrate_whole(model: "keras.Model", images: Data, recipe: Recipe) -> dict[str, Any]:
    """As `calibrate`, by what a whole model makes of the validation images."""
    batch = at_once(copies_in(model))
    return calibrate(
        model,
        lambda: np.asarray(before_scores(model).predict(images.validation.batches(batch), verbose=0), np.float32),
        images,
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
