"""A number for an image."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from recipes.data import Data, Split
from recipes.data.labels import NUMBER
from recipes.tasks.metrics import regression_metrics
from recipes.tasks.task import ParityWords, Task
from zoo.backend import keras, tf
from zoo.errors import FailureError, RequestError

if TYPE_CHECKING:
    from recipes.config.settings import Recipe


class Regression(Task):
    """One score, which is the prediction, in the unit of the labels."""

    labels = NUMBER
    activation = "linear"
    probabilities = False
    monitor = "mae"
    monitor_format = "mean error {:.4g}"
    monitor_is_share = False
    score = "r2"
    parity = ParityWords(
        judged="the variance over the test images",
        accuracy="R²",
        heading="R²",
        same="same number",
        of="of the variance over {:,} test images",
        constant="naming the mean",
    )

    def check(self, recipe: "Recipe") -> None:
        super().check(recipe)
        if recipe.soft_labels:
            raise RequestError("label_smoothing, mixup and cutmix are not possible for regression: they mix classes.")
        if recipe.until is not None:
            raise RequestError(f"until={recipe.until:g} is not possible for regression: it is an accuracy.")

    def targets(self, labels: np.ndarray, recipe: "Recipe", classes: int) -> np.ndarray:
        """float32 (N, 1)."""
        return labels[:, None]

    def loss(self, recipe: "Recipe", data: Data) -> "keras.losses.Loss":
        return keras.losses.MeanSquaredError()

    def loss_weight(self, data: Data) -> float:
        """One over the variance of the training labels: predicting their mean costs 1 in any unit, so that the settings
        of a recipe mean the same in any unit."""
        return 1 / max(float(data.train.labels.var()), 1e-12)

    def loss_at_chance(self, data: Data) -> float:
        return 1.0

    def in_units(self, model: "keras.Model", data: Data) -> "keras.Model":
        """The model with its score in the unit of the labels, where the score of new weights is near 0 and 1."""
        mean, spread = float(data.train.labels.mean()), float(data.train.labels.std())
        units = keras.layers.Rescaling(spread or 1.0, mean, dtype="float32", name="units")
        return keras.Model(model.input, units(model.output), name=model.name)

    def monitored(self, targets: "tf.Tensor", scores: "tf.Tensor") -> "tf.Tensor":
        return keras.metrics.mean_absolute_error(targets, scores)

    def metrics(self, split: Split, scores: np.ndarray, class_names: Sequence[str]) -> dict[str, Any]:
        return {"task": self.name} | regression_metrics(split.labels, scores)

    def decide(self, scores: np.ndarray) -> np.ndarray:
        """float (N,): the score."""
        return scores[:, 0]

    def agreement(self, expected: np.ndarray, received: np.ndarray) -> float:
        """R², the fraction of the variance of the expected scores that the received ones have."""
        return _r2(expected, received)

    def accuracy(self, scores: np.ndarray, labels: np.ndarray) -> float:
        """R²."""
        return _r2(labels[:, None], scores)

    def refuse_chance(self, scores: np.ndarray, labels: np.ndarray) -> None:
        accuracy = self.accuracy(scores, labels)
        if not accuracy > 0.1:
            raise FailureError(
                f"the model's R² on the test images is {accuracy:.2f}, hardly better than always "
                f"{self.parity.constant} (0): train it further, or --force to export it all the same."
            )

    def summary(self, metrics: Mapping[str, Any]) -> str:
        known = "" if metrics["r2"] is None else f", R² {metrics['r2']:.4f}"
        return f"mean error {metrics['mae']:.4g}, squared {metrics['mse']:.4g}{known}"

    def facts(self, metrics: Mapping[str, Any]) -> dict[str, str]:
        known = {} if metrics["r2"] is None else {"R²": f"{metrics['r2']:.4f}"}
        return {"Mean error": f"{metrics['mae']:.4g}", "Mean squared error": f"{metrics['mse']:.4g}"} | known

    def answer(self, class_names: Sequence[str]) -> str:
        return f"a number for an image, {class_names[0]}"


def _r2(expected: np.ndarray, received: np.ndarray) -> float:
    """As scikit-learn's, which refuses what is not a number; here it must come out as beyond any budget."""
    wrong = np.square(expected.astype(np.float64) - received).mean()
    return float(1 - wrong / max(expected.astype(np.float64).var(), 1e-12))
