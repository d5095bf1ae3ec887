"""Real image files for tests of the data room, made with Pillow."""

import io
import struct
import zlib
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
from PIL import Image


def noise(seed: int, size: tuple[int, int] = (24, 20), mode: str = "RGB") -> Image.Image:
    """An image like no other: smooth blotches, so that it stays itself when it is compressed and shrunk."""
    small = np.random.default_rng(seed).integers(0, 256, (6, 7, 3), np.uint8)
    return Image.fromarray(small).resize(size, Image.Resampling.BICUBIC).convert(mode)


def save(image: Image.Image, path: Path, **options) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path, **options)
    return path


def class_folders(root: Path, counts: Mapping[str, int], *, first_seed: int = 0, ending: str = ".png") -> Path:
    """A folder with that many images, all different, in each class."""
    seed = first_seed
    for name, count in counts.items():
        (root / name).mkdir(parents=True, exist_ok=True)
        for number in range(count):
            save(noise(seed), root / name / f"{number}{ending}")
            seed += 1
    return root


def digit_folders(root: Path, names: str, per_class: int = 30) -> Path:
    """A folder with that many handwritten digits, 28x28 and grey, of each class: `names` is a digit a class."""
    from recipes.data.readers.digits import read_digits

    images, labels = read_digits()
    for name in names:
        for number, image in enumerate(images[labels == int(name)][:per_class]):
            save(Image.fromarray(image[..., 0]), root / name / f"{number}.png")
    return root


def bomb(width: int, height: int) -> bytes:
    """A small PNG whose header says that it is large."""
    whole = io.BytesIO()
    noise(0).save(whole, "PNG")
    content = bytearray(whole.getvalue())
    content[16:24] = struct.pack(">II", width, height)
    content[29:33] = struct.pack(">I", zlib.crc32(bytes(content[12:29])))
    return bytes(content)


def table(path: Path, header: str, lines: Iterable[str]) -> Path:
    path.write_text("\n".join([header, *lines]) + "\n", "utf-8")
    return path


def png(values: np.ndarray, bits: int, colour: int, *chunks: tuple[bytes, bytes]) -> bytes:
    """A PNG of any depth: `values` (H, W, bands), `colour` 0 grey, 2 RGB, 3 palette, 4 grey and alpha, 6 RGBA."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    height, width = values.shape[:2]
    rows = values.reshape(height, -1)
    if bits < 8:
        rows = [np.packbits((row[:, None] >> np.arange(bits)[::-1] & 1).astype(np.uint8)) for row in rows]
    content = b"".join(b"\0" + np.asarray(row).astype(">u2" if bits == 16 else "u1").tobytes() for row in rows)
    header = struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0)
    parts = [(b"IHDR", header), *chunks, (b"IDAT", zlib.compress(content)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*part) for part in parts)


def tiff(values: np.ndarray, photometric: int, *, order: str = "<", bits: int = 0, extra: int | None = None) -> bytes:
    """A TIFF of one strip, `values` (H, W, bands) in their own type; `bits` packs them to fewer, 12 for one.

    Args:
        photometric: 0 white is zero, 1 black is zero, 2 RGB, 5 CMYK, 8 L*a*b*.
        order: of bytes, `<` or `>`.
        extra: what the last band is, 2 for alpha.
    """
    height, width, bands = values.shape
    kind = {"u": 1, "i": 2, "f": 3}[values.dtype.kind]
    if bits:
        rows = [(row.ravel()[:, None] >> np.arange(bits)[::-1] & 1).astype(np.uint8) for row in values]
        content = b"".join(np.packbits(row).tobytes() for row in rows)
    else:
        content = values.astype(values.dtype.newbyteorder(order)).tobytes()
    bits = bits or 8 * values.dtype.itemsize
    entries = [(256, [width]), (257, [height]), (258, [bits] * bands), (259, [1]), (262, [photometric]), (273, [8])]
    entries += [(277, [bands]), (278, [height]), (279, [len(content)]), (339, [kind] * bands)]
    entries = sorted(entries + ([(338, [extra])] if extra is not None else []))
    start = 8 + len(content) + len(content) % 2
    far, after = b"", start + 2 + 12 * len(entries) + 4
    table = struct.pack(f"{order}H", len(entries))
    for tag, numbers in entries:
        packed = struct.pack(f"{order}{len(numbers)}{'H' if tag != 279 else 'I'}", *numbers)
        if len(packed) > 4:
            place, far = struct.pack(f"{order}I", after + len(far)), far + packed
        else:
            place = packed.ljust(4, b"\0")
        table += struct.pack(f"{order}HHI", tag, 4 if tag == 279 else 3, len(numbers)) + place
    head = (b"II" if order == "<" else b"MM") + struct.pack(f"{order}HI", 42, start)
    return head + content.ljust(start - 8, b"\0") + table + struct.pack(f"{order}I", 0) + far
