"""Rows of images for `tf.data`, whether they lie in memory, in a mapped file, or are still to be decoded."""

from collections.abc import Callable

import numpy as np

from recipes.data.decoded import DecodedImages
from zoo.backend import tf

_ALIGNMENT = 64  # bytes; TensorFlow ends the process over a tensor that does not begin at a multiple


def gather_rows(images: np.ndarray | DecodedImages) -> "Callable[[tf.Tensor], tf.Tensor]":
    """A function from row numbers (B,) to images (B, H, W, C), for use inside `Dataset.map`.

    Images in memory become one tensor. A mapped file is read where it is, without a copy and without Python, if it is
    aligned and mapped copy-on-write, as those of the cache are; any other through NumPy, and so are images that are
    decoded when they are asked for.

    Args:
        images: (N, H, W, C), an array, an `np.memmap` or `DecodedImages`.
    """
    if isinstance(images, DecodedImages):
        return _through_numpy(images)
    if not isinstance(images, np.memmap):
        held = tf.constant(images)
        return lambda rows: tf.gather(held, rows)
    if images.ctypes.data % _ALIGNMENT == 0 and images.flags.c_contiguous and images.flags.writeable:
        mapped = tf.experimental.dlpack.from_dlpack(images.__dlpack__())
        return lambda rows: tf.gather(mapped, rows)
    return _through_numpy(images)


def _through_numpy(images: np.ndarray | DecodedImages) -> "Callable[[tf.Tensor], tf.Tensor]":
    def gather(rows: "tf.Tensor") -> "tf.Tensor":
        taken = tf.numpy_function(lambda wanted: images[wanted], [rows], tf.uint8, stateful=False)
        return tf.ensure_shape(taken, (None, *images.shape[1:]))

    return gather


def batches(
    images: np.ndarray | DecodedImages, labels: np.ndarray, batch_size: int, seed: int | None = None
) -> "tf.data.Dataset":
    """All rows once, in batches (images (B, ...), labels (B, ...)), the last of which may be smaller.

    Args:
        images, labels: equally many rows.
        batch_size: rows a batch.
        seed: shuffles, in another order every time the dataset is gone through; in order if None.
    """
    count, pixels, targets = len(labels), gather_rows(images), tf.constant(labels)
    rows = tf.data.Dataset.range(count)
    if seed is not None:
        rows = rows.shuffle(count, seed=seed, reshuffle_each_iteration=True)

    def batch(rows: "tf.Tensor") -> "tuple[tf.Tensor, tf.Tensor]":
        return pixels(rows), tf.gather(targets, rows)

    return untuned(rows.batch(batch_size).map(batch, num_parallel_calls=2, deterministic=True).prefetch(4))


def untuned(dataset: "tf.data.Dataset") -> "tf.data.Dataset":
    """A dataset without autotuning, which stalls for seconds when an iterator ends."""
    options = tf.data.Options()
    options.autotune.enabled = False
    return dataset.with_options(options)
