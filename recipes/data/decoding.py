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

from recipes.data.deep_colour import deep_eight_bits, raw_mode
from recipes.data.eight_bits import EightBits, PixelError, eight_bits, is_wide
from recipes.support.threads import Budget
from zoo.errors import RequestError, first_line, unknown
from zoo.files import NOT_A_FILE

Resize = Literal["fill", "fit", "stretch"]
RESIZE_RULES: tuple[str, ...] = get_args(Resize)
MAX_PIXELS = Image.MAX_IMAGE_PIXELS or 89_478_485  # Pillow's own limit; an image of more is taken for a bomb
MAX_BYTES = 3 * 2**29  # of memory for images that are being decoded, in all threads together; more for one is refused
MAX_SLOW_PIXELS = 2**24  # of a format that Pillow decodes in Python
MAX_JPEG2000_PIXELS = 3 * 2**23  # that are decoded; of a larger image, at a half, a quarter, ... of its sides
# Bytes a pixel that a decoder takes beyond the image it fills: measured at 89 million pixels, rounded up.
_DECODER_BYTES = {"JPEG2000": 16, "WEBP": 12, "AVIF": 8, "JPEG": 6}
_REFUSED = {"EPS": "a PostScript program", "FITS": "a FITS file, whose scale of values Pillow does not read"}
_IN_MEMORY = 2**24  # bytes; a file of no more is read at once
_budget = Budget(MAX_BYTES)
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
THUMBNAIL = (18, 16)  # width and height of the grey thumbnail that duplicates are found by
_BILINEAR = Image.Resampling.BILINEAR  # antialiased by Pillow when it shrinks
_RULES: dict[str, Callable[[Image.Image, tuple[int, int]], Image.Image]] = {
    "fill": lambda image, size: ImageOps.fit(image, size, _BILINEAR),
    "fit": lambda image, size: _pad(image, size),
    "stretch": lambda image, size: image.resize(size, _BILINEAR),
}


class ImageError(RequestError):
    """A file that no image comes out of.

    Attributes:
        path: the file.
        kind: `missing`, `unreadable`, `empty`, `truncated`, `bomb`, `values`, `changed` or `undecodable`.
        detail: the rest of the sentence that begins with the file's name.
    """

    def __init__(self, path: str | Path, kind: str, detail: str) -> None:
        super().__init__(f"{path} {detail}")
        self.path, self.kind, self.detail = str(path), kind, detail


@dataclass(frozen=True, slots=True)
class Look:
    """What one look at an image file tells.

    Attributes:
        format: by content: "JPEG", "PNG", ...
        mode: Pillow's name of the pixels as they are stored: "RGB", "CMYK", "I;16", "P", ...
        width, height: once it is upright by its EXIF orientation.
        animated: there is more than the first frame.
        transparent: there are see-through pixels, or could be.
        digest: of the file's bytes, see `digest_of`.
        thumbnail: grey, 18 wide and 16 high, one byte a pixel.
        top: of more than 8 bits a pixel or of floats, the value that becomes 255; else 0.
        depth: what becomes of them, a sentence without its subject, or "".
    """

    format: str
    mode: str
    width: int
    height: int
    animated: bool
    transparent: bool
    digest: bytes
    thumbnail: bytes
    top: int = 0
    depth: str = ""


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
    with _explained(path, content), _opened(path, content) as file, _image(file) as image:
        return _loaded(image, file).image


def decode_to(
    path: str | Path,
    shape: tuple[int, int, int],
    resize: Resize = "fill",
    content: bytes | None = None,
    *,
    digest: bytes | None = None,
) -> np.ndarray:
    """`to_array` of `decode`: no more than `MAX_BYTES` are taken by all threads that do this at the same time.

    Args:
        path, content: as for `decode`.
        shape, resize: as for `to_array`.
        digest: of the content that is meant.

    Raises:
        ImageError: no image comes out, or the content is another by now.
        RequestError: as `to_array`.
    """
    check_shape(shape, resize)
    with _explained(path, content), _opened(path, content) as file, _image(file) as image:
        array = to_array(_loaded(image, file).image, shape, resize)
        if digest is not None and _digest(file) != digest:  # after decoding: what was decoded is what was digested
            raise ImageError(path, "changed", "was changed after it had been looked at; begin again.")
        return array


