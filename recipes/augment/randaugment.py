"""A few operations, drawn for every image anew."""

from typing import TYPE_CHECKING, Annotated, ClassVar

from pydantic import Field

from recipes.augment.affine import affine_matrices
from recipes.augment.colour import recoloured
from recipes.augment.operation import Fraction, Operation
from recipes.augment.pixels import per_image
from zoo.backend import tf

if TYPE_CHECKING:
    import numpy as np

OPERATIONS = (
    *("identity", "rotate", "shear_x", "shear_y", "translate_x", "translate_y"),
    *("brightness", "contrast", "colour", "solarize", "posterize", "autocontrast"),
)
STRONGEST = {"rotate": 30.0, "shear": 0.3, "translate": 0.45, "factor": 0.9, "solarize": 256.0, "posterize": 4.0}


class RandAugment(Operation):
    """A few operations, drawn for every image anew (Cubuk et al. 2020, https://arxiv.org/abs/1909.13719).

    Of the paper's fourteen, twelve: identity, rotate, shear x and y, translate x and y, brightness, contrast, colour,
    solarize, posterize, autocontrast; not equalize and sharpness. Geometry is folded into the one warp, before
    what changes pixels in place.

    Attributes:
        operations: how many in a row, 1 to 4 (the paper's N).
        magnitude: strength, as a fraction of the strongest that the paper tries (its M / 30).
    """

    stream: ClassVar[int] = 2
    moves: ClassVar[bool] = True

    operations: Annotated[int, Field(ge=1, le=4)] = 2
    magnitude: Fraction = 0.3

    @property
    def draws(self) -> tuple[str, ...]:
        return tuple(f"{what}_{number}" for number in range(self.operations) for what in ("operation", "sign"))

    def motion(self, draws: "tf.Tensor", height: int, width: int) -> "list[tf.Tensor]":
        """The geometric operations that `draws` name; the identity for an image that drew none."""
        return [
            affine_matrices(
                angle=level["rotate"] * STRONGEST["rotate"],
                shear_x=level["shear_x"] * STRONGEST["shear"],
                shear_y=level["shear_y"] * STRONGEST["shear"],
                shift_x=level["translate_x"] * STRONGEST["translate"] * width,
                shift_y=level["translate_y"] * STRONGEST["translate"] * height,
                height=height,
                width=width,
            )
            for level in self._levels(draws)
        ]

    def __call__(self, images: "tf.Tensor", draws: "tf.Tensor") -> "tf.Tensor":
        """The operations in place that `draws` name; an image that did not draw an operation keeps its pixels."""
        for level in self._levels(draws):
            names = ("brightness", "contrast", "colour")
            images = recoloured(images, *(1 + level[name] * STRONGEST["factor"] for name in names))
            threshold = 256 - tf.abs(level["solarize"]) * STRONGEST["solarize"]
            images = tf.where(images >= per_image(threshold), 255 - images, images)
            images = _posterized(images, tf.round(tf.abs(level["posterize"]) * STRONGEST["posterize"]))
            images = _with_autocontrast(images, level["autocontrast"] != 0)
        return images

    def describe(self, draws: "np.ndarray", size: tuple[int, int]) -> list[str]:
        return [f"{OPERATIONS[int(number)]}{'-' if sign < 0.5 else '+'}" for number, sign in self._chosen(draws)]

    def _chosen(self, draws: "tf.Tensor") -> "list[tuple[tf.Tensor, tf.Tensor]]":
        """Of each operation in a row, its place in `OPERATIONS`, to be rounded down, and the draw of its sign."""
        drawn = self.named(draws)
        return [
            (drawn[f"operation_{number}"] * len(OPERATIONS), drawn[f"sign_{number}"])
            for number in range(self.operations)
        ]

    def _levels(self, draws: "tf.Tensor") -> "list[dict[str, tf.Tensor]]":
        """Of each operation in a row, the signed strength (B,) by name: not 0 for the one that is drawn."""
        levels = []
        for number, sign in self._chosen(draws):
            which = tf.cast(number, tf.int32)
            strength = tf.where(sign < 0.5, -self.magnitude, self.magnitude)
            levels.append({name: tf.where(which == index, strength, 0.0) for index, name in enumerate(OPERATIONS)})
        return levels


def _posterized(images: "tf.Tensor", dropped_bits: "tf.Tensor") -> "tf.Tensor":
    step = per_image(tf.pow(2.0, dropped_bits))
    return tf.where(step > 1, tf.floor(images / step) * step, images)


def _with_autocontrast(images: "tf.Tensor", wanted: "tf.Tensor") -> "tf.Tensor":
    """Each channel is stretched to 0-255, where `wanted` (B,) and where it has two values at all."""
    low = tf.reduce_min(images, axis=(1, 2), keepdims=True)
    high = tf.reduce_max(images, axis=(1, 2), keepdims=True)
    stretched = (images - low) * (255 / tf.maximum(high - low, 1e-6))
    return tf.where(per_image(wanted) & (high > low), stretched, images)
