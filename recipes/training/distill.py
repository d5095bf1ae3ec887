"""Learning from trained runs as well as from labels (Hinton, Vinyals, Dean 2015, https://arxiv.org/abs/1503.02531)."""

from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256

import numpy as np

from recipes.config.settings import Distill, Recipe
from recipes.data import Data
from recipes.data.batches import untuned
from recipes.run.folder import Run
from recipes.tasks import Task
from recipes.tasks.classification import TINY
from zoo.backend import keras, tf
from zoo.errors import RequestError


@dataclass(frozen=True, eq=False)
class Teacher:
    """A trained run that is learned from.

    Attributes:
        model: images (B, h, w, c) with pixels 0-255 to probabilities.
        columns: of its probabilities, those of the student's classes, in their order.
        digest: sha256 of its weights.
    """

    model: keras.Model
    columns: tuple[int, ...]
    digest: str

    def probabilities(self, images: tf.Tensor) -> tf.Tensor:
        """float32 (B, classes) of the student's images uint8 (B, H, W, C), brought to the teacher's size and channels.

        Of grey images a teacher for colour gets three equal channels; of colours, one for grey the luminance.
        """
        height, width, channels = self.model.input_shape[1:]
        seen = tf.cast(images, tf.float32)
        if channels != images.shape[-1]:
            seen = tf.image.grayscale_to_rgb(seen) if channels == 3 else tf.image.rgb_to_grayscale(seen)
        if (height or images.shape[1], width or images.shape[2]) != tuple(images.shape[1:3]):
            seen = tf.image.resize(seen, (height, width), antialias=True)
        return tf.gather(tf.cast(self.model(seen, training=False), tf.float32), self.columns, axis=1)


@dataclass(frozen=True, eq=False)
class Teachers:
    """All teachers of a training."""

    members: tuple[Teacher, ...]
    temperature: float

    @property
    def digests(self) -> tuple[str, ...]:
        return tuple(member.digest for member in self.members)

    def targets(self, images: tf.Tensor) -> tf.Tensor:
        """float32 (B, classes): the mean of the teachers' probabilities at the temperature."""
        softened = [soft(member.probabilities(images), self.temperature) for member in self.members]
        return tf.add_n(softened) / len(softened)

    def joined(self, batches: tf.data.Dataset) -> tf.data.Dataset:
        """Batches (images, labels (B, classes)) with the teachers' targets of the same images, as they were varied,
        behind the labels: (images, targets (B, 2 classes))."""

        def taught(images: tf.Tensor, labels: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            return images, tf.concat([labels, self.targets(images)], axis=1)

        return untuned(batches.map(taught, num_parallel_calls=2, deterministic=True).prefetch(2))


def load_teachers(settings: Distill, images: Data) -> Teachers:
    """The runs that are learned from, beside the labels of these images.

    Raises:
        RequestError: one is not there or not finished, is not what it was when the training began, or has no
            probabilities of the classes that are learned.
    """
    begun = settings.digests
    members = []
    for number, path in enumerate(settings.teachers):
        try:
            run = Run.open(path)
            model = run.load_model()
        except RequestError as error:
            way = f" Bring {path} back, or train a new run." if begun else ""
            raise RequestError(f"the teacher cannot be used: {error}{way}") from None
        teacher = Teacher(model, _columns(run, images), _digest(model))
        if begun and teacher.digest != begun[number]:
            raise RequestError(
                f"the teacher {path} has other weights than when this training began: bring those back, or train a new "
                "run."
            )
        if (channels := {model.input_shape[-1], images.train.images.shape[-1]}) not in ({1}, {3}, {1, 3}):
            raise RequestError(
                f"the teacher {path} takes {model.input_shape[-1]} channels; allowed for images of "
                f"{images.train.images.shape[-1]}: {'1 or 3' if channels & {1, 3} else 'the same'}."
            )
        members.append(teacher)
    return Teachers(tuple(members), settings.temperature)


def _columns(run: Run, images: Data) -> tuple[int, ...]:
    """Where in a teacher's scores the student's classes are.

    Raises:
        RequestError: its classes are others.
    """
    if run.task != images.task:
        raise RequestError(f"the teacher {run.path} is for {run.task}; allowed: {images.task}, as {images.source} is.")
    if set(run.class_names) != set(images.class_names):
        apart = sorted(set(run.class_names) ^ set(images.class_names))
        raise RequestError(
            f"the teacher {run.path} has other classes than {images.source}: {', '.join(apart[:5])} "
            f"{'are' if len(apart) > 1 else 'is'} in one of them only; allowed: the same, in any order."
        )
    return tuple(run.class_names.index(name) for name in images.class_names)


def _digest(model: keras.Model) -> str:
    digest = sha256()
    for array in model.get_weights():
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()


def soft(probabilities: tf.Tensor, temperature: float) -> tf.Tensor:
    """Probabilities (B, classes) as they are where logits are divided by a temperature (equation 1).

    >>> soft(tf.constant([[0.8, 0.2]]), 2.0).numpy().round(3).tolist()
    [[0.6669999957084656, 0.3330000042915344]]
    """
    return tf.exp(_log_soft(probabilities, temperature))


def _log_soft(probabilities: tf.Tensor, temperature: float) -> tf.Tensor:
    return tf.nn.log_softmax(tf.math.log(tf.maximum(probabilities, TINY)) / temperature)


def distillation_loss(recipe: Recipe, distill: Distill) -> Callable[[tf.Tensor, tf.Tensor], tf.Tensor]:
    """The loss (B,) of scores (B, classes) against the targets of `Teachers.joined`.

    `weight` of it is T² times the divergence of the student's probabilities at the temperature T from the teachers',
    the rest is the cross-entropy of the labels. T² keeps the gradients of both in proportion when T is changed
    (section 2). Against labels alone (B, classes), which is how validation is measured, it is their cross-entropy.
    """
    temperature, weight = distill.temperature, distill.weight

    def loss(targets: tf.Tensor, scores: tf.Tensor) -> tf.Tensor:
        classes = scores.shape[-1]
        labels, taught = targets[:, :classes], targets[:, classes:]
        of_labels = keras.losses.categorical_crossentropy(labels, scores, label_smoothing=recipe.label_smoothing)
        if targets.shape[-1] == classes:
            return of_labels
        apart = tf.math.xlogy(taught, taught) - taught * _log_soft(scores, temperature)
        return (1 - weight) * of_labels + weight * temperature**2 * tf.reduce_sum(apart, axis=1)

    return loss


class LabelMean(keras.metrics.Mean):
    """The mean of a task's monitored metric, by the labels that stand before the teachers' targets."""

    def __init__(self, task: Task) -> None:
        super().__init__(name=task.monitor)
        self._task = task

    def update_state(self, y_true: tf.Tensor, y_pred: tf.Tensor, sample_weight: tf.Tensor | None = None) -> None:
        super().update_state(self._task.monitored(y_true[:, : y_pred.shape[-1]], y_pred), sample_weight)
