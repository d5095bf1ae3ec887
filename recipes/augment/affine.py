"""Random scaling, translation, rotation, shear and flips, composed into one matrix an image and resampled once.

Read to validate settings, so TensorFlow is imported at first use.
"""

import math
from functools import cache
from typing import TYPE_CHECKING, Annotated, ClassVar

import numpy as np
from pydantic import Field, ValidationInfo, field_validator

from recipes.augment.operation import Fraction, Operation
from zoo.backend import tf
from zoo.errors import unknown

if TYPE_CHECKING:
    from collections.abc import Callable


Factor = Annotated[float, Field(ge=0.1, le=10)]
FILLS = ("constant", "edge", "reflect", "wrap")
INTERPOLATIONS = ("nearest", "bilinear", "bicubic")


class Affine(Operation):
    """Ranges that geometric augmentation draws from, for each image anew.

    Attributes:
        scale: smallest and largest factor, 0.1 to 10; above 1 the image's content grows.
        scale_x, scale_y: a further factor of the width alone, of the height alone.
        translation: largest shift, as a fraction of height and of width, 0 to 1.
        rotation: largest angle in degrees, to either side, 0 to 180.
        shear: largest slant in degrees, to either side, 0 to 60: the top moves sideways against the bottom.
        horizontal_flip: mirror left and right in half of the draws.
        vertical_flip: mirror top and bottom in half of the draws.
        fill: what appears outside the image: `constant`, `edge`, `reflect` or `wrap`.
        value: the constant, 0-255.
        interpolation: `nearest`, `bilinear` or `bicubic`.

    Example:
        >>> affine = Affine(rotation=20, horizontal_flip=True, fill="reflect")
        >>> affine.is_identity
        False
        >>> draws = affine.draw(examples=2, seed=[0, 1])  # for two images
        >>> draws.shape == (2, len(affine.draws))
        True
        >>> affine.describe(np.full(9, 0.25), size=(28, 28))
        ['-10°', 'mirrored']
    """

    stream: ClassVar[int | None] = None
    draws: ClassVar[tuple[str, ...]] = (
        *("scale", "shift_x", "shift_y", "angle"),
        *("flip_x", "flip_y", "scale_x", "scale_y", "shear"),
    )
    moves: ClassVar[bool] = True

    scale: tuple[Factor, Factor] = (1.0, 1.0)
    scale_x: tuple[Factor, Factor] = (1.0, 1.0)
    scale_y: tuple[Factor, Factor] = (1.0, 1.0)
    translation: Fraction = 0.0
    rotation: Annotated[float, Field(ge=0, le=180)] = 0.0
    shear: Annotated[float, Field(ge=0, le=60)] = 0.0
    horizontal_flip: bool = False
    vertical_flip: bool = False
    fill: str = "constant"
    value: Annotated[float, Field(ge=0, le=255)] = 0.0
    interpolation: str = "bilinear"

    @field_validator("fill", "interpolation")
    @classmethod
    def _is_known(cls, value: str, info: ValidationInfo) -> str:
        name = str(info.field_name)
        allowed = {"fill": FILLS, "interpolation": INTERPOLATIONS}[name]
        if value not in allowed:
            raise unknown(name, value, allowed)
        return value

    @property
    def is_identity(self) -> bool:
        """Whether no draw changes anything."""
        factors = (self.scale, self.scale_x, self.scale_y)
        others = (self.translation, self.rotation, self.shear, self.horizontal_flip, self.vertical_flip)
        return not any(others) and all(factor == (1.0, 1.0) for factor in factors)

    def __call__(self, images: "tf.Tensor", draws: "tf.Tensor") -> "tf.Tensor":
        """The images (B, H, W, C), each changed by its row of `draws`, see `draw`; same dtype and shape."""
        return images if self.is_identity else self.resampled(images, draws)

    def resampled(self, images: "tf.Tensor", draws: "tf.Tensor") -> "tf.Tensor":
        from recipes.augment.warp import warp

        matrices = _compiled_matrices(self, *images.shape[1:3])(draws)
        return warp(images, matrices, fill=self.fill, value=self.value, interpolation=self.interpolation)

    def parameters(self, draws: "tf.Tensor") -> "dict[str, tf.Tensor]":
        """What `draws` (..., columns) stand for, each (...), by the names that `affine_matrices` gives them.

        Shifts are fractions of the width and of the height, not yet pixels.
        """
        drawn = self.named(draws)

        def between(name: str, low: float, high: float) -> tf.Tensor:
            return low + (high - low) * drawn[name]

        def factor(name: str) -> tf.Tensor:
            # The logarithm of the factor is uniform: halving is as likely as doubling.
            low, high = getattr(self, name)
            return tf.exp(between(name, math.log(low), math.log(high)))

        def sign(name: str, wanted: bool) -> tf.Tensor:
            return tf.where(drawn[name] < 0.5, -1.0, 1.0) if wanted else tf.ones_like(drawn[name])

        scale = factor("scale")
        return {
            "scale_x": scale * factor("scale_x"),
            "scale_y": scale * factor("scale_y"),
            "shift_x": between("shift_x", -self.translation, self.translation),
            "shift_y": between("shift_y", -self.translation, self.translation),
            "angle": between("angle", -self.rotation, self.rotation),
            "shear_x": tf.tan(between("shear", -self.shear, self.shear) * (math.pi / 180)),
            "flip_x": sign("flip_x", self.horizontal_flip),
            "flip_y": sign("flip_y", self.vertical_flip),
        }

    def describe(self, draws: np.ndarray, size: tuple[int, int]) -> list[str]:
        drawn = {name: float(value) for name, value in self.parameters(draws).items()}
        scale_x, scale_y = drawn["scale_x"], drawn["scale_y"]
        words = []
        if not np.allclose([scale_x, scale_y], 1):
            same = np.isclose(scale_x, scale_y, rtol=1e-4)
            words.append(f"x{scale_x:.2f}" if same else f"x{scale_x:.2f}, {scale_y:.2f}")
        if self.translation:
            words.append(f"{drawn['shift_x'] * size[1]:+.1f}, {drawn['shift_y'] * size[0]:+.1f} px")
        if self.rotation:
            words.append(f"{drawn['angle']:+.0f}°")
        if self.shear:
            words.append(f"slant {math.degrees(math.atan(drawn['shear_x'])):+.0f}°")
        if drawn["flip_x"] < 0:
            words.append("mirrored")
        if drawn["flip_y"] < 0:
            words.append("upside down")
        return words

    def matrices(self, draws: "tf.Tensor", height: int, width: int) -> "tf.Tensor":
        """The matrices (B, 2, 3), as `recipes.augment.warp.warp` takes them, that `draws` (B, columns) stand for."""
        drawn = self.parameters(draws)
        drawn["shift_x"] *= width
        drawn["shift_y"] *= height
        return affine_matrices(**drawn, height=height, width=width)


