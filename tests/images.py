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
