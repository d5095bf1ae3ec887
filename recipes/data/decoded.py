"""Images that are decoded when they are asked for, of sets that neither memory nor the cache folder holds."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from recipes.data.decoding import pillow_warnings
from recipes.support.threads import in_threads


class DecodedImages:
    """What `Split.images` is where only the images that are used are to be read.

    It is read like an array uint8 (N, H, W, C): `images[3]`, `images[rows]`, `images[:8]`, `len(images)`,
    `np.asarray(images)`. Each time the images are decoded anew, several at once, in threads; none is kept.

    Args:
        decode: gives one image, uint8 (H, W, C), by its number.
        numbers: int64 (N,), which images.
        shape: (H, W, C).
    """

    dtype = np.dtype(np.uint8)
    ndim = 4

    def __init__(self, decode: Callable[[int], np.ndarray], numbers: np.ndarray, shape: tuple[int, int, int]) -> None:
        self._decode, self._numbers, self._image = decode, np.asarray(numbers), shape

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """(N, H, W, C)."""
        return len(self._numbers), *self._image

    @property
    def nbytes(self) -> int:
        """Of all images, decoded."""
        return int(np.prod(self.shape, dtype=np.int64))

    def __len__(self) -> int:
        return len(self._numbers)

    def __iter__(self) -> Iterator[np.ndarray]:
        with pillow_warnings():
            yield from in_threads(self._decode, self._numbers.tolist())

    def __getitem__(self, key: Any) -> np.ndarray:
        """One image, or those of a slice, a mask or row numbers.

        Raises:
            ImageError: a file or record is damaged, or is not what it was.
        """
        chosen = self._numbers[key]
        if np.ndim(chosen) == 0:
            return next(iter(self.only([key])))
        images = np.empty((len(chosen), *self._image), np.uint8)
        for image, decoded in zip(images, self.only(key), strict=True):
            image[:] = decoded
        return images

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return self[:].astype(dtype or np.uint8, copy=False)

    def only(self, rows: Any) -> "DecodedImages":
        """Some of the images, without decoding any."""
        return DecodedImages(self._decode, self._numbers[rows], self._image)


Images = np.ndarray | DecodedImages
