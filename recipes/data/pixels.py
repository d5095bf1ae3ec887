"""Images decoded and resized once, kept as uint8: in memory if they fit, otherwise in a file of the cache folder.

Those that fit into neither are decoded whenever they are used.

A file of the cache ends with the digest of all before it. It is checked once a start, before its images are used.
"""

import hashlib
import math
import os
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

import numpy as np
import PIL

from recipes.data import cache
from recipes.data.decoded import DecodedImages
from recipes.data.decoding import Resize, decode_to
from recipes.support.files import is_half_written, replacing
from recipes.support.threads import in_threads, progress
from zoo.cache import cache_folder
from zoo.errors import FailureError

MEMORY = 2 * 2**30  # bytes of images that are held in memory, if that is at most a quarter of what is free
KEPT = 20 * 2**30  # bytes that the cache folder's images may take; those unused longest go first
_ENDING = ".pictures.npy"  # as earlier versions wrote it: their files are found, and pruned
_BLOCK = 2**24  # bytes of a file that are digested at a time
_DIGEST = 32  # bytes
_ABANDONED = 24 * 3600  # seconds that a file being written has not grown for


def memory_limit() -> int:
    """Bytes of images that may be held in memory: 2 GB, or a quarter of the free memory if that is less."""
    try:
        lines = Path("/proc/meminfo").read_text("ascii").splitlines()
        free = next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable"))
    except (OSError, StopIteration, ValueError):
        return MEMORY
    return min(MEMORY, free // 4)


def load_files(
    parts: dict[str, np.ndarray],
    paths: Sequence[str],
    digests: Sequence[bytes],
    shape: tuple[int, int, int],
    resize: Resize,
    *,
    quiet: bool = False,
) -> dict[str, np.ndarray | DecodedImages]:
    """Images of files, uint8 (N, H, W, C) for each part.

    Images that fit into memory are kept on disk whatever the parts, so that another split reads them at once. Those
    that do not are kept part by part, so that each part is a stretch of a file that is mapped, not read; or decoded
    whenever they are used, see `beyond_memory`.

    Args:
        parts: row numbers of each part.
        paths, digests: of all files.
        shape, resize: see `recipes.data.decoding.to_array`.
        quiet: no progress bar, no remarks.

    Raises:
        ImageError: a file was damaged or changed after it had been looked at.
    """

    def decode(row: int) -> np.ndarray:
        return decode_to(paths[row], shape, resize, digest=digests[row])

    every = DecodedImages(decode, np.arange(len(paths)), shape)
    if sum(map(len, parts.values())) * math.prod(shape) <= memory_limit():
        held = in_memory(every, b"".join(digests), resize, quiet=quiet)
        return {part: np.asarray(held[rows]) for part, rows in parts.items()}
    return {
        part: beyond_memory(every.only(rows), b"".join(digests[row] for row in rows), resize, quiet=quiet)
        for part, rows in parts.items()
    }


def in_memory(images: DecodedImages, key: bytes, resize: Resize, *, quiet: bool) -> np.ndarray:
    """Images that memory holds, by way of the cache, which they may still be mapped from: arguments as of
    `beyond_memory`."""
    return keep(key, images.shape, resize, lambda: _shown(images, quiet=quiet), quiet=quiet, needed=False)


def beyond_memory(images: DecodedImages, key: bytes, resize: Resize, *, quiet: bool) -> np.ndarray | DecodedImages:
    """Images that memory does not hold: a mapped file of the cache where that has the space, else as they are.

    Args:
        images: that are read one by one.
        key: names them by what is in them.
        resize: how they are brought to their size.
        quiet: no progress bar, no remarks.
    """
    size = f"{images.nbytes / 2**30:.1f} GB of images do not fit into memory"
    try:
        if images.nbytes > KEPT:
            raise FailureError(f"{cache_folder()} keeps {KEPT / 2**30:.0f} GB at most")
        if not quiet:
            cache.say(f"{size}: kept in {cache_folder()}.")
        return keep(key, images.shape, resize, lambda: _shown(images, quiet=quiet), quiet=quiet, needed=True)
    except FailureError as error:
        if not quiet:
            cache.say(f"{size}: each is decoded whenever it is used ({error}).")
        return images


def _shown(images: DecodedImages, *, quiet: bool) -> Iterator[np.ndarray]:
    return progress(images, len(images), "reading images", quiet=quiet)


def keep(
    key: bytes,
    shape: tuple[int, int, int, int],
    resize: Resize,
    images: Callable[[], Iterator[np.ndarray]],
    *,
    quiet: bool,
    needed: bool,
) -> np.ndarray:
    """Images of the cache, after putting them there if they were not.

    Args:
        key: names the images by what is in them.
        shape: (N, H, W, C) of all of them.
        resize: how they are brought to that size.
        images: decodes them, one uint8 (H, W, C) after another.
        quiet: no remark on stderr.
        needed: they must not be held in memory.

    Raises:
        FailureError: they cannot be written, and are `needed`.
    """
    name = hashlib.sha256(f"{cache.VERSION} {PIL.__version__} {shape} {resize} ".encode() + key).hexdigest()[:32]
    file = cache_folder() / f"{name}{_ENDING}"
    if (stored := _stored(file, shape)) is not None:
        return stored
    try:
        return _write(file, images(), shape)
    except OSError as error:
        why = f"{file.parent} cannot be written: {error.strerror or error}"
        if needed:
            raise FailureError(f"{why}; set CONVZOO_CACHE to a folder with space for the images.") from None
        if not quiet:
            cache.say(f"{why}; the images are decoded again next time.")
        return np.stack(list(images()))


def _stored(file: Path, shape: tuple[int, ...]) -> np.memmap | None:
    """The images of a file whose bytes are as they were written; None if there is none, or it is damaged."""
    try:
        if not file.is_file():
            return None
        if _is_whole(file):
            stored = _mapped(file)
            os.utime(file)
            if stored.shape == shape and stored.dtype == np.uint8:
                return stored
    except (OSError, ValueError, EOFError):
        pass
    cache.say(f"{file} is damaged: its images are decoded again.")
    return None


def _is_whole(file: Path) -> bool:
    """Whether the digest at the end of a file is that of all before it, read in blocks by several threads."""
    size = file.stat().st_size - _DIGEST

    def digest(start: int) -> bytes:
        with open(file, "rb") as stored:
            stored.seek(start)
            return _digest(stored.read(min(_BLOCK, size - start)))

    blocks = b"".join(in_threads(digest, range(0, size, _BLOCK)))
    with open(file, "rb") as stored:
        stored.seek(max(size, 0))
        return stored.read() == _digest(blocks)


def _digest(content: bytes) -> bytes:
    return hashlib.blake2b(content, digest_size=_DIGEST).digest()


class _Digesting:
    """A file being written, with the digest of its blocks put at its end."""

    def __init__(self, out: BinaryIO) -> None:
        self._out, self._block, self._digests = out, bytearray(), b""

    def write(self, content: bytes) -> int:
        self._block += content
        while len(self._block) >= _BLOCK:
            self._digests += _digest(bytes(self._block[:_BLOCK]))
            del self._block[:_BLOCK]
        return self._out.write(content)

    def end(self) -> None:
        if self._block:
            self._digests += _digest(bytes(self._block))
        self._out.write(_digest(self._digests))


def _write(file: Path, images: Iterator[np.ndarray], shape: tuple[int, ...]) -> np.memmap:
    """Writes images one after another, whole or not at all, and maps the file."""
    file.parent.mkdir(parents=True, exist_ok=True)
    if shutil.disk_usage(file.parent).free < math.prod(shape) + 2**26:
        raise OSError(f"no space for {math.prod(shape) / 2**30:.1f} GB")
    with replacing(file) as aside, open(aside, "wb") as out:
        digesting = _Digesting(out)
        np.lib.format.write_array_header_1_0(digesting, {"descr": "|u1", "fortran_order": False, "shape": shape})
        for image in images:
            digesting.write(image.tobytes())
        digesting.end()
    _prune(file)
    # Not `_stored`: what was written a moment ago need not be read again.
    return _mapped(file)


def _mapped(file: Path) -> np.memmap:
    """Copy on write: the file is never changed, and TensorFlow may read the pages where they are."""
    mapped: np.memmap = np.load(file, mmap_mode="c", allow_pickle=False)
    return mapped


def _prune(newest: Path) -> None:
    """Removes the images that were used longest ago, until the rest take no more than `KEPT`.

    What another process is writing is left alone; what one that was killed had half written goes after a day.
    """
    now, kept = time.time(), []
    for file in newest.parent.glob(f"*{_ENDING}"):
        try:
            facts = file.stat()
        except FileNotFoundError:  # another process has put it in its place, or removed it
            continue
        if not is_half_written(file):
            kept.append((file == newest, facts.st_mtime, facts.st_size, file))
        elif now - facts.st_mtime > _ABANDONED:
            file.unlink(missing_ok=True)
    taken = 0
    for is_newest, _, size, file in sorted(kept, reverse=True):
        taken += size
        if taken > KEPT and not is_newest:
            file.unlink(missing_ok=True)
