"""What a frozen part of a model makes of pictures: computed once, trained on many times."""

import math
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
    shape = (views * count, *part.output_shape[1:])
    outputs = _room(shape, file)
    pictures = gather_rows(split.images)

    @tf.function(reduce_retracing=True)
    def plain(rows: tf.Tensor) -> tf.Tensor:
        return part(pictures(rows), training=False)

    @tf.function(reduce_retracing=True)
    def varied(rows: tf.Tensor, draws: tf.Tensor) -> tf.Tensor:
        images = tf.ensure_shape(augment(pictures(rows), draws), (None, *split.images.shape[1:]))
        return part(images, training=False)

    for view in range(views):
        draws = augment.draw(count, stream("augment", seed, tf.constant(view, tf.int64))) if view else None
        for start in range(0, count, BATCH):
            rows = tf.range(start, min(start + BATCH, count))
            made = plain(rows) if draws is None else varied(rows, tf.gather(draws, rows))
            outputs[view * count + start : view * count + start + len(rows)] = made.numpy()
    if isinstance(outputs, np.memmap):
        outputs.flush()
        outputs = np.load(file, mmap_mode="c", allow_pickle=False)  # as `gather_rows` reads without copying
    return Split(outputs, np.tile(split.labels, views))


def _room(shape: tuple[int, ...], file: Path | None) -> np.ndarray:
    if 4 * math.prod(shape) <= memory_limit() or file is None:
        return np.empty(shape, np.float32)
    try:
        return np.lib.format.open_memmap(file, "w+", np.float32, shape)
    except OSError as error:
        raise FailureError(f"{file} cannot be written: {error.strerror or error}.") from None
