"""One image, from whatever file it comes in to the array a model takes. The only decoder there is."""

import contextlib
import hashlib
import io
import os
import stat
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Literal, get_args

import numpy as np
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError

from zoo.errors import RequestError, first_line
from zoo.files import NOT_A_FILE

Resize = Literal["fill", "fit", "stretch"]
RESIZE_RULES: tuple[str, ...] = get_args(Resize)
MAX_PIXELS = Image.MAX_IMAGE_PIXELS or 89_478_485  # Pillow's own limit; an image of more is taken for a bomb
THUMBNAIL = (18, 16)  # width and height of the grey thumbnail that duplicates are found by
_BILINEAR = Image.Resampling.BILINEAR  # antialiased by Pillow when it shrinks
_RULES: dict[str, Callable[[Image.Image, tuple[int, int]], Image.Image]] = {
    "fill": lambda image, size: ImageOps.fit(image, size, _BILINEAR),
    "fit": lambda image, size: ImageOps.pad(image, size, _BILINEAR, color=0),
    "stretch": lambda image, size: image.resize(size, _BILINEAR),
}


class ImageError(RequestError):
    """A file that no image comes out of.

    Attributes:
        path: the file.
        kind: `missing`, `unreadable`, `empty`, `truncated`, `bomb` or `undecodable`.
        detail: the rest of the sentence that begins with the file's name.
    """

    def __init__(self, path: str | Path, kind: str, detail: str) -> None:
        super().__init__(f"{path} {detail}")
        self.path, self.kind, self.detail = str(path), kind, detail


@dataclass(frozen=True)
class Look:
    """What one look at an image file tells.

    Attributes:
        format: by content: "JPEG", "PNG", ...
        mode: Pillow's name of the pixels as they are stored: "RGB", "CMYK", "I;16", "P", ...
        width, height: once it is upright by its EXIF orientation.
        animated: there is more than the first frame.
        transparent: there are see-through pixels, or could be.
        digest: of the file's bytes.
        thumbnail: grey, 18 wide and 16 high, one byte a pixel.
    """

    format: str
    mode: str
    width: int
    height: int
    animated: bool
    transparent: bool
    digest: bytes
    thumbnail: bytes


@contextlib.contextmanager
def pillow_warnings() -> Iterator[None]:
    """Too many pixels are an error inside; Pillow's remarks on odd metadata are not shown.

    Python's warning filters belong to the process, not to a thread: enter this once, around all threads.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        yield


def read(path: str | Path) -> Image.Image:
    """Decodes an image file by its content, whatever its ending; of an animation, the first frame.

    Raises:
        RequestError: the file is missing, empty, truncated or not an image; the message names it.
    """
    with pillow_warnings():
        return decode(path)


def decode(path: str | Path, content: bytes | None = None) -> Image.Image:
    """As `read`, for use inside `pillow_warnings`.

    Args:
        path: the file, or the name that errors call `content` by.
        content: the file's bytes; read from `path` if None.

    Raises:
        ImageError: no image comes out.
    """
    with _explained(path, content), _opened(path, content) as file:
        image = Image.open(file)
        image.load()
        return _upright(image)


def look(path: str | Path) -> Look:
    """Reads and decodes all of an image file without keeping its pixels, for use inside `pillow_warnings`.

    JPEGs are decoded at an eighth of their size: every byte is still read and checked.

    Raises:
        ImageError: no image comes out.
    """
    with _explained(path, None), _opened(path, None) as file:
        digest = hashlib.file_digest(file, "sha1").digest()  # not for security: for equal files
        file.seek(0)
        image = Image.open(file)
        mode, (width, height) = image.mode, image.size
        animated = bool(getattr(image, "is_animated", False))
        transparent = image.has_transparency_data
        grey = "L" if mode in ("RGB", "L") else None
        image.draft(grey, (2 * THUMBNAIL[0], 2 * THUMBNAIL[1]))  # type: ignore[arg-type, unused-ignore]  # types-Pillow
        image.load()
        upright = _upright(image)
        if upright is not image and _orientation(image) >= 5:  # 5 to 8 lie on their side
            width, height = height, width
        small = _plain(upright).convert("L").resize(THUMBNAIL, Image.Resampling.BOX)
        return Look(image.format or "", mode, width, height, animated, transparent, digest, small.tobytes())


def size_of(content: bytes, name: str) -> tuple[int, int, int]:
    """(H, W, C) of an encoded image by its header, C as `channels` says, for use inside `pillow_warnings`."""
    with _explained(name, content), _opened(name, content) as file:
        image = Image.open(file)
        height, width = (image.height, image.width) if _orientation(image) < 5 else (image.width, image.height)
        return height, width, channels(image.mode)


def channels(mode: str) -> int:
    """1 for Pillow's modes of grey, 3 for all others."""
    return 1 if mode in ("L", "1", "F") or mode.startswith("I") else 3


