"""Brightness, contrast and saturation."""

from typing import TYPE_CHECKING, ClassVar

from recipes.augment.operation import Fraction, Operation
from recipes.augment.pixels import per_image
from zoo.backend import tf

if TYPE_CHECKING:
    import numpy as np

GREY = (0.299, 0.587, 0.114)  # ITU-R BT.601


class Colour(Operation):
    """Brightness, contrast and saturation, each multiplied by a factor from 1 - range to 1 + range.

    Attributes:
        brightness: all pixels are multiplied.
        contrast: the distance from the image's mean grey.
        saturation: the distance from the pixel's own grey; only images of three channels have any.
    """

    stream: ClassVar[int] = 1
    draws: ClassVar[tuple[str, ...]] = ("brightness", "contrast", "saturation")

    brightness: Fraction = 0.0
    contrast: Fraction = 0.0
    saturation: Fraction = 0.0

    def __call__(self, images: "tf.Tensor", draws: "tf.Tensor") -> "tf.Tensor":
        return recoloured(images, **self._factors(draws))

    def describe(self, draws: "np.ndarray", size: tuple[int, int]) -> list[str]:
        return [f"{name} {factor:.2f}" for name, factor in self._factors(draws).items() if getattr(self, name)]

    def _factors(self, draws: "tf.Tensor") -> "dict[str, tf.Tensor]":
        return {name: 1 + getattr(self, name) * (2 * drawn - 1) for name, drawn in self.named(draws).items()}


def recoloured(
    images: "tf.Tensor", brightness: "tf.Tensor", contrast: "tf.Tensor", saturation: "tf.Tensor"
) -> "tf.Tensor":
    """b (c (s x + (1 - s) g) + (1 - c) m), g the pixel's own grey, m the image's mean grey; exact where all are 1.

    One linear map of each image's colours, clipped once. Images that are not of three channels have no saturation;
    their channels are mean grey in equal parts.

    Args:
        images: float32 (B, H, W, C), pixels 0-255.
        brightness, contrast, saturation: the factors b, c and s, float32 (B,).
    """
    coloured = images.shape[3] == 3
    channel_means = tf.reduce_mean(images, axis=(1, 2), keepdims=True)
    parts = tf.constant(GREY) if coloured else tf.ones(images.shape[3]) / images.shape[3]
    mean = tf.reduce_sum(channel_means * parts, axis=3, keepdims=True)
    own, spread = per_image(brightness * contrast), per_image(saturation)
    changed = images * own + mean * per_image(brightness * (1 - contrast))
    if coloured:
        grey = tf.add_n([images[..., i, None] * weight for i, weight in enumerate(GREY)])
        changed += (images - grey) * (own * (spread - 1))
    return tf.clip_by_value(changed, 0.0, 255.0)
