"""Any number of classes an image."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from recipes.data import Data, Split
from recipes.data.labels import SEVERAL_CLASSES
from recipes.support.tables import some_of, table
from recipes.tasks.calibration import fit_temperature, reheated_each, yes_or_no
from recipes.tasks.metrics import calibration, log_loss, multilabel_metrics
from recipes.tasks.task import ParityWords, Task
from recipes.tasks.words import honesty, listed_classes
from zoo.backend import keras, tf

if TYPE_CHECKING:
    from recipes.config.settings import Recipe


class Multilabel(Task):
    """A probability for each class by itself; the prediction has those of at least one half.

    With few of many classes in an image, predicting none is right nearly always: the loss chooses the best epoch.
    """

    labels = SEVERAL_CLASSES
    activation = "sigmoid"
    monitor = "binary_accuracy"
    monitor_format = "right {:.1%}"
    score = "map"
    parity = ParityWords(
        judged="the labels of the test images",
        accuracy="accuracy",
        heading="labels right",
        same="same labels",
        of="of those of {:,} test images",
        constant="giving each label to all images or to none",
    )

    def loss(self, recipe: "Recipe", data: Data) -> "keras.losses.Loss":
        return keras.losses.BinaryCrossentropy(label_smoothing=recipe.label_smoothing)

    def loss_at_chance(self, data: Data) -> float:
        return float(np.log(2))

    def monitored(self, targets: "tf.Tensor", scores: "tf.Tensor") -> "tf.Tensor":
        return keras.metrics.binary_accuracy(targets, scores)

    def metrics(self, split: Split, scores: np.ndarray, class_names: Sequence[str]) -> dict[str, Any]:
        return {"task": self.name} | multilabel_metrics(split.labels, scores, class_names)

    def fit_temperature(self, logits: np.ndarray, labels: np.ndarray) -> float | None:
        return fit_temperature(yes_or_no(logits), labels.reshape(-1).astype(int))

    def calibration(self, labels: np.ndarray, scores: np.ndarray, temperature: float | None) -> dict[str, Any]:
        if temperature is None:
            return {}
        before = reheated_each(scores, 1 / temperature)
        flat, truth = before.reshape(-1), labels.reshape(-1).astype(int)
        loss = log_loss(truth, np.stack([1 - flat, flat], axis=1))
        return {"calibration": {"temperature": temperature, "before": {"loss": loss, **calibration(labels, before)}}}

    def decide(self, scores: np.ndarray) -> np.ndarray:
        """bool (N, classes): the classes with a score of at least 0.5."""
        return scores >= 0.5

    def accuracy_by_class(self, scores: np.ndarray, labels: np.ndarray, class_names: Sequence[str]) -> dict[str, float]:
        """Of all images, the fraction that is right about each class."""
        right = self.decide(scores) == labels
        return {name: float(right[:, i].mean()) for i, name in enumerate(class_names)}

    def chance(self, labels: np.ndarray) -> float:
        """The mean over the classes of the fraction of the more frequent answer, yes or no."""
        fractions = labels.mean(0)
        return float(np.maximum(fractions, 1 - fractions).mean())

    def summary(self, metrics: Mapping[str, Any]) -> str:
        return f"mAP {metrics['map']:.2%}, F1 {metrics['f1']:.2%}, all classes right {metrics['exact']:.2%}"

    def evaluation(self, metrics: Mapping[str, Any]) -> str:
        shown, note = listed_classes(metrics["per_class"], by="average_precision")
        rows = [
            (
                name,
                "-" if c["average_precision"] is None else f"{c['average_precision']:.1%}",
                f"{c['f1']:.1%}",
                str(c["support"]),
            )
            for name, c in shown
        ]
        classes = note + table(["class", "average precision", "f1", "images"], rows, right=[1, 2, 3])
        return "\n\n".join(filter(None, [super().evaluation(metrics), honesty(metrics), classes]))

    def facts(self, metrics: Mapping[str, Any]) -> dict[str, str]:
        return {
            "Mean average precision": f"{metrics['map']:.2%}",
            "F1": f"{metrics['f1']:.2%}",
            "F1, mean of the classes": f"{metrics['f1_macro']:.2%}",
            "All classes right": f"{metrics['exact']:.2%}",
        }

    def answer(self, class_names: Sequence[str]) -> str:
        return f"which of {len(class_names)} labels ({some_of(class_names)}) an image has, each for itself"
