"""What changes an image's pixels where they are, and what mixes two images; each image by its own draws.

Images are float32 (B, H, W, C) with pixels 0-255 between the operations, rounded once at the end; draws are uniform
in [0, 1).
"""

import math
from typing import TYPE_CHECKING, Any

import tensorflow as tf

from recipes.augment.affine import affine_matrices
from recipes.augment.warp import as_dtype

if TYPE_CHECKING:
    from recipes.augment.ranges import Colour, Cutmix, Erasing, Mixup, RandAugment

GREY = (0.299, 0.587, 0.114)  # ITU-R BT.601
OPERATIONS = (
    *("identity", "rotate", "shear_x", "shear_y", "translate_x", "translate_y"),
    *("brightness", "contrast", "colour", "solarize", "posterize", "autocontrast"),
)
STRONGEST = {"rotate": 30.0, "shear": 0.3, "translate": 0.45, "factor": 0.9, "solarize": 256.0, "posterize": 4.0}


def appearance(images: tf.Tensor, parts: dict[str, Any], draws: dict[str, tf.Tensor]) -> tf.Tensor:
    """Colour, RandAugment's operations in place, and erasing, those that are in `parts`; dtype as `images`."""
    apply = {"colour": coloured, "randaugment": randaugmented, "erasing": erased}
    changed = tf.cast(images, tf.float32)
    for name, operation in apply.items():
        if name in parts:
            changed = operation(parts[name], changed, draws[name])
    return as_dtype(changed, images.dtype)


@tf.function(autograph=False, reduce_retracing=False)
def blurred(images: tf.Tensor, draws: tf.Tensor, sigma: tuple[float, float], probability: float) -> tf.Tensor:
    """A Gaussian of each image's own width along both axes; beyond the border, the border's pixel; dtype kept.

    Not compiled by XLA, which would compute the first axis anew for every tap of the second. The images lie
    side by side as channels of one, because a depthwise convolution has a kernel for each channel.
    """
    batch, (height, width, channels) = tf.shape(images)[0], images.shape[1:]
    radius = math.ceil(3 * sigma[1])
    offsets = tf.range(-radius, radius + 1, dtype=tf.float32)[:, None]
    widths = sigma[0] + (sigma[1] - sigma[0]) * draws[:, 0]
    weights = tf.exp(-0.5 * (offsets / widths) ** 2)
    weights /= tf.reduce_sum(weights, axis=0)
    weights = tf.where(draws[:, 1] < probability, weights, tf.cast(offsets == 0, tf.float32))
    weights = tf.repeat(weights, channels, axis=1)

    side = tf.reshape(tf.transpose(images, [1, 2, 0, 3]), [1, height, width, -1])
    rows, columns = (tf.clip_by_value(tf.range(-radius, n + radius), 0, n - 1) for n in (height, width))
    side = tf.cast(tf.gather(tf.gather(side, rows, axis=1), columns, axis=2), tf.float32)
    for kernel in (weights[:, None, :, None], weights[None, :, :, None]):
        side = tf.nn.depthwise_conv2d(side, kernel, strides=[1, 1, 1, 1], padding="VALID")
    side = tf.transpose(tf.reshape(side, [height, width, batch, channels]), [2, 0, 1, 3])
    return as_dtype(side, images.dtype)


def coloured(colour: "Colour", images: tf.Tensor, draws: tf.Tensor) -> tf.Tensor:
    """Brightness, contrast and saturation, composed into one linear map of each image's colours, clipped once."""
    ranges = (colour.brightness, colour.contrast, colour.saturation)
    brightness, contrast, saturation = (1 + limit * (2 * draws[:, i] - 1) for i, limit in enumerate(ranges))
    return _recoloured(images, brightness, contrast, saturation)


def erased(erasing: "Erasing", images: tf.Tensor, draws: tf.Tensor) -> tf.Tensor:
    """A rectangle, wholly inside, of one value."""
    _, height, width, _ = images.shape
    (small, large), (flat, tall) = erasing.area, erasing.aspect
    area = (small + (large - small) * draws[:, 1]) * height * width
    aspect = tf.exp(math.log(flat) + (math.log(tall) - math.log(flat)) * draws[:, 2])
    size_y = tf.clip_by_value(tf.round(tf.sqrt(area * aspect)), 0, height)
    size_x = tf.clip_by_value(tf.round(tf.sqrt(area / aspect)), 0, width)
    top = tf.floor(draws[:, 3] * (height - size_y + 1))
    left = tf.floor(draws[:, 4] * (width - size_x + 1))
    hit = _per_image(draws[:, 0]) < erasing.probability
    inside = _inside_box(top, left, top + size_y, left + size_x, height, width)
    return tf.where(hit & inside, erasing.value, images)


def randaugment_matrices(
    settings: "RandAugment", draws: tf.Tensor, matrices: tf.Tensor, height: int, width: int
) -> tf.Tensor:
    """`matrices` (B, 2, 3) followed by the geometric operations that `draws` name, composed."""
    bottom = tf.broadcast_to(tf.constant([[[0.0, 0.0, 1.0]]]), [tf.shape(draws)[0], 1, 3])
    for number in range(settings.operations):
        level = _levels(settings, draws, number)
        step = affine_matrices(
            angle=level["rotate"] * STRONGEST["rotate"],
            shear_x=level["shear_x"] * STRONGEST["shear"],
            shear_y=level["shear_y"] * STRONGEST["shear"],
            shift_x=level["translate_x"] * STRONGEST["translate"] * width,
            shift_y=level["translate_y"] * STRONGEST["translate"] * height,
            height=height,
            width=width,
        )
        matrices = matrices @ tf.concat([step, bottom], axis=1)
    return matrices


