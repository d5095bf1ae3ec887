"""Random scaling, translation, rotation and flips, composed into one matrix a picture and resampled once."""

import math
from typing import TYPE_CHECKING, Annotated, Literal

import lazy_loader
from pydantic import BaseModel, ConfigDict, Field, model_validator

if TYPE_CHECKING:
    import tensorflow as tf
else:
    tf = lazy_loader.load("tensorflow")

Factor = Annotated[float, Field(ge=0.1, le=10)]
Fill = Literal["constant", "edge", "reflect", "wrap"]
DRAWS = 6  # uniform numbers a picture: scale, two shifts, angle, two flips


class Affine(BaseModel):
    """Ranges that geometric augmentation draws from, for each picture anew.

    Attributes:
        scale: smallest and largest factor; above 1 the picture's content grows.
        translation: largest shift, as a share of height and of width.
        rotation: largest angle in degrees, to either side.
        horizontal_flip: mirror left and right in half of the draws.
        vertical_flip: mirror top and bottom in half of the draws.
        fill: what appears outside the picture: `constant`, `edge`, `reflect` or `wrap`.
        value: the constant, 0-255.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    scale: tuple[Factor, Factor] = (1.0, 1.0)
    translation: Annotated[float, Field(ge=0, le=1)] = 0.0
    rotation: Annotated[float, Field(ge=0, le=180)] = 0.0
    horizontal_flip: bool = False
    vertical_flip: bool = False
    fill: Fill = "constant"
    value: Annotated[float, Field(ge=0, le=255)] = 0.0

    @model_validator(mode="after")
    def _scale_is_ordered(self) -> "Affine":
        if self.scale[0] > self.scale[1]:
            raise ValueError(f"scale {list(self.scale)} is not possible; allowed: the smaller factor first")
        return self

    @property
    def is_identity(self) -> bool:
        """Whether no draw changes anything."""
        ranges = (
            self.scale != (1.0, 1.0),
            self.translation,
            self.rotation,
            self.horizontal_flip,
            self.vertical_flip,
        )
        return not any(ranges)

    def draw(self, examples: int, seed: "tf.Tensor") -> "tf.Tensor":
        """Uniform numbers in [0, 1), float32 (examples, DRAWS); row i belongs to example i.

        They are a function of `seed`, an integer tensor (2,), alone: whatever the batch size, the number of
        workers or a restart, an example is changed in the same way.
        """
        return tf.random.stateless_uniform((examples, DRAWS), seed)

    def __call__(self, images: "tf.Tensor", draws: "tf.Tensor") -> "tf.Tensor":
        """The pictures (B, H, W, C), each changed by its row of `draws` (B, DRAWS); same dtype and shape."""
        if self.is_identity:
            return images
        from recipes.warp import warp

        return warp(images, self.matrices(draws, *images.shape[1:3]), fill=self.fill, value=self.value)

    def matrices(self, draws: "tf.Tensor", height: int, width: int) -> "tf.Tensor":
        """The matrices (B, 2, 3), as `recipes.warp.warp` takes them, that `draws` (B, DRAWS) stand for."""

        def between(column: int, low: float, high: float) -> tf.Tensor:
            return low + (high - low) * draws[:, column]

        def sign(column: int, wanted: bool) -> tf.Tensor:
            return tf.where(draws[:, column] < 0.5, -1.0, 1.0) if wanted else tf.ones_like(draws[:, column])

        # The logarithm of the factor is uniform: halving is as likely as doubling.
        scale = tf.exp(between(0, math.log(self.scale[0]), math.log(self.scale[1])))
        return affine_matrices(
            scale=scale,
            angle=between(3, -self.rotation, self.rotation),
            shift_x=between(1, -self.translation, self.translation) * width,
            shift_y=between(2, -self.translation, self.translation) * height,
            flip_x=sign(4, self.horizontal_flip),
            flip_y=sign(5, self.vertical_flip),
            height=height,
            width=width,
        )


def affine_matrices(
    *,
    scale: "tf.Tensor | float" = 1.0,
    angle: "tf.Tensor | float" = 0.0,
    shift_x: "tf.Tensor | float" = 0.0,
    shift_y: "tf.Tensor | float" = 0.0,
    flip_x: "tf.Tensor | float" = 1.0,
    flip_y: "tf.Tensor | float" = 1.0,
    height: int,
    width: int,
) -> "tf.Tensor":
    """Matrices (B, 2, 3) from pixels of the result to pixels of the picture.

    The picture is flipped (-1 flips), then scaled, then turned, all about its centre, then shifted:
    p_in = c + F R(angle) (p_out - c - shift) / scale, with c = ((width - 1) / 2, (height - 1) / 2).

    Args:
        scale: factor of the content.
        angle: degrees, counter-clockwise as one sees it (as `np.rot90`).
        shift_x, shift_y: pixels to the right and down.
        flip_x, flip_y: -1 mirrors left and right, top and bottom; 1 does not.
    """
    radians = tf.convert_to_tensor(angle, tf.float32) * (math.pi / 180)
    along, across = tf.cos(radians) / scale, tf.sin(radians) / scale
    linear = ((flip_x * along, flip_x * -across), (flip_y * across, flip_y * along))
    centre_x, centre_y = (width - 1) / 2, (height - 1) / 2
    rows = [
        (a, b, centre - a * (centre_x + shift_x) - b * (centre_y + shift_y))
        for (a, b), centre in zip(linear, (centre_x, centre_y), strict=True)
    ]
    flat = [tf.reshape(tf.cast(entry, tf.float32), [-1]) for row in rows for entry in row]
    size = tf.reduce_max([tf.size(entry) for entry in flat])
    return tf.reshape(tf.stack([tf.broadcast_to(entry, [size]) for entry in flat], axis=1), [-1, 2, 3])
