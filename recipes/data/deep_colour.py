"""Colour of 16 bits a band, of which Pillow gives the higher 8 alone: dark images keep the lower ones, too."""

import sys
from collections.abc import Iterator
from typing import IO, Any

import numpy as np
from PIL import Image

from recipes.data.eight_bits import TOPS, EightBits, PixelError, extrema, is_alike, strips, tag

_PLANAR = 284  # tag of TIFF
# What Pillow unpacks such pixels by, and what gives the lower bytes in place of the higher ones. Grey and alpha of PNG
# are four bytes a pixel, as RGBA has.
_OTHER_BYTES = {
    f"{bands};16{order}": f"{bands};16{other}"
    for bands in ("RGB", "RGBA", "RGBX", "CMYK")
    for order, other in (("B", "L"), ("L", "B"), ("N", "B" if sys.byteorder == "little" else "L"))
} | {"LA;16B": "RGBA"}
_HIGHER_ALONE = {f"RGBa;16{order}" for order in "BLN"}


def raw_mode(image: Image.Image) -> str | None:
    """By what Pillow will unpack colour of 16 bits a band, told before the image is loaded; None of others.

    Raises:
        PixelError: of those that it unpacks wrongly.
    """
    if not (tiles := getattr(image, "tile", [])):
        return None
    codec, args = tiles[0][0], tiles[0][3]
    raw = args[0] if isinstance(args, tuple) and args else args
    if codec == "raw" and tag(image, _PLANAR) == 2 and (tag(image, 258) or 8) > 8:
        raise PixelError("is a TIFF of 16 bits a band in separate planes; allowed: bands of one pixel side by side.")
    return raw if isinstance(raw, str) and (raw in _OTHER_BYTES or raw in _HIGHER_ALONE) else None


def deep_eight_bits(image: Image.Image, file: IO[bytes], raw: str) -> EightBits:
    """The image, still with its transparency, by the ranges of `recipes.data.eight_bits`.

    Args:
        image: loaded.
        file: that it was opened from.
        raw: what `raw_mode` said of it.

    Raises:
        PixelError: it would come out all alike though it is not, or its lower bytes are needed and cannot be had.
    """
    colours = min(len(image.getbands()), 4 if image.mode == "CMYK" else 3)
    brightest = max(most for _, most in extrema(image)[:colours])
    if brightest > TOPS[-2] >> 8 and not is_alike(image):
        return EightBits(image, TOPS[-1], "has 16 bits a band: the higher 8 are used.")
    if raw in _HIGHER_ALONE or tag(image, _PLANAR) == 2:
        raise PixelError("has 16 bits a band that would come out all alike or nearly black; scale them to 8 bits.")
    lower: Any = Image.open(file)
    for number, tile in enumerate(lower.tile):  # plain tuples in older versions of Pillow
        args = _other(tile[3])
        lower.tile[number] = tile._replace(args=args) if hasattr(tile, "_replace") else (*tile[:3], args)
    lower.load()
    most = max(int(values[..., :colours].max()) for _, values in _values(image, lower, raw))
    top = next(top for top in TOPS if max(most, 2) <= top)
    every = np.arange(65536)
    levels = (every >> 8 if top == TOPS[-1] else np.rint(every * 255 / top).clip(0, 255)).astype(np.uint8)
    result = image.copy()
    for row, values in _values(image, lower, raw):
        strip = (values >> 8).astype(np.uint8)
        strip[..., :colours] = levels[values[..., :colours]]
        result.paste(Image.fromarray(strip, image.mode), (0, row))
    if is_alike(result) and not (is_alike(image) and is_alike(lower)):
        raise PixelError(f"would come out all alike, read as 0 to {top:,}; scale it to 8 bits.")
    if isinstance(clear := image.info.get("transparency"), tuple):
        result.info["transparency"] = tuple(int(levels[value]) for value in clear)
    return EightBits(
        result, top, f"has 16 bits a band, none above {most:,}: read as 0 to {top:,} and scaled to 8 bits."
    )


def _other(args: Any) -> Any:
    return (_OTHER_BYTES[args[0]], *args[1:]) if isinstance(args, tuple) else _OTHER_BYTES[args]


def _values(image: Image.Image, lower: Image.Image, raw: str) -> Iterator[tuple[int, np.ndarray]]:
    """Rows of both together as uint16 (H, W, bands), a few at a time, each with the number of its first row."""
    for (row, high), (_, low) in zip(strips(image), strips(lower), strict=True):
        if raw.startswith("LA"):
            low = low[..., [1, 1, 1, 3]]
        yield row, high.astype(np.uint16) << 8 | low