def look(path: str | Path) -> Look:
    """Reads and decodes all of an image file without keeping its pixels, for use inside `pillow_warnings`.

    JPEGs are decoded at an eighth of their size: every byte is still read and checked.

    Raises:
        ImageError: no image comes out.
    """
    with _explained(path, None), _opened(path, None) as file, _image(file) as image:
        digest = _digest(file)
        mode, (width, height) = image.mode, image.size
        animated = bool(getattr(image, "is_animated", False))
        transparent = image.has_transparency_data
        grey = "L" if mode in ("RGB", "L") else None
        image.draft(grey, (2 * THUMBNAIL[0], 2 * THUMBNAIL[1]))  # type: ignore[arg-type, unused-ignore]  # types-Pillow
        upright, top, depth = _loaded(image, file)
        if _orientation(image) >= 5:  # 5 to 8 lie on their side
            width, height = height, width
        if not isinstance(file, io.BytesIO) and _digest(file) != digest:
            raise ImageError(path, "changed", "was changed while it was being read; begin again.")
        small = upright.convert("L").resize(THUMBNAIL, Image.Resampling.BOX)
        return Look(image.format or "", mode, width, height, animated, transparent, digest, small.tobytes(), top, depth)


def check_is_file(path: str | Path) -> None:
    """Raises the `ImageError` of a path that no image can come out of, told without opening it."""
    with _explained(path, None):
        if stat.S_ISDIR(os.stat(path).st_mode):
            raise IsADirectoryError


def digest_of(path: str | Path) -> bytes:
    """Of a file's bytes: BLAKE2b, 20 bytes. Files of one digest are taken for the same, whatever else is told of them.

    Raises:
        ImageError: it cannot be read.
    """
    with _explained(path, None), _opened(path, None) as file:
        return _digest(file)


def size_of(content: bytes, name: str) -> tuple[int, int, int]:
    """(H, W, C) of an encoded image by its header, C as `channels` says, for use inside `pillow_warnings`."""
    with _explained(name, content), _opened(name, content) as file:
        image = Image.open(file)
        height, width = (image.height, image.width) if _orientation(image) < 5 else (image.width, image.height)
        return height, width, channels(image.mode)


def channels(mode: str) -> int:
    """1 for Pillow's modes of grey, 3 for all others."""
    return 1 if mode in ("L", "1") or is_wide(mode) else 3


def to_array(image: Image.Image, shape: tuple[int, int, int], resize: Resize = "fill") -> np.ndarray:
    """The image as uint8 (H, W, C), pixels 0-255.

    Transparency is blended onto white, depths of more than 8 bits are scaled (see `recipes.data.eight_bits`), colour
    becomes luminance for C = 1.

    Args:
        image: any mode, any size.
        shape: (H, W, C), C is 1 or 3.
        resize: `fill` covers the frame and crops what is outside, `fit` shows all of the image between
            black bars (of a strip, at least one line), `stretch` ignores the aspect ratio.

    Raises:
        RequestError: another number of channels, another rule, or pixels that cannot be brought to 0-255.
    """
    check_shape(shape, resize)
    height, width, depth = shape
    mode = "L" if depth == 1 else "RGB"
    try:
        image = eight_bits(image).image
    except PixelError as error:
        raise RequestError(f"the image {error}") from None
    if image.mode not in ("L", mode):  # grey becomes colour when it is small: the same pixels, less memory
        image = image.convert(mode)
    if image.size != (width, height):
        image = _RULES[resize](image, (width, height))
    return np.asarray(image if image.mode == mode else image.convert(mode), np.uint8).reshape(shape)


def check_shape(shape: tuple[int, int, int], resize: str) -> None:
    """Raises the `RequestError` of `to_array`."""
    if len(shape) != 3 or any(not isinstance(n, int | np.integer) or n < 1 for n in shape[:2]):
        raise RequestError(f"images cannot be brought to {shape}; allowed: (height, width, channels).")
    if shape[2] not in (1, 3):
        raise RequestError(f"images have 1 channel (grey) or 3 (RGB), not {shape[2]}.")
    if resize not in _RULES:
        raise unknown("resize", str(resize), _RULES)


def from_array(pixels: np.ndarray) -> Image.Image:
    """An image from uint8 (H, W, 1) or (H, W, 3)."""
    return Image.fromarray(pixels.squeeze(2) if pixels.shape[2] == 1 else pixels)


def thumbnail(image: Image.Image) -> bytes:
    """What `Look.thumbnail` holds, of an image that is decoded already."""
    return eight_bits(image).image.convert("L").resize(THUMBNAIL, Image.Resampling.BOX).tobytes()