@cache
def _compiled_matrices(affine: Affine, height: int, width: int) -> "Callable[[tf.Tensor], tf.Tensor]":
    """`affine.matrices` as one kernel: sixty small operations cost as much as warping 128 small images."""
    compiled: Callable[[tf.Tensor], tf.Tensor] = tf.function(
        lambda draws: affine.matrices(draws, height, width),
        jit_compile=True,
        autograph=False,
        input_signature=[tf.TensorSpec((None, None), tf.float32)],
    )
    return compiled


def affine_matrices(
    *,
    scale: "tf.Tensor | float" = 1.0,
    scale_x: "tf.Tensor | float" = 1.0,
    scale_y: "tf.Tensor | float" = 1.0,
    angle: "tf.Tensor | float" = 0.0,
    shear_x: "tf.Tensor | float" = 0.0,
    shear_y: "tf.Tensor | float" = 0.0,
    shift_x: "tf.Tensor | float" = 0.0,
    shift_y: "tf.Tensor | float" = 0.0,
    flip_x: "tf.Tensor | float" = 1.0,
    flip_y: "tf.Tensor | float" = 1.0,
    height: int,
    width: int,
) -> "tf.Tensor":
    """Matrices (B, 2, 3) from pixels of the result to pixels of the image.

    The image is flipped (-1 flips), then scaled, sheared, and rotated, all about its centre, then shifted. So, with
    c = ((width - 1) / 2, (height - 1) / 2), flips F, factors S, shear H and rotation R:
    p_in = c + F S^-1 H^-1 R^-1 (p_out - c - shift).

    Args:
        scale, scale_x, scale_y: factors of the content, of both axes, of its width and of its height.
        angle: degrees, counter-clockwise as one sees it (as `np.rot90`).
        shear_x, shear_y: pixels to the right for each pixel down, and down for each to the right; their product is
            not 1.
        shift_x, shift_y: pixels to the right and down.
        flip_x, flip_y: -1 mirrors left and right, top and bottom; 1 does not.
        height, width: of the images, in pixels.

    Each of the numbers may be a tensor (B,), one for each image.

    Example:
        Two pixels to the right: the result's pixel (5, 3) shows the image's pixel (3, 3).

        >>> (affine_matrices(shift_x=2.0, height=8, width=8)[0].numpy() @ [5, 3, 1]).tolist()
        [3.0, 3.0]
    """
    radians = tf.convert_to_tensor(angle, tf.float32) * (math.pi / 180)
    cos, sin = tf.cos(radians), tf.sin(radians)
    row_x = flip_x / (scale * scale_x * (1 - shear_x * shear_y))
    row_y = flip_y / (scale * scale_y * (1 - shear_x * shear_y))
    linear = (
        (row_x * (cos - shear_x * sin), row_x * (-sin - shear_x * cos)),
        (row_y * (sin - shear_y * cos), row_y * (cos + shear_y * sin)),
    )
    centre_x, centre_y = (width - 1) / 2, (height - 1) / 2
    rows = [
        (a, b, centre - a * (centre_x + shift_x) - b * (centre_y + shift_y))
        for (a, b), centre in zip(linear, (centre_x, centre_y), strict=True)
    ]
    flat = [tf.reshape(tf.cast(entry, tf.float32), [-1]) for row in rows for entry in row]
    size = tf.reduce_max([tf.size(entry) for entry in flat])
    return tf.reshape(tf.stack([tf.broadcast_to(entry, [size]) for entry in flat], axis=1), [-1, 2, 3])