def to_array(image: Image.Image, shape: tuple[int, int, int], resize: Resize = "fill") -> np.ndarray:
    """The image as uint8 (H, W, C), pixels 0-255.

    Transparency is blended onto white, 16-bit greys are scaled to 8 bits, colour becomes luminance for C = 1.

    Args:
        image: any mode, any size.
        shape: (H, W, C), C is 1 or 3.
        resize: `fill` covers the frame and crops what is outside, `fit` shows all of the image between
            black bars, `stretch` ignores the aspect ratio.

    Raises:
        RequestError: another number of channels, or another rule.
    """
    check_shape(shape, resize)
    height, width, depth = shape
    image = _plain(image).convert("L" if depth == 1 else "RGB")
    if image.size != (width, height):
        image = _RULES[resize](image, (width, height))
    return np.asarray(image, np.uint8).reshape(shape)


def check_shape(shape: tuple[int, int, int], resize: str) -> None:
    """Raises the `RequestError` of `to_array`."""
    if len(shape) != 3 or any(not isinstance(n, int | np.integer) or n < 1 for n in shape[:2]):
        raise RequestError(f"images cannot be brought to {shape}; allowed: (height, width, channels).")
    if shape[2] not in (1, 3):
        raise RequestError(f"images have 1 channel (grey) or 3 (RGB), not {shape[2]}.")
    if resize not in _RULES:
        raise RequestError(f"resize={resize!r} is not possible; allowed: {', '.join(_RULES)}.")


def from_array(pixels: np.ndarray) -> Image.Image:
    """An image from uint8 (H, W, 1) or (H, W, 3)."""
    return Image.fromarray(pixels.squeeze(2) if pixels.shape[2] == 1 else pixels)


def thumbnail(image: Image.Image) -> bytes:
    """What `Look.thumbnail` holds, of an image that is decoded already."""
    return _plain(image).convert("L").resize(THUMBNAIL, Image.Resampling.BOX).tobytes()


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


def _upright(image: Image.Image) -> Image.Image:
    """Upright by its EXIF orientation; as it is where that entry is damaged."""
    try:
        return ImageOps.exif_transpose(image)
    except Exception:  # cameras write odd EXIF, and the pixels are there all the same
        return image


def _orientation(image: Image.Image) -> int:
    try:
        return int(image.getexif().get(ExifTags.Base.Orientation, 1))
    except Exception:  # as above
        return 1


def _opened(path: str | Path, content: bytes | None) -> IO[bytes]:
    if content is not None:
        return io.BytesIO(content)
    if not stat.S_ISREG(mode := os.stat(path).st_mode) and not stat.S_ISDIR(mode):
        raise ImageError(path, "unreadable", NOT_A_FILE)
    return open(path, "rb")


@contextlib.contextmanager
def _explained(path: str | Path, content: bytes | None) -> Iterator[None]:
    """Converts whatever opening and decoding raise into a `ImageError`."""
    try:
        yield
    except ImageError:
        raise
    except IsADirectoryError:
        raise ImageError(path, "unreadable", "is a folder, not an image.") from None
    except FileNotFoundError:
        raise ImageError(path, "missing", "does not exist.") from None
    except PermissionError:
        raise ImageError(path, "unreadable", "may not be read: permission denied.") from None
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        limit = f"has more than {MAX_PIXELS // 1_000_000} million pixels; allowed: fewer."
        raise ImageError(path, "bomb", limit) from None
    except UnidentifiedImageError:
        if not (content if content is not None else Path(path).stat().st_size):
            raise ImageError(path, "empty", "is empty; allowed: PNG, JPEG, WebP, GIF, BMP, TIFF.") from None
        allowed = "is not an image that can be decoded; allowed: PNG, JPEG, WebP, GIF, BMP, TIFF."
        raise ImageError(path, "undecodable", allowed) from None
    except Exception as error:  # Pillow's decoders raise nearly anything for damaged files
        why = first_line(error)
        kind = "truncated" if isinstance(error, EOFError) or "truncated" in why.lower() else "undecodable"
        raise ImageError(path, kind, f"is damaged: {why}.") from None
