"""Gaussian blur, of another width for each image."""

import math
from typing import TYPE_CHECKING, Annotated, ClassVar

from pydantic import Field

from recipes.augment.operation import Fraction, Operation
from zoo.backend import tf

if TYPE_CHECKING:
    import numpy as np

Sigma = Annotated[float, Field(gt=0, le=10)]


class Blur(Operation):
    """Gaussian blur.

    Attributes:
        sigma: smallest and largest standard deviation in pixels, up to 10.
        probability: fraction of the draws that are blurred.
    """

    stream: ClassVar[int] = 0
    draws: ClassVar[tuple[str, ...]] = ("sigma", "chance")
    # XLA would compute the first axis anew for every tap of the second.
    fused: ClassVar[bool] = False

    sigma: tuple[Sigma, Sigma] = (0.1, 2.0)
    probability: Fraction = 0.5

    def __call__(self, images: "tf.Tensor", draws: "tf.Tensor") -> "tf.Tensor":
        """A Gaussian of each image's own width along both axes; beyond the border, the border's pixel.

        The images lie side by side as channels of one, because a depthwise convolution has a kernel for each channel.
        """
        batch, (height, width, channels) = tf.shape(images)[0], images.shape[1:]
        radius = math.ceil(3 * self.sigma[1])
        offsets = tf.range(-radius, radius + 1, dtype=tf.float32)[:, None]
        weights = tf.exp(-0.5 * (offsets / self._sigmas(draws)) ** 2)
        weights /= tf.reduce_sum(weights, axis=0)
        blurred = self.named(draws)["chance"] < self.probability
        weights = tf.where(blurred, weights, tf.cast(offsets == 0, tf.float32))
        weights = tf.repeat(weights, channels, axis=1)

        side = tf.reshape(tf.transpose(images, [1, 2, 0, 3]), [1, height, width, -1])
        rows, columns = (tf.clip_by_value(tf.range(-radius, n + radius), 0, n - 1) for n in (height, width))
        side = tf.cast(tf.gather(tf.gather(side, rows, axis=1), columns, axis=2), tf.float32)
        for kernel in (weights[:, None, :, None], weights[None, :, :, None]):
            side = tf.nn.depthwise_conv2d(side, kernel, strides=[1, 1, 1, 1], padding="VALID")
        return tf.transpose(tf.reshape(side, [height, width, batch, channels]), [2, 0, 1, 3])

    def describe(self, draws: "np.ndarray", size: tuple[int, int]) -> list[str]:
        blurred = self.named(draws)["chance"] < self.probability
        return [f"blur {self._sigmas(draws):.1f}"] if blurred else []

    def _sigmas(self, draws: "tf.Tensor") -> "tf.Tensor":
        low, high = self.sigma
        return low + (high - low) * self.named(draws)["sigma"]
