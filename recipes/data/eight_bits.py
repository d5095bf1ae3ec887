"""Pixels of every mode and depth that Pillow opens, brought to 0-255 by a rule that looks at this one image alone.

What comes out is a mode of 8 bits a band that `Image.convert` brings to grey or RGB. The rules are in docs/data.md.
"""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

_STRIP = 2**20  # pixels at a time: what is wide is never held as a whole
TOPS = (1, 255, 4095, 65535)  # what becomes 255: the first that no pixel is above; 1 of floats alone
_WHOLE_RANGE = ("PPM", "JPEG2000")  # formats that declare the range of their pixels, which Pillow scales to 16 bits
_BITS, _PHOTOMETRIC, _SAMPLES = (
    258,
    262,
    339,
)  # tags of TIFF; MaxSampleValue must not be used to show it, says its specification
# CIE L*a*b* under D50 to linear sRGB, which is meant under D65 (adapted after Bradford).
_D50 = np.array([0.9642, 1.0, 0.8249])
_XYZ_TO_SRGB = np.array(
    [[3.1338561, -1.6168667, -0.4906146], [-0.9787684, 1.9161415, 0.0334540], [0.0719453, -0.2289914, 1.4052427]]
)


class EightBits(NamedTuple):
    """An image with 8 bits a band.

    Attributes:
        image: without transparency.
        top: of more than 8 bits a pixel or of floats, the value that became 255; else 0.
        depth: what became of them, a sentence without its subject, or "".
    """

    image: Image.Image
    top: int = 0
    depth: str = ""


class PixelError(Exception):
    """Pixels that no rule brings to 0-255; the text goes on after the file's name."""


def is_wide(mode: str) -> bool:
    """Whether a mode of Pillow has one band of more than 8 bits."""
    return mode.startswith("I") or mode == "F"


def eight_bits(image: Image.Image) -> EightBits:
    """The image without transparency, with 8 bits a band.

    Args:
        image: loaded, as it was opened: what its file declares is looked at.

    Raises:
        PixelError: pixels outside of every rule, or an image that would come out all alike though it is not.
    """
    if is_wide(image.mode):
        return _scaled(image)
    if image.mode == "L" and tag(image, _SAMPLES) == 2 and extrema(image)[0][1] > 127:
        raise PixelError("has pixels below 0, as signed bytes; allowed: from 0.")
    if image.mode == "LAB":
        return EightBits(_in_strips(image, "RGB", _lab_to_rgb))
    if image.has_transparency_data:
        return EightBits(_over_white(image))
    return EightBits(image)


def _scaled(image: Image.Image) -> EightBits:
    """Integers of 16 bits or more, and floats, as "L"."""
    low, high = _range(image)
    top = _top(image, low, high)
    inverted = tag(image, _PHOTOMETRIC) == 0  # "white is zero", which Pillow minds for 8 bits only
    clear = image.info.get("transparency") if image.format == "PNG" else None

    def scale(values: np.ndarray) -> np.ndarray:
        levels = np.rint(values.astype(np.float64) * 255 / top).clip(0, 255).astype(np.uint8)
        levels = 255 - levels if inverted else levels
        return np.where(values == clear, np.uint8(255), levels) if isinstance(clear, int) else levels

    table = scale(np.arange(65536)) if image.mode.startswith("I;16") else None
    result = _in_strips(image, "L", scale if table is None else table.__getitem__)
    least, most = extrema(result)[0]
    values = f"from {low:.6g} to {high:.6g}"
    if least == most and low != high:
        raise PixelError(f"would come out all alike, with pixels {values} read as 0 to {top:,}; scale them to 8 bits.")
    bits = int(tag(image, _BITS) or (16 if image.mode.startswith("I;16") else 32))
    kind = "floats" if image.mode == "F" else f"{bits} bits a pixel"
    return EightBits(result, top, f"has {kind}, {values}: read as 0 to {top:,} and scaled to 8 bits.")


