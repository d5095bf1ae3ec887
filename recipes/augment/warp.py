"""One resampling of a batch of images under one affine matrix each."""

import math

from recipes.augment.pixels import as_dtype
from zoo.backend import tf

# Coordinates are rounded to this fraction of a pixel, so that sin(90 degrees) and its like leave no trace:
# rotations by 90 degrees, flips and whole-pixel shifts come out exact.
STEPS_PER_PIXEL = 1024.0

# XLA computes that many pixels of a line at once and what is left over one by one, which takes longer than to compute
# a few more and cut them off; in lines above the limit it makes no difference.
AT_ONCE, NARROW = 16, 64

Tap = tuple[tf.Tensor, tf.Tensor]  # along one axis: which pixel, and its weight in the result; both (B, H, W)


def warp(
    images: tf.Tensor,
    matrices: tf.Tensor,
    fill: str = "constant",
    value: float = 0.0,
    interpolation: str = "bilinear",
    dtype: str | None = None,
) -> tf.Tensor:
    """Resampling of images, each seen through its own matrix.

    Compiled by XLA, which fuses coordinates, gathers and interpolation into one loop over the result; each new
    shape compiles anew. What keeps it one loop: every tap is gathered once and used once, and what happens at the
    border is decided along each axis, in the tap's index and weight, never on the gathered pixels.

    Args:
        images: uint8 or float (B, H, W, C); H, W and C must be known when the function is traced.
        matrices: float32 (B, 2, 3), or (1, 2, 3) for all; they take the homogeneous pixel (x, y, 1) of the result to
            the pixel of the image that is seen there. The centre of the first pixel is (0, 0).
        fill: what lies outside: `constant`, `edge`, `reflect` (d c b a | a b c d | d c b a) or `wrap`.
        value: the constant.
        interpolation: `nearest`, `bilinear` or `bicubic` (Keys 1981, a = -1/2).
        dtype: of the result, that of `images` if None.

    Returns:
        The shape of `images`; integers are rounded, not truncated.
    """
    result = _warped(images, matrices, fill, value, interpolation, dtype)
    return result[:, :, : images.shape[2]] if result.shape[2] != images.shape[2] else result


@tf.function(jit_compile=True, autograph=False, reduce_retracing=False)  # type: ignore[untyped-decorator]
def _warped(
    images: tf.Tensor, matrices: tf.Tensor, fill: str, value: float, interpolation: str, dtype: str | None
) -> tf.Tensor:
    """As `warp`, with columns to the right of the image's own in a narrow one."""
    _, height, width, channels = images.shape
    columns = math.ceil(width / AT_ONCE) * AT_ONCE if width <= NARROW else width
    x = tf.range(columns, dtype=tf.float32)[None, None, :]
    y = tf.range(height, dtype=tf.float32)[None, :, None]

    def coordinate(row: int) -> tf.Tensor:
        a, b, c = (matrices[:, row, column, None, None] for column in range(3))
        return tf.round((a * x + b * y + c) * STEPS_PER_PIXEL) / STEPS_PER_PIXEL

    across = _taps(coordinate(0), width, fill, interpolation)
    down = _taps(coordinate(1), height, fill, interpolation)
    pixels = tf.reshape(images, [-1, channels])
    first = tf.range(tf.shape(images)[0])[:, None, None] * (height * width)

    def line(row: tf.Tensor) -> tf.Tensor:
        start = first + row * width
        seen = [tf.cast(tf.gather(pixels, start + column), tf.float32) * weight[..., None] for column, weight in across]
        return tf.add_n(seen)

    result = tf.add_n([line(row) * weight[..., None] for row, weight in down])
    if fill == "constant" and value:
        inside = tf.add_n([weight for _, weight in across]) * tf.add_n([weight for _, weight in down])
        result += (value * (1 - inside))[..., None]
    return as_dtype(result, tf.as_dtype(dtype or images.dtype))


def _taps(at: tf.Tensor, size: int, fill: str, interpolation: str) -> list[Tap]:
    """The pixels along one axis of `size` that make up the value at coordinate `at` (B, H, W)."""
    if fill == "reflect":  # to the image's own half of the period; beyond the outermost centres it is the edge
        period = 2.0 * size
        at = at + 0.5
        at -= period * tf.floor(at / period)
        at = tf.minimum(at, period - at) - 0.5
    elif fill == "wrap":
        at -= size * tf.floor(at / size)
    if interpolation == "nearest":
        pixel = tf.floor(at + 0.5)
        weights = {0: tf.ones_like(at)}
    else:
        pixel = tf.floor(at)
        weights = _bilinear(at - pixel) if interpolation == "bilinear" else _bicubic(at - pixel)
    pixel = tf.cast(pixel, tf.int32)
    return [_placed(pixel + offset, weight, size, fill) for offset, weight in weights.items()]


def _bilinear(part: tf.Tensor) -> dict[int, tf.Tensor]:
    return {0: 1 - part, 1: part}


def _bicubic(part: tf.Tensor) -> dict[int, tf.Tensor]:
    def near(d: tf.Tensor) -> tf.Tensor:
        return (1.5 * d - 2.5) * d * d + 1

    def far(d: tf.Tensor) -> tf.Tensor:
        return ((-0.5 * d + 2.5) * d - 4) * d + 2

    return {-1: far(1 + part), 0: near(part), 1: near(1 - part), 2: far(2 - part)}


def _placed(index: tf.Tensor, weight: tf.Tensor, size: int, fill: str) -> Tap:
    """A tap whose index may lie up to a few pixels outside, brought inside."""
    if fill == "wrap":
        index = tf.where(index < 0, index + size, index)
        index = tf.where(index >= size, index - size, index)
    elif fill == "reflect":
        index = tf.maximum(index, -1 - index)
        index = tf.minimum(index, 2 * size - 1 - index)
    elif fill == "constant":
        weight *= tf.cast((index >= 0) & (index < size), tf.float32)
    return tf.clip_by_value(index, 0, size - 1), weight