def _loaded(image: Image.Image, file: IO[bytes]) -> EightBits:
    """With 8 bits a band, upright by the EXIF orientation."""
    reduced = image.format == "JPEG2000" and image.width * image.height > MAX_JPEG2000_PIXELS
    if reduced:
        halvings = 1
        while image.width * image.height >> 2 * halvings > MAX_JPEG2000_PIXELS:
            halvings += 1
        setattr(image, "reduce", halvings)  # noqa: B010  # of this format, a number in place of the method
    raw = raw_mode(image)
    image.load()
    if raw is None:
        plain = eight_bits(image)
    else:
        deep = deep_eight_bits(image, file, raw)
        plain = deep._replace(image=eight_bits(deep.image).image)
    rotation = _UPRIGHT.get(_orientation(image))
    return plain if rotation is None else plain._replace(image=plain.image.transpose(rotation))


@contextlib.contextmanager
def _image(file: IO[bytes]) -> Iterator[Image.Image]:
    """An image by its header; the block is entered when there is memory to decode it.

    Raises:
        PixelError: it would take more than there may be, or too long.
    """
    image = Image.open(file)
    pixels = image.width * image.height
    if image.format in _REFUSED:
        raise PixelError(f"is {_REFUSED[image.format]}; allowed: PNG, JPEG, WebP, GIF, BMP, TIFF.")
    if pixels > MAX_SLOW_PIXELS and any(tile[0] in Image.DECODERS for tile in getattr(image, "tile", [])):
        allowed = f"allowed for {image.format}: {MAX_SLOW_PIXELS / 1e6:.1f} million"
        raise _TooLargeError(f"has {pixels / 1e6:.1f} million pixels; {allowed}.")
    if image.format == "JPEG2000":
        pixels = min(pixels, MAX_JPEG2000_PIXELS)
    stored = {"1": 1, "L": 1, "P": 1}.get(image.mode, 2 if image.mode.startswith("I;16") else 4)
    stored += 8 if raw_mode(image) else 0  # it may have to be decoded twice
    taken = pixels * (stored + max(4, _DECODER_BYTES.get(image.format or "", 4)))
    if taken > MAX_BYTES:
        size = f"{image.width}x{image.height} pixels take {taken / 2**30:.1f} GB to decode"
        raise _TooLargeError(f"is too large: its {size}; allowed: {MAX_BYTES / 2**30:.1f} GB.")
    with _budget.taken(taken):
        yield image


class _TooLargeError(PixelError):
    pass


def _pad(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    """All of the image, as large as goes into `size`, in its middle; the rest is black."""
    wide = image.width / image.height > size[0] / size[1]
    width = size[0] if wide else max(1, round(image.width / image.height * size[1]))
    height = max(1, round(image.height / image.width * size[0])) if wide else size[1]
    result = Image.new(image.mode, size)
    result.paste(
        image.resize((width, height), _BILINEAR), (round((size[0] - width) / 2), round((size[1] - height) / 2))
    )
    return result


def _orientation(image: Image.Image) -> int:
    try:
        return int(image.getexif().get(ExifTags.Base.Orientation, 1))
    except Exception:  # as above
        return 1


def _opened(path: str | Path, content: bytes | None) -> io.BytesIO | io.BufferedReader:
    """The bytes of a file: as they are at one moment, unless it is very large."""
    if content is not None:
        return io.BytesIO(content)
    if not stat.S_ISREG((facts := os.stat(path)).st_mode) and not stat.S_ISDIR(facts.st_mode):
        raise ImageError(path, "unreadable", NOT_A_FILE)
    if facts.st_size > _IN_MEMORY:
        return open(path, "rb")
    with open(path, "rb") as file:
        return io.BytesIO(file.read(2 * _IN_MEMORY))


def _digest(file: io.BytesIO | io.BufferedReader) -> bytes:
    """Of all bytes; the place in the file is where it was."""
    before = file.tell()
    file.seek(0)
    digest = hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=20)).digest()
    file.seek(before)
    return digest


@contextlib.contextmanager
def _explained(path: str | Path, content: bytes | None) -> Iterator[None]:
    """Converts whatever opening and decoding raise into a `ImageError`."""
    try:
        yield
    except RequestError:
        raise
    except PixelError as error:
        raise ImageError(path, "bomb" if isinstance(error, _TooLargeError) else "values", str(error)) from None
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
