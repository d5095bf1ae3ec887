"""Painting a rectangle over."""

import math
from typing import TYPE_CHECKING, Annotated, ClassVar

from pydantic import Field

from recipes.augment.operation import Fraction, Operation
from recipes.augment.pixels import inside_box, per_image
from zoo.backend import tf

if TYPE_CHECKING:
    import numpy as np

Aspect = Annotated[float, Field(ge=0.05, le=20)]


class Erasing(Operation):
    """One rectangle is painted over (Zhong et al. 2020, https://arxiv.org/abs/1708.04896).

    Attributes:
        probability: fraction of the draws in which it is.
        area: smallest and largest fraction of the image.
        aspect: smallest and largest height over width.
        value: what it is painted with, 0-255.
    """

    stream: ClassVar[int] = 3
    draws: ClassVar[tuple[str, ...]] = ("chance", "area", "aspect", "top", "left")

    probability: Fraction = 0.5
    area: tuple[Fraction, Fraction] = (0.02, 0.33)
    aspect: tuple[Aspect, Aspect] = (0.3, 3.3)
    value: Annotated[float, Field(ge=0, le=255)] = 127.0

    def __call__(self, images: "tf.Tensor", draws: "tf.Tensor") -> "tf.Tensor":
        """A rectangle, wholly inside, of one value."""
        _, height, width, _ = images.shape
        drawn = self.named(draws)
        (small, large), (flat, tall) = self.area, self.aspect
        area = (small + (large - small) * drawn["area"]) * height * width
        aspect = tf.exp(math.log(flat) + (math.log(tall) - math.log(flat)) * drawn["aspect"])
        size_y = tf.clip_by_value(tf.round(tf.sqrt(area * aspect)), 0, height)
        size_x = tf.clip_by_value(tf.round(tf.sqrt(area / aspect)), 0, width)
        top = tf.floor(drawn["top"] * (height - size_y + 1))
        left = tf.floor(drawn["left"] * (width - size_x + 1))
        hit = per_image(drawn["chance"]) < self.probability
        inside = inside_box(top, left, top + size_y, left + size_x, height, width)
        return tf.where(hit & inside, self.value, images)

    def describe(self, draws: "np.ndarray", size: tuple[int, int]) -> list[str]:
        return ["erased"] if self.named(draws)["chance"] < self.probability else []
