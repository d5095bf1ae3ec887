"""What operations on pixels share."""

from zoo.backend import tf


def per_image(values: "tf.Tensor") -> "tf.Tensor":
    """Values (B,) as (B, 1, 1, 1), beside images (B, H, W, C)."""
    return values[:, None, None, None]


def inside_box(
    top: "tf.Tensor", left: "tf.Tensor", bottom: "tf.Tensor", right: "tf.Tensor", height: int, width: int
) -> "tf.Tensor":
    """Which pixels (B, H, W, 1) are in rows top .. bottom - 1 and columns left .. right - 1, each float32 (B,)."""
    y = tf.range(height, dtype=tf.float32)[None, :, None, None]
    x = tf.range(width, dtype=tf.float32)[None, None, :, None]
    rows = (y >= per_image(top)) & (y < per_image(bottom))
    return rows & (x >= per_image(left)) & (x < per_image(right))


def as_dtype(result: "tf.Tensor", dtype: "tf.DType") -> "tf.Tensor":
    """Float values as `dtype`; integers are rounded half up and kept in their range."""
    if dtype.is_integer:
        result = tf.clip_by_value(tf.floor(result + 0.5), float(dtype.min), float(dtype.max))
    return tf.cast(result, dtype)