def randaugmented(settings: "RandAugment", images: tf.Tensor, draws: tf.Tensor) -> tf.Tensor:
    """The operations in place that `draws` name; an image that did not draw an operation keeps its pixels."""
    for number in range(settings.operations):
        level = _levels(settings, draws, number)
        names = ("brightness", "contrast", "colour")
        images = _recoloured(images, *(1 + level[name] * STRONGEST["factor"] for name in names))
        threshold = 256 - tf.abs(level["solarize"]) * STRONGEST["solarize"]
        images = tf.where(images >= _per_image(threshold), 255 - images, images)
        images = _posterized(images, tf.round(tf.abs(level["posterize"]) * STRONGEST["posterize"]))
        images = _with_autocontrast(images, level["autocontrast"] != 0)
    return images


def _levels(settings: "RandAugment", draws: tf.Tensor, number: int) -> dict[str, tf.Tensor]:
    """Signed strength (B,) of every operation in place `number`: not 0 for the one that is drawn."""
    which = tf.cast(draws[:, 2 * number] * len(OPERATIONS), tf.int32)
    strength = tf.where(draws[:, 2 * number + 1] < 0.5, -settings.magnitude, settings.magnitude)
    return {name: tf.where(which == index, strength, 0.0) for index, name in enumerate(OPERATIONS)}


def mixing_share(
    mixup: "Mixup | None", cutmix: "Cutmix | None", draws: tf.Tensor, height: int, width: int
) -> tf.Tensor:
    """The share (B, H, W, 1) of every pixel that stays of the image itself."""
    cut = tf.zeros_like(draws[:, 1]) < (0.0 if mixup else 1.0)
    chance = draws[:, 1]
    if mixup and cutmix:  # a fair coin, then the number is uniform again
        cut, chance = chance < 0.5, chance * 2 % 1
    hit = chance < tf.where(cut, cutmix.probability if cutmix else 0.0, mixup.probability if mixup else 0.0)
    # The box of 1 - share, centred anywhere, may hang over the border: what counts is what is inside.
    half = tf.sqrt(1 - draws[:, 5]) / 2
    centre_y, centre_x = draws[:, 2] * height, draws[:, 3] * width
    box = _inside_box(
        tf.round(centre_y - half * height),
        tf.round(centre_x - half * width),
        tf.round(centre_y + half * height),
        tf.round(centre_x + half * width),
        height,
        width,
    )
    share = tf.where(_per_image(cut), 1 - tf.cast(box, tf.float32), _per_image(draws[:, 4]))
    return tf.where(_per_image(hit), share, 1.0)


@tf.function(jit_compile=True, autograph=False, reduce_retracing=False)
def mixed(
    images: tf.Tensor, labels: tf.Tensor, other_images: tf.Tensor, other_labels: tf.Tensor, share: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor]:
    """Images (B, H, W, C) and labels (B, classes), `share` (B, H, W, 1) of the first and the rest of the other."""
    pixels = tf.cast(images, tf.float32) * share + tf.cast(other_images, tf.float32) * (1 - share)
    kept = tf.reduce_mean(share, axis=(1, 2))
    return as_dtype(pixels, images.dtype), labels * kept + other_labels * (1 - kept)


def _per_image(values: tf.Tensor) -> tf.Tensor:
    return values[:, None, None, None]


def _inside_box(
    top: tf.Tensor, left: tf.Tensor, bottom: tf.Tensor, right: tf.Tensor, height: int, width: int
) -> tf.Tensor:
    """Which pixels (B, H, W, 1) are in rows top .. bottom - 1 and columns left .. right - 1."""
    y = tf.range(height, dtype=tf.float32)[None, :, None, None]
    x = tf.range(width, dtype=tf.float32)[None, None, :, None]
    rows = (y >= _per_image(top)) & (y < _per_image(bottom))
    return rows & (x >= _per_image(left)) & (x < _per_image(right))


def _recoloured(images: tf.Tensor, brightness: tf.Tensor, contrast: tf.Tensor, saturation: tf.Tensor) -> tf.Tensor:
    """b (c (s x + (1 - s) g) + (1 - c) m), g the pixel's own grey, m the image's mean grey; exact where all are 1.

    Images that are not of three channels have no saturation; their channels are mean grey in equal parts.
    """
    coloured = images.shape[3] == 3
    channel_means = tf.reduce_mean(images, axis=(1, 2), keepdims=True)
    parts = tf.constant(GREY) if coloured else tf.ones(images.shape[3]) / images.shape[3]
    mean = tf.reduce_sum(channel_means * parts, axis=3, keepdims=True)
    own, spread = _per_image(brightness * contrast), _per_image(saturation)
    changed = images * own + mean * _per_image(brightness * (1 - contrast))
    if coloured:
        grey = tf.add_n([images[..., i, None] * share for i, share in enumerate(GREY)])
        changed += (images - grey) * (own * (spread - 1))
    return tf.clip_by_value(changed, 0.0, 255.0)


def _posterized(images: tf.Tensor, dropped_bits: tf.Tensor) -> tf.Tensor:
    step = _per_image(tf.pow(2.0, dropped_bits))
    return tf.where(step > 1, tf.floor(images / step) * step, images)


def _with_autocontrast(images: tf.Tensor, wanted: tf.Tensor) -> tf.Tensor:
    """Each channel is stretched to 0-255, where `wanted` (B,) and where it has two values at all."""
    low = tf.reduce_min(images, axis=(1, 2), keepdims=True)
    high = tf.reduce_max(images, axis=(1, 2), keepdims=True)
    stretched = (images - low) * (255 / tf.maximum(high - low, 1e-6))
    return tf.where(_per_image(wanted) & (high > low), stretched, images)
