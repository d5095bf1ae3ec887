"""One resampling of a batch of pictures under one affine matrix each."""

import tensorflow as tf

# Coordinates are rounded to this fraction of a pixel, so that sin(90 degrees) and its like leave no trace:
# quarter turns, flips and whole-pixel shifts come out exact.
STEPS_PER_PIXEL = 1024.0


@tf.function(jit_compile=True, autograph=False, reduce_retracing=False)
def warp(images: tf.Tensor, matrices: tf.Tensor, fill: str = "constant", value: float = 0.0) -> tf.Tensor:
    """Bilinear resampling of pictures.

    Compiled by XLA, which fuses coordinates, gathers and interpolation into one loop; each new shape compiles anew.

    Args:
        images: uint8 or float (B, H, W, C).
        matrices: float32 (B, 2, 3); they take the homogeneous pixel (x, y, 1) of the result to the pixel of the
            picture that is seen there. The centre of the first pixel is (0, 0).
        fill: what lies outside: `constant`, `edge`, `reflect` (d c b a | a b c d | d c b a) or `wrap`.
        value: the constant.

    Returns:
        The dtype and shape of `images`; integers are rounded, not truncated.
    """
    _, height, width, channels = images.shape
    batch = tf.shape(images)[0]
    x = tf.range(width, dtype=tf.float32)[None, None, :]
    y = tf.range(height, dtype=tf.float32)[None, :, None]

    def coordinate(row: int) -> tf.Tensor:
        a, b, c = (matrices[:, row, column, None, None] for column in range(3))
        return tf.round((a * x + b * y + c) * STEPS_PER_PIXEL) / STEPS_PER_PIXEL

    columns, rows = coordinate(0), coordinate(1)
    left, top = tf.floor(columns), tf.floor(rows)
    right_share, bottom_share = (columns - left)[..., None], (rows - top)[..., None]
    left, top = tf.cast(left, tf.int32), tf.cast(top, tf.int32)

    pixels = tf.reshape(images, [-1, channels])
    first = tf.range(batch)[:, None, None] * (height * width)

    def tap(row: tf.Tensor, column: tf.Tensor) -> tf.Tensor:
        index = first + _inside(row, height, fill) * width + _inside(column, width, fill)
        seen = tf.cast(tf.gather(pixels, index), tf.float32)
        if fill != "constant":
            return seen
        outside = (row < 0) | (row >= height) | (column < 0) | (column >= width)
        return tf.where(outside[..., None], tf.constant(value, tf.float32), seen)

    upper = tap(top, left) * (1 - right_share) + tap(top, left + 1) * right_share
    lower = tap(top + 1, left) * (1 - right_share) + tap(top + 1, left + 1) * right_share
    result = upper * (1 - bottom_share) + lower * bottom_share
    return tf.cast(result + 0.5 if images.dtype.is_integer else result, images.dtype)


def _inside(index: tf.Tensor, size: int, fill: str) -> tf.Tensor:
    """The index of the pixel that stands for `index`, in 0 .. size - 1."""
    if fill == "wrap":
        return tf.math.floormod(index, size)
    if fill == "reflect":
        folded = tf.math.floormod(index, 2 * size)
        return tf.minimum(folded, 2 * size - 1 - folded)
    return tf.clip_by_value(index, 0, size - 1)
