"""What kind of answer an image has: one class, any number of classes, or a number; and what follows from it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from recipes.data import Data, Split
from recipes.tasks.metrics import classification_metrics, multilabel_metrics, regression_metrics
from zoo.errors import RequestError

if TYPE_CHECKING:
    import keras

    from recipes.config.settings import Recipe


@dataclass(frozen=True)
class Task:
    """How one kind of answer is learnt and judged.

    Attributes:
        activation: of the scores, as `zoo.create_model` takes it.
        watched: the metric beside the loss in the history, as Keras is given it.
        shown: how `watched` is printed, a format of one number.
        by_metric: whether the best epoch is the one of the best `watched`; else it is the one of the lowest loss.
        measure: the figures of scores on a split, as JSON types.
        score: the one of these figures that models are chosen by; more is better.
    """

    activation: str
    watched: str
    shown: str
    by_metric: bool
    measure: Callable[[Split, np.ndarray, Sequence[str]], dict[str, Any]]
    score: str

    def merit(self, row: Mapping[str, float]) -> tuple[float, ...]:
        """Of a row of the history; the largest is the best. Of equal metrics, the lowest loss decides."""
        best = (row[f"val_{self.watched}"],) if self.by_metric else ()
        return *best, -row["val_loss"]


TASKS = {
    "classification": Task(
        "softmax",
        "accuracy",
        "accuracy {:.1%}",
        True,
        lambda split, scores, names: classification_metrics(split.labels, scores, names, split.files),
        "accuracy",
    ),
    # With few of many classes in an image, saying none is right nearly always: the loss is the better judge.
    "multilabel": Task(
        "sigmoid",
        "binary_accuracy",
        "right {:.1%}",
        False,
        lambda split, scores, names: multilabel_metrics(split.labels, scores, names),
        "map",
    ),
    "regression": Task(
        "linear",
        "mae",
        "mean error {:.4g}",
        False,
        lambda split, scores, names: regression_metrics(split.labels, scores),
        "r2",
    ),
}


def figures(task: str, split: Split, scores: np.ndarray, class_names: Sequence[str]) -> dict[str, Any]:
    """How good scores are: `task`, and what `recipes.tasks.metrics` has for it, as JSON types.

    Args:
        task: a name in `TASKS`.
        split: images (N, ...) with labels.
        scores: float (N, classes).
        class_names: position is the column of the scores.
    """
    return {"task": task} | TASKS[task].measure(split, scores, class_names)


def check_task(recipe: "Recipe", data: Data) -> None:
    """Raises a `RequestError` for settings that have no meaning for the data's kind of labels."""
    if data.task != "classification" and recipe.class_weight != "none":
        raise RequestError(f"class_weight={recipe.class_weight!r} is not possible for {data.task}; allowed: 'none'.")
    if data.task == "regression" and recipe.soft_labels:
        raise RequestError(
            "label_smoothing, mixup and cutmix are not possible for regression: numbers are not shares of classes."
        )


def targets(labels: np.ndarray, recipe: "Recipe", classes: int) -> np.ndarray:
    """What scores (B, classes) are compared with.

    Args:
        labels: of a `Split`.
        recipe: whether it wants shares of classes where an image has one class.
        classes: how many there are.

    Returns:
        Numbers of classes (N,), shares float32 (N, classes), or for regression float32 (N, 1).
    """
    if labels.ndim == 2:
        return labels
    if labels.dtype.kind == "f":
        return labels[:, None]
    return np.eye(classes, dtype=np.float32)[labels] if recipe.soft_labels else labels


def loss_of(task: str, recipe: "Recipe") -> "keras.losses.Loss":
    """Cross-entropy, or the squared error of a number."""
    import keras

    if task == "regression":
        return keras.losses.MeanSquaredError()
    if task == "multilabel":
        return keras.losses.BinaryCrossentropy(label_smoothing=recipe.label_smoothing)
    if recipe.soft_labels:
        return keras.losses.CategoricalCrossentropy(label_smoothing=recipe.label_smoothing)
    return keras.losses.SparseCategoricalCrossentropy()


def loss_weight(data: Data) -> float:
    """For regression one over the variance of the training targets: to guess their mean costs 1 in any unit, so that
    the settings of a recipe mean the same in any unit."""
    return 1 / max(float(data.train.labels.var()), 1e-12) if data.task == "regression" else 1.0


def in_units(model: "keras.Model", data: Data) -> "keras.Model":
    """The model with its one number in the unit of the targets, where the network's own is near 0 and 1."""
    import keras

    mean, spread = float(data.train.labels.mean()), float(data.train.labels.std())
    units = keras.layers.Rescaling(spread or 1.0, mean, dtype="float32", name="units")
    return keras.Model(model.input, units(model.output), name=model.name)


def loss_of_guessing(data: Data) -> float:
    """The loss of a network that knows nothing but how often each answer is right."""
    if data.task == "regression":
        return 1.0
    return float(np.log(2 if data.task == "multilabel" else max(len(data.class_names), 2)))
