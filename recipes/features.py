"""What a frozen part of a model makes of pictures: computed once, trained on many times."""

import math
from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from recipes.augment import Augment
from recipes.data import Split
from recipes.data.batches import gather_rows
from recipes.data.pixels import memory_limit
from recipes.training import stream
from zoo.errors import FailureError

BATCH = 64


def features_of(
    part: keras.Model,
    split: Split,
    *,
    views: int = 1,
    augment: Augment | None = None,
    seed: int = 0,
    file: Path | None = None,
) -> Split:
    """The outputs of a frozen part for all pictures, in their order, with their labels.

    Args:
        part: runs as in inference.
        split: pictures (N, ...) and labels.
        views: the pictures as they are, and views - 1 times as `augment` draws them; one after the other.
        augment: needed for more than one view.
        seed: of the draws.
        file: where they go if they do not fit into memory.

    Returns:
        float32 (views * N, ...).

    Raises:
        FailureError: no space for what does not fit into memory.
    """
    count = len(split)
    outputs = _room((views * count, *part.output_shape[1:]), file)
    run = _compiled(part, split, augment if views > 1 else None)
    for view in range(views):
        draws = augment.draw(count, stream("augment", seed, tf.constant(view, tf.int64))) if view else None
        for start in range(0, count, BATCH):
            rows = np.minimum(np.arange(start, start + BATCH), count - 1)  # one shape, one compilation
            made = run(tf.constant(rows), None if draws is None else tf.gather(draws, rows)).numpy()
            end = min(start + BATCH, count)
            outputs[view * count + start : view * count + end] = made[: end - start]
    if isinstance(outputs, np.memmap):
        outputs.flush()
        outputs = np.load(file, mmap_mode="c", allow_pickle=False)  # as `gather_rows` reads without copying
    return Split(outputs, np.tile(split.labels, views))


def _compiled(
    part: keras.Model, split: Split, augment: Augment | None
) -> Callable[[tf.Tensor, tf.Tensor | None], tf.Tensor]:
    """A function from row numbers (BATCH,), and draws for them or None, to outputs."""
    pictures, rows = gather_rows(split.images), tf.TensorSpec((BATCH,), tf.int64)
    plain = tf.function(lambda rows: part(pictures(rows), training=False)).get_concrete_function(rows)
    if augment is None:
        return lambda rows, _: plain(rows)

    def vary(rows: tf.Tensor, draws: tf.Tensor) -> tf.Tensor:
        images = augment(pictures(rows), draws)
        return part(tf.ensure_shape(images, (BATCH, *split.images.shape[1:])), training=False)

    columns = augment.draw(1, tf.constant([0, 0], tf.int64)).shape[1]
    varied = tf.function(vary).get_concrete_function(rows, tf.TensorSpec((BATCH, columns), tf.float32))
    return lambda rows, draws: plain(rows) if draws is None else varied(rows, draws)


def _room(shape: tuple[int, ...], file: Path | None) -> np.ndarray:
    if 4 * math.prod(shape) <= memory_limit() or file is None:
        return np.empty(shape, np.float32)
    try:
        return np.lib.format.open_memmap(file, "w+", np.float32, shape)
    except OSError as error:
        raise FailureError(f"{file} cannot be written: {error.strerror or error}.") from None
