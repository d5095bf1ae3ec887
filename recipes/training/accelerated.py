"""Training on one GPU: images are varied inside the compiled training step, on the device that holds them.

The host draws what it draws for a CPU, so an epoch is the same function of (seed, epoch, index of the example); images
are equal to within one level, by which XLA may round otherwise in a larger kernel.
"""

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any

from recipes.config.settings import Recipe
from recipes.data import Split
from recipes.data.batches import gather_rows, untuned
from recipes.data.decoded import DecodedImages
from recipes.tasks import Task
from recipes.training.model import drawn_batches
from zoo.backend import keras, tf
from zoo.errors import FailureError, first_line

LARGEST = 2**31  # bytes of images that are kept on the device

Rows = tuple[tf.Tensor, ...]  # row numbers (B,), draws (B, columns), and images (B, ...) unless the device has them


class DeviceBatches:
    """Batches of which the host gives row numbers and draws, and the device makes images and labels.

    Args:
        train: the images (N, ...) uint8, or features float32, and their labels.
        recipe: order, augmentation and batches.
        classes: how many there are.
        task: what the labels are.
        class_weight: how much the examples of each class count; all the same if None.
        largest: bytes of images that the device keeps; of more, every batch is brought to it.
    """

    def __init__(
        self,
        train: Split,
        recipe: Recipe,
        classes: int,
        task: Task,
        class_weight: Mapping[int, float] | None = None,
        *,
        largest: int = LARGEST,
    ) -> None:
        self._train, self._recipe, self._task, self._class_weight = train, recipe, task, class_weight
        self._labels = tf.constant(task.targets(train.labels, recipe, classes))
        images = train.images
        self.are_held = not isinstance(images, DecodedImages) and images.nbytes <= largest
        self._images = tf.constant(images) if self.are_held else None

    def given(self, first_epoch: int = 0) -> tf.data.Dataset:
        """What the host gives a step, for the epochs from `first_epoch` on: `Rows`, with a mixing augmentation also
        those of the partners."""
        batches = drawn_batches(len(self._train), self._recipe, first_epoch=first_epoch)
        if self.are_held:
            return untuned(batches.prefetch(4))
        images = gather_rows(self._train.images)

        def brought(*every: tuple[tf.Tensor, tf.Tensor]) -> tuple[Rows, ...]:
            return tuple((rows, draws, images(rows)) for rows, draws in every)

        return untuned(batches.map(brought, num_parallel_calls=2, deterministic=True).prefetch(4))

    def made(self, given: tuple[Rows, ...]) -> tuple[tf.Tensor, ...]:
        """(images, labels), and weights (B,) where classes have some, of what `given` gives; for the training step."""
        augment = self._recipe.augment
        images, labels = self._varied(*given[0])
        if len(given) == 2:
            images, labels = augment.mix(images, labels, *self._varied(*given[1]), given[0][1])
        if self._class_weight:
            return images, labels, self._task.example_weights(labels, self._class_weight)
        return images, labels

    def _varied(self, rows: tf.Tensor, draws: tf.Tensor, *brought: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        images = brought[0] if brought else tf.gather(self._images, rows)
        return self._recipe.augment(images, draws), tf.gather(self._labels, rows)


@contextlib.contextmanager
def made_in_step(model: keras.Model, batches: DeviceBatches) -> Iterator[None]:
    """In the block the model's training step takes what `DeviceBatches.given` gives.

    Raises (inside the block):
        FailureError: XLA cannot compile the model.
    """
    own = model.train_step

    def train_step(given: Any) -> Any:
        return own(batches.made(given))

    model.train_step = train_step
    try:
        yield
    except tf.errors.InvalidArgumentError as error:
        if not model.jit_compile or "compil" not in str(error):
            raise
        raise FailureError(
            f"XLA cannot compile {model.name}: {first_line(error)} --set jit_compile=false trains without it."
        ) from error
    finally:
        del model.train_step
        model.train_function = None  # it holds the step, and with it the images
