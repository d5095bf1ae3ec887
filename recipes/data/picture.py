"""One picture, from whatever file it comes in to the array a model takes. The only decoder there is."""

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Literal, get_args

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from zoo.errors import RequestError

Resize = Literal["fill", "fit", "stretch"]
RESIZE_RULES: tuple[str, ...] = get_args(Resize)
_BILINEAR = Image.Resampling.BILINEAR  # antialiased by Pillow when it shrinks
_RULES: dict[str, Callable[[Image.Image, tuple[int, int]], Image.Image]] = {
    "fill": lambda image, size: ImageOps.fit(image, size, _BILINEAR),
    "fit": lambda image, size: ImageOps.pad(image, size, _BILINEAR, color=0),
    "stretch": lambda image, size: image.resize(size, _BILINEAR),
}


def read(path: str | Path) -> Image.Image:
    """Decodes a picture file by its content, whatever its ending; of an animation, the first frame.

    Raises:
        RequestError: the file is missing, empty, truncated or not a picture; the message names it.
    """
    path = Path(path)
    if path.is_dir():
        raise RequestError(f"{path} is a folder, not a picture.")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            image = Image.open(path)
            image.load()
            return ImageOps.exif_transpose(image)
    except FileNotFoundError:
        raise RequestError(f"{path} does not exist.") from None
    except PermissionError:
        raise RequestError(f"{path} may not be read: permission denied.") from None
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        limit = (Image.MAX_IMAGE_PIXELS or 0) // 1_000_000
        raise RequestError(f"{path} has more than {limit} million pixels; allowed: fewer.") from None
    except UnidentifiedImageError:
        why = "is empty" if path.stat().st_size == 0 else "is not a picture that can be decoded"
        raise RequestError(f"{path} {why}; allowed: PNG, JPEG, WebP, GIF, BMP, TIFF.") from None
    except (
        OSError,
        SyntaxError,
        ValueError,
        EOFError,
    ) as error:  # what Pillow's decoders raise for damaged files
        raise RequestError(f"{path} is damaged: {str(error).strip().splitlines()[0]}.") from None


def to_array(image: Image.Image, shape: tuple[int, int, int], resize: Resize = "fill") -> np.ndarray:
    """The picture as uint8 (H, W, C), pixels 0-255.

    Transparency is laid over white, 16-bit greys are scaled to 8 bits, colour becomes luminance for C = 1.

    Args:
        image: any mode, any size.
        shape: (H, W, C), C is 1 or 3.
        resize: `fill` covers the frame and cuts off what is outside, `fit` shows all of the picture between
            black bars, `stretch` ignores the aspect ratio.

    Raises:
        RequestError: another number of channels, or another rule.
    """
    height, width, channels = shape
    if channels not in (1, 3):
        raise RequestError(f"pictures have 1 channel (grey) or 3 (RGB), not {channels}.")
    if resize not in _RULES:
        raise RequestError(f"resize={resize!r} is not possible; allowed: {', '.join(_RULES)}.")
    image = _plain(image).convert("L" if channels == 1 else "RGB")
    if image.size != (width, height):
        image = _RULES[resize](image, (width, height))
    return np.asarray(image, np.uint8).reshape(shape)


def _plain(image: Image.Image) -> Image.Image:
    """Without transparency and without more than 8 bits, both of which `convert` would treat badly."""
    if image.mode.startswith("I") or image.mode == "F":
        values = np.asarray(image, np.float64)
        # Pillow's own conversion clips at 255; 16-bit files use the whole range.
        return Image.fromarray((values / 257).clip(0, 255).round().astype(np.uint8))
    if image.has_transparency_data:
        image = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return image
