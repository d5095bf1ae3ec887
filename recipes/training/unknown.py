"""Images of no class, to learn against: of them, all classes are to get the same score (outlier exposure, Hendrycks et
al. 2019, https://arxiv.org/abs/1812.04606)."""

import numpy as np

from recipes.config.settings import Recipe, ResolvedRecipe
from recipes.data import load
from recipes.data.batches import untuned
from recipes.data.readers import absolute_source, open_reader
from recipes.training.model import stream
from zoo.backend import tf
from zoo.errors import RequestError


def load_unknown(recipe: ResolvedRecipe, *, quiet: bool) -> np.ndarray | None:
    """The images that a recipe learns against, uint8 (N, H, W, C): those of its source that are not for testing.

    Raises:
        RequestError: they cannot be read, or are those that classes are learned from.
    """
    if recipe.unknown is None:
        return None
    reader, known = open_reader(recipe.unknown.source), recipe.data
    if absolute_source(reader.source) in (known.source, *(known.also or ())):
        raise RequestError(f"{reader.source} is what classes are learned from; --unknown takes images of no class.")
    data = load(
        reader,
        image_shape=known.image_shape,
        resize=known.resize,
        split_seed=known.split_seed,
        skip_bad=known.skip_bad,
        purpose="join",  # one class is enough
        quiet=quiet,
    )
    return np.concatenate([data.train.images, data.validation.images])


def with_unknown(
    batches: tf.data.Dataset, unknown: np.ndarray, recipe: Recipe, images: int, classes: int, *, first_epoch: int = 0
) -> tf.data.Dataset:
    """Batches with as many unknown images behind those that they have.

    Which they are and how they are varied is a function of (seed, epoch), as of all others. What Keras makes of the
    weights is the mean loss of the known images, plus that of the unknown ones times `unknown.weight`.

    Args:
        batches: (images, probabilities) of `recipes.training.model.training_batches`.
        unknown: uint8 (N, H, W, C).
        recipe: batches, seed, augmentation and weight.
        images: how many there are to learn from.
        classes: how many there are.
        first_epoch: of the batches.

    Returns:
        (images uint8 (2 B, H, W, C), probabilities float32 (2 B, classes), weights float32 (2 B,)).
    """
    assert recipe.unknown is not None
    size, steps = recipe.batch_of(images), recipe.steps_per_epoch(images)
    augment, held, count = recipe.augment, tf.constant(unknown), len(unknown)
    weights = tf.repeat(tf.constant([2.0, 2.0 * recipe.unknown.weight]), size)
    even = tf.fill((size, classes), 1.0 / classes)

    def epoch_rows(epoch: tf.Tensor) -> tf.data.Dataset:
        order = tf.random.experimental.stateless_shuffle(tf.range(count), stream("unknown", recipe.seed, epoch))
        order = tf.tile(order, [-(-steps * size // count)])[: steps * size]
        draws = augment.draw(count, stream("augment unknown", recipe.seed, epoch))
        return tf.data.Dataset.from_tensor_slices((order, tf.gather(draws, order))).batch(size, drop_remainder=True)

    def varied(rows: tf.Tensor, draws: tf.Tensor) -> tf.Tensor:
        return augment(tf.gather(held, rows), draws)

    def behind(known: tuple[tf.Tensor, tf.Tensor], others: tf.Tensor) -> tuple[tf.Tensor, ...]:
        return tf.concat([known[0], others], 0), tf.concat([known[1], even], 0), weights

    others = tf.data.Dataset.range(first_epoch, recipe.epochs).flat_map(epoch_rows)
    others = others.map(varied, num_parallel_calls=2, deterministic=True)
    return untuned(tf.data.Dataset.zip((batches, others)).map(behind).prefetch(2))