def _top(image: Image.Image, low: float, high: float) -> int:
    """The value that becomes 255."""
    if image.format in _WHOLE_RANGE and image.mode != "F":
        return 65535
    if bits := int(tag(image, _BITS) or 0) % 16:  # what TIFF declares beside 16 and 32
        return (1 << bits) - 1
    tops = [top for top in TOPS if top >= high and (top > 1 or image.mode == "F")]
    if low < 0 or not tops:
        allowed = ", ".join(f"{top:,}" for top in TOPS)
        raise PixelError(f"has pixels from {low:.6g} to {high:.6g}; allowed: from 0 to {allowed}.")
    return tops[0]


def _range(image: Image.Image) -> tuple[float, float]:
    lows, highs = [], []
    for _, values in strips(image):
        if image.mode == "F" and not np.isfinite(values).all():
            raise PixelError("has pixels that are infinite or not a number (NaN); allowed: finite floats.")
        lows.append(float(values.min()))
        highs.append(float(values.max()))
    return min(lows), max(highs)


def _over_white(image: Image.Image) -> Image.Image:
    """What is see-through, over white, as "RGB"."""
    if image.mode == "La":
        image = image.convert("LA")
    colour = image.info.get("transparency")
    if image.mode == "RGB" and isinstance(colour, tuple) and max(colour) > 255:  # of a PNG with 16 bits a band
        image.info["transparency"] = tuple(value >> 8 for value in colour)
    result = Image.new("RGB", image.size)
    rows = max(1, _STRIP // image.width)
    for top in range(0, image.height, rows):
        strip = image.crop((0, top, image.width, min(top + rows, image.height))).convert("RGBA")
        result.paste(Image.alpha_composite(Image.new("RGBA", strip.size, "white"), strip).convert("RGB"), (0, top))
    if is_alike(result) and not is_alike(image):
        raise PixelError("would come out all white: what it shows is see-through, or white on nothing.")
    return result


def is_alike(image: Image.Image) -> bool:
    """Whether all pixels are the same."""
    return all(least == most for least, most in extrema(image))


def extrema(image: Any) -> list[tuple[int, int]]:
    """The least and the most of each band of 8 bits."""
    found = image.getextrema()
    return list(found) if isinstance(found[0], tuple) else [found]


def _lab_to_rgb(lab: np.ndarray) -> np.ndarray:
    """sRGB uint8 (H, W, 3) of CIE L*a*b* as Pillow gives it: L* 0-100 as 0-255, a* and b* as int8."""
    y = (lab[..., 0] * (100 / 255) + 16) / 116
    a, b = np.moveaxis(lab[..., 1:].view(np.int8), 2, 0)
    cubes = np.stack([y + a / 500, y, y - b / 200], axis=2)
    xyz = np.where(cubes > 6 / 29, cubes**3, (cubes - 4 / 29) * 3 * (6 / 29) ** 2) * _D50
    linear = (xyz @ _XYZ_TO_SRGB.T).clip(0, 1)
    levels = np.where(linear > 0.0031308, 1.055 * linear ** (1 / 2.4) - 0.055, 12.92 * linear)
    rgb: np.ndarray = np.rint(levels * 255).astype(np.uint8)
    return rgb


def _in_strips(image: Image.Image, mode: str, change: Callable[[np.ndarray], np.ndarray]) -> Image.Image:
    result = Image.new(mode, image.size)
    for top, values in strips(image):
        result.paste(Image.fromarray(change(values)), (0, top))
    return result


def strips(image: Image.Image) -> Iterator[tuple[int, np.ndarray]]:
    """Rows of the image, a few at a time, each with the number of its first row."""
    rows = max(1, _STRIP // image.width)
    for top in range(0, image.height, rows):
        yield top, np.asarray(image.crop((0, top, image.width, min(top + rows, image.height))))


def tag(image: Image.Image, number: int) -> float | None:
    """The first value of a tag that a TIFF file declares."""
    value = image.tag_v2.get(number) if image.format == "TIFF" and hasattr(image, "tag_v2") else None
    if isinstance(value, tuple):
        value = value[0] if value else None
    return value if isinstance(value, int | float) else None
