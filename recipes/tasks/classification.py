"""One class an image."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from recipes.data import Data, Split, class_weights
from recipes.data.labels import ONE_CLASS
from recipes.support.tables import SHOWN, some_of, table
from recipes.tasks.calibration import fit_temperature, reheated
from recipes.tasks.confusion import LARGEST_WRITTEN, most_confused
from recipes.tasks.metrics import accuracy_interval, calibration, classification_metrics, log_loss
from recipes.tasks.task import ParityWords, Task
from recipes.tasks.words import equivariance, honesty, invariance, listed_classes, selection, symmetry
from zoo.backend import keras, tf

if TYPE_CHECKING:
    from recipes.config.settings import Recipe
    from recipes.tasks.task import Loss

TINY = 1e-30  # the least probability that a loss sees; there is a gradient of all that are more


class Classification(Task):
    """Probabilities over the classes; the most probable one is the prediction."""

    labels = ONE_CLASS
    activation = "softmax"
    monitor = "accuracy"
    monitor_format = "accuracy {:.1%}"
    best_by_monitor = True
    score = "accuracy"
    parity = ParityWords(
        judged="the test images",
        accuracy="accuracy",
        heading="accuracy",
        same="same top-1",
        of="of {:,} test images",
        constant="naming the most frequent class",
    )

    def check(self, recipe: "Recipe") -> None:
        """Every setting has a meaning."""

    def targets(self, labels: np.ndarray, recipe: "Recipe", classes: int) -> np.ndarray:
        """Numbers of classes (N,), or probabilities float32 (N, classes) where the recipe mixes or smooths labels."""
        return np.eye(classes, dtype=np.float32)[labels] if recipe.soft_labels else labels

    def loss(self, recipe: "Recipe", data: Data) -> "Loss":
        if recipe.logit_adjustment:
            counts = np.bincount(data.train.labels, minlength=len(data.class_names))
            added = recipe.logit_adjustment * np.log(np.maximum(counts, 1) / len(data.train))
            return partial(adjusted_loss, added=added.astype(np.float32), label_smoothing=recipe.label_smoothing)
        if recipe.soft_labels:
            return keras.losses.CategoricalCrossentropy(label_smoothing=recipe.label_smoothing)
        return keras.losses.SparseCategoricalCrossentropy()

    def loss_at_chance(self, data: Data) -> float:
        return float(np.log(max(len(data.class_names), 2)))

    def class_weight(self, data: Data, recipe: "Recipe") -> dict[int, float] | None:
        balanced = recipe.class_weight == "balanced"
        return class_weights(data.train.labels, len(data.class_names)) if balanced else None

    def example_weights(self, targets: "tf.Tensor", class_weight: Mapping[int, float]) -> "tf.Tensor":
        factors = tf.constant([class_weight[label] for label in range(len(class_weight))], tf.float32)
        return tf.gather(factors, tf.argmax(targets, axis=-1) if _are_probabilities(targets) else targets)

    def monitored(self, targets: "tf.Tensor", scores: "tf.Tensor") -> "tf.Tensor":
        if _are_probabilities(targets):
            return keras.metrics.categorical_accuracy(targets, scores)
        return keras.metrics.sparse_categorical_accuracy(targets, scores)

    def warnings(self, best: Mapping[str, float], data: Data) -> list[str]:
        chance = np.bincount(data.validation.labels).max() / len(data.validation)
        learned, held = best["accuracy"], best["val_accuracy"]
        few = super().warnings(best, data)
        if held <= chance + 0.1 * (1 - chance) and learned >= chance + 0.5 * (1 - chance):
            return [
                f"validation accuracy {held:.1%} is near chance ({chance:.1%}) while training accuracy is "
                f"{learned:.1%}: look at the order of the labels, at BatchNorm statistics (momentum too high for so "
                "few steps), and at whether both parts were prepared alike.",
                *few,
            ]
        return few

    def certainty(self, best: Mapping[str, float], images: int) -> str:
        accuracy = best["val_accuracy"]
        low, high = accuracy_interval(np.arange(images) < round(accuracy * images))
        return (
            f"one of them is {1 / images:.1%} of accuracy, and the 95 % interval of its {accuracy:.1%} is {low:.1%} to "
            f"{high:.1%}"
        )

    def metrics(self, split: Split, scores: np.ndarray, class_names: Sequence[str]) -> dict[str, Any]:
        return {"task": self.name} | classification_metrics(split.labels, scores, class_names, split.files)

    def fit_temperature(self, logits: np.ndarray, labels: np.ndarray) -> float | None:
        return fit_temperature(logits, labels)

    def calibration(self, labels: np.ndarray, scores: np.ndarray, temperature: float | None) -> dict[str, Any]:
        if temperature is None:
            return {}
        before = reheated(scores, 1 / temperature)
        found = {"loss": log_loss(labels, before), **calibration(labels, before)}
        return {"calibration": {"temperature": temperature, "before": found}}

    def decide(self, scores: np.ndarray) -> np.ndarray:
        """int64 (N,): the class with the largest score."""
        best: np.ndarray = scores.argmax(1)
        return best

    def accuracy_by_class(self, scores: np.ndarray, labels: np.ndarray, class_names: Sequence[str]) -> dict[str, float]:
        """Of the images of each class, the fraction that is right (recall)."""
        right = self.decide(scores) == labels
        rows = [(name, labels == label) for label, name in enumerate(class_names)]
        return {name: float(right[those].mean()) for name, those in rows if those.any()}

    def chance(self, labels: np.ndarray) -> float:
        """The fraction of the most frequent class."""
        return float((np.bincount(labels) / len(labels)).max())

    def summary(self, metrics: Mapping[str, Any]) -> str:
        return f"accuracy {metrics['accuracy']:.2%}, loss {metrics['loss']:.4f}"

    def evaluation(self, metrics: Mapping[str, Any]) -> str:
        k, (low, high) = metrics["top_k"], metrics["accuracy_interval"]
        shown, note = listed_classes(metrics["per_class"], by="f1")
        rows = [
            (name, f"{c['precision']:.1%}", f"{c['recall']:.1%}", f"{c['f1']:.1%}", str(c["support"]))
            for name, c in shown
        ]
        parts = [
            f"accuracy {metrics['accuracy']:.2%} (95 % interval {low:.1%} to {high:.1%}), top-{k['k']} "
            f"{k['accuracy']:.2%}, loss {metrics['loss']:.4f}, calibration error {metrics['calibration_error']:.2%}, "
            f"{metrics['examples']:,} images",
            honesty(metrics),
            selection(metrics),
            note + table(["class", "precision", "recall", "f1", "images"], rows, right=[1, 2, 3, 4]),
            _confusion(metrics),
        ]
        if mistakes := metrics["worst_mistakes"][:SHOWN]:
            worst = [(m["file"] or f"image {m['index']}", m["true"], m["guess"], f"{m['score']:.1%}") for m in mistakes]
            parts.append("Worst mistakes:\n" + table(["image", "is", "taken for", "sure"], worst, right=[3]))
        if "invariance" in metrics:
            parts.append(invariance(metrics["invariance"]))
        if "symmetry" in metrics:
            parts.append(symmetry(metrics["symmetry"]))
        if metrics.get("equivariance"):
            parts.append(equivariance(metrics["equivariance"]))
        return "\n\n".join(filter(None, parts))

    def facts(self, metrics: Mapping[str, Any]) -> dict[str, str]:
        low, high = metrics["accuracy_interval"]
        return {
            "Test accuracy": f"{metrics['accuracy']:.2%}",
            "95 % interval": f"{low:.1%} to {high:.1%}",
            f"Top-{metrics['top_k']['k']} accuracy": f"{metrics['top_k']['accuracy']:.2%}",
            "Log loss": f"{metrics['loss']:.4f}",
            "Calibration error": f"{metrics['calibration_error']:.2%}",
        }

    def answer(self, class_names: Sequence[str]) -> str:
        return f"which of {len(class_names)} classes ({some_of(class_names)}) an image shows"


def adjusted_loss(
    targets: "tf.Tensor", scores: "tf.Tensor", *, added: np.ndarray, label_smoothing: float = 0.0
) -> "tf.Tensor":
    """Cross-entropy after a number is added to each class's logit: with the logarithm of its frequency, what is learned
    is to tell the classes apart as if all were equally frequent (Menon et al. 2021, https://arxiv.org/abs/2007.07314).

    Args:
        targets: numbers of classes (B,), or probabilities (B, classes).
        scores: probabilities (B, classes).
        added: (classes,).
        label_smoothing: of targets that are probabilities.

    Returns:
        (B,).
    """
    logits = keras.ops.log(keras.ops.maximum(keras.ops.cast(scores, "float32"), TINY)) + added
    if _are_probabilities(targets):
        return keras.losses.categorical_crossentropy(targets, logits, from_logits=True, label_smoothing=label_smoothing)
    return keras.losses.sparse_categorical_crossentropy(targets, logits, from_logits=True)


def _confusion(metrics: Mapping[str, Any]) -> str:
    names = metrics["class_names"]
    if len(names) <= LARGEST_WRITTEN:
        matrix = [(name, *map(str, row)) for name, row in zip(names, metrics["confusion_matrix"], strict=True)]
        return "Rows are true classes, columns are predictions:\n" + table(
            ["", *names], matrix, right=range(1, len(names) + 1)
        )
    pairs = [(pair["true"], pair["predicted"], f"{pair['images']:,}") for pair in most_confused(metrics)]
    return "Most confused:\n" + table(["is", "taken for", "images"], pairs, right=[2]) if pairs else ""


def _are_probabilities(targets: "tf.Tensor") -> bool:
    """Whether targets are (B, classes), not numbers of classes (B,)."""
    return len(targets.shape) > 1
