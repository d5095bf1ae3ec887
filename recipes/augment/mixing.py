"""Mixing two images and their labels: mixup and cutmix. Each image meets one of those that are set."""

from collections.abc import Callable, Sequence
from functools import cache
from typing import Annotated, ClassVar

from pydantic import Field

from recipes.augment.operation import Fraction, Settings
from recipes.augment.pixels import as_dtype, inside_box, per_image
from zoo.backend import tf

Positive = Annotated[float, Field(gt=0, le=100)]
STREAM = 4  # numbered among those of the operations, see `Operation`
DRAWS = ("partner", "chance", "centre_y", "centre_x")  # uniform, whichever way of mixing an image meets


class Mixing(Settings):
    """A way of mixing an image with its partner, by a weight that is drawn from a Beta distribution.

    Attributes:
        alpha: of the Beta(alpha, alpha) that the first image's weight is drawn from.
        probability: fraction of the images that are mixed.

    Class attributes:
        stream: number of the random stream of the weights, within the one of all mixing.
    """

    stream: ClassVar[int]

    alpha: Positive
    probability: Fraction = 1.0

    def draw(self, examples: int, seed: "tf.Tensor") -> "tf.Tensor":
        """The first image's weights, float32 (examples, 1), from Beta(alpha, alpha)."""
        seed = tf.random.experimental.stateless_fold_in(seed, self.stream)
        gamma = tf.random.stateless_gamma((examples, 2), seed, alpha=self.alpha)
        total = tf.reduce_sum(gamma, axis=1, keepdims=True)
        return tf.where(total > 0, gamma[:, :1] / tf.maximum(total, 1e-30), 0.5)

    def kept(self, weight: "tf.Tensor", drawn: "dict[str, tf.Tensor]", height: int, width: int) -> "tf.Tensor":
        """How much of every pixel stays of the image itself, (B, 1, 1, 1) or (B, H, W, 1).

        Args:
            weight: float32 (B,), see `draw`.
            drawn: the uniform numbers of `DRAWS`, each (B,).
        """
        raise NotImplementedError


class Mixup(Mixing):
    """Two images, and their labels, are averaged (Zhang et al. 2018, https://arxiv.org/abs/1710.09412)."""

    stream: ClassVar[int] = 1

    alpha: Positive = 0.2

    def kept(self, weight: "tf.Tensor", drawn: "dict[str, tf.Tensor]", height: int, width: int) -> "tf.Tensor":
        return per_image(weight)


class Cutmix(Mixing):
    """A rectangle is taken from another image; labels by area (Yun et al. 2019, https://arxiv.org/abs/1905.04899)."""

    stream: ClassVar[int] = 2

    alpha: Positive = 1.0

    def kept(self, weight: "tf.Tensor", drawn: "dict[str, tf.Tensor]", height: int, width: int) -> "tf.Tensor":
        """The box of 1 - weight, centred anywhere, may hang over the border: what counts is what is inside."""
        half = tf.sqrt(1 - weight) / 2
        centre_y, centre_x = drawn["centre_y"] * height, drawn["centre_x"] * width
        box = inside_box(
            tf.round(centre_y - half * height),
            tf.round(centre_x - half * width),
            tf.round(centre_y + half * height),
            tf.round(centre_x + half * width),
            height,
            width,
        )
        return 1 - tf.cast(box, tf.float32)


def draw_mixing(ways: Sequence[Mixing | None], examples: int, seed: "tf.Tensor") -> "tf.Tensor":
    """What mixing draws, float32 (examples, 4 + ways): the numbers of `DRAWS`, then each way's weights, else 1."""
    seed = tf.random.experimental.stateless_fold_in(seed, STREAM)
    uniform = tf.random.stateless_uniform((examples, len(DRAWS)), seed)
    weights = [tf.ones((examples, 1)) if way is None else way.draw(examples, seed) for way in ways]
    return tf.concat([uniform, *weights], axis=1)


def kept_weight(ways: Sequence[Mixing | None], draws: "tf.Tensor", height: int, width: int) -> "tf.Tensor":
    """The fraction (B, H, W, 1) of every pixel that stays of the image itself, by what `draw_mixing` gave."""
    drawn = {name: draws[:, column] for column, name in enumerate(DRAWS)}
    present = [(way, draws[:, len(DRAWS) + place]) for place, way in enumerate(ways) if way]
    # Which of them an image meets; within that range, the number is uniform again. The last has the lowest range.
    chance = drawn["chance"] * len(present)
    met, chance = len(present) - 1 - tf.cast(chance, tf.int32), chance % 1
    weight = tf.ones((tf.shape(draws)[0], height, width, 1))
    for number, (way, own) in enumerate(present):
        hit = per_image((met == number) & (chance < way.probability))
        weight = tf.where(hit, way.kept(own, drawn, height, width), weight)
    return weight


@cache
def compiled_mixed() -> "Callable[..., tuple[tf.Tensor, tf.Tensor]]":
    """`_mixed` as one kernel."""
    compiled: Callable[..., tuple[tf.Tensor, tf.Tensor]] = tf.function(
        _mixed, jit_compile=True, autograph=False, reduce_retracing=False
    )
    return compiled


def _mixed(
    images: "tf.Tensor",
    labels: "tf.Tensor",
    other_images: "tf.Tensor",
    other_labels: "tf.Tensor",
    weight: "tf.Tensor",
) -> "tuple[tf.Tensor, tf.Tensor]":
    """Images (B, H, W, C) and labels (B, classes), `weight` (B, H, W, 1) of the first and the rest of the other."""
    pixels = tf.cast(images, tf.float32) * weight + tf.cast(other_images, tf.float32) * (1 - weight)
    # The mean of many equal numbers is off by the order of the sum, which depends on the batch; of 0 and 1 it is exact.
    least, most, mean = (reduce(weight, axis=(1, 2)) for reduce in (tf.reduce_min, tf.reduce_max, tf.reduce_mean))
    kept = tf.where(least == most, least, mean)
    return as_dtype(pixels, images.dtype), labels * kept + other_labels * (1 - kept)


def describe_mixing(weight: float, partner: int) -> str:
    """In words, that `weight` of an image stays and the rest is its partner's; empty if all of it stays."""
    return f"{weight:.0%} + {1 - weight:.0%} of row {partner + 1}" if weight < 0.995 else ""
