"""What a frozen part of a model makes of images: computed once, trained on many times."""

import math
from collections.abc import Callable
from functools import cached_property
from pathlib import Path

import numpy as np

from recipes.augment.pipeline import Augment
from recipes.data import Split
from recipes.data.pixels import memory_limit
from recipes.distributed.team import ALONE, Team
from recipes.training.model import stream
from zoo.backend import keras, tf
from zoo.errors import FailureError
from zoo.groups import copies_in
from zoo.keras_internals import as_constants

AT_ONCE = 1024  # images that a device computes before all workers are given them
BATCH = 64  # rows at a time: an image has as many as it has copies


class Frozen:
    """A part of a model that does not learn, compiled once for any number of splits.

    Args:
        part: runs as in inference.
        dtype: of what it is given: uint8 images, or float32 features.
        augment: draws the views of images beyond the first.
    """

    def __init__(self, part: keras.Model, dtype: np.dtype, augment: Augment | None = None) -> None:
        self._part, self._augment = part, Augment() if augment is None else augment
        self._batch = max(BATCH // copies_in(part), 1)
        self._given = tf.TensorSpec((self._batch, *part.input_shape[1:]), dtype)

    def __call__(
        self, split: Split, *, views: int = 1, seed: int = 0, file: Path | None = None, team: Team = ALONE
    ) -> Split:
        """The outputs for all images, in their order, with their labels.

        Args:
            split: what the part is given (N, ...), and labels.
            views: the images as they are, and views - 1 times as `augment` draws them; one after the other.
            seed: of the draws.
            file: where the outputs go if they do not fit into memory.
            team: each of whose devices computes its share; every worker is given the whole.

        Returns:
            float32 (views * N, ...).

        Raises:
            FailureError: no space for what does not fit into memory.
        """
        count = len(split)
        outputs = _room((views * count, *self._part.output_shape[1:]), file)
        for view in range(views):
            draws = self._augment.draw(count, stream("augment", seed, tf.constant(view, tf.int64))) if view else None
            of_view = outputs[view * count : (view + 1) * count]
            if team.size == 1 and not team.devices:
                self._fill(of_view, split, draws, range(count))
                continue
            together = AT_ONCE * team.replicas
            for first in range(0, count, together):
                rows = range(first, min(first + together, count))
                of_view[rows.start : rows.stop] = team.in_shares(len(rows), self._maker(split, draws, rows))
        if file is not None and isinstance(outputs, np.memmap):
            outputs.flush()
            outputs = np.load(file, mmap_mode="c", allow_pickle=False)  # as `gather_rows` reads without copying
        return Split(outputs, np.concatenate([split.labels] * views))

    def _fill(self, outputs: np.ndarray, split: Split, draws: tf.Tensor | None, chosen: range) -> None:
        """Puts the outputs for some of the images in their place (n, ...)."""
        for start in range(chosen.start, chosen.stop, self._batch):
            rows = np.minimum(np.arange(start, start + self._batch), chosen.stop - 1)  # one shape, one compilation
            batch = tf.constant(split.images[rows])
            made = self._plain(batch) if draws is None else self._varied(batch, tf.gather(draws, rows))
            end = min(start + self._batch, chosen.stop)
            outputs[start - chosen.start : end - chosen.start] = made.numpy()[: end - start]

    def _maker(self, split: Split, draws: tf.Tensor | None, rows: range) -> Callable[[slice], np.ndarray]:
        _ = self._plain if draws is None else self._varied  # compiled before several threads ask for it

        def make(share: slice) -> np.ndarray:
            outputs = np.empty((len(rows[share]), *self._part.output_shape[1:]), np.float32)
            self._fill(outputs, split, draws, rows[share])
            return outputs

        return make

    @cached_property
    def _plain(self) -> Callable[[tf.Tensor], tf.Tensor]:
        return as_constants(lambda images: self._part(images, training=False), self._given)

    @cached_property
    def _varied(self) -> Callable[[tf.Tensor, tf.Tensor], tf.Tensor]:
        columns = self._augment.draw(1, tf.constant([0, 0], tf.int64)).shape[1]

        def run(images: tf.Tensor, draws: tf.Tensor) -> tf.Tensor:
            return self._part(tf.ensure_shape(self._augment(images, draws), self._given.shape), training=False)

        return as_constants(run, self._given, tf.TensorSpec((self._batch, columns), tf.float32))


def _room(shape: tuple[int, ...], file: Path | None) -> np.ndarray:
    if 4 * math.prod(shape) <= memory_limit() or file is None:
        return np.empty(shape, np.float32)
    try:
        return np.lib.format.open_memmap(file, "w+", np.float32, shape)
    except OSError as error:
        raise FailureError(f"{file} cannot be written: {error.strerror or error}.") from None
