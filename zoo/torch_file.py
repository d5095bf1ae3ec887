"""Reads the arrays of a PyTorch file with NumPy alone, and without running what a pickle may ask to be run.

Both layouts are read: the zip archive of PyTorch 1.6 and later, and the run of pickles and raw numbers before it.
"""

import io
import math
import os
import pickle
import pickletools
import struct
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from zoo.archives import RATIO, SMALL, opened_archive
from zoo.errors import RequestError, first_line
from zoo.files import check_file

KINDS = {
    "DoubleStorage": np.float64,
    "FloatStorage": np.float32,
    "HalfStorage": np.float16,
    "LongStorage": np.int64,
    "IntStorage": np.int32,
}
LARGEST = 2**36  # bytes of one tensor
MAGIC, PROTOCOL = 0x1950A86A20F9469CFC6C, 1001  # the first two pickles of the older layout


@dataclass
class _Storage:
    """Numbers that tensors are views of; they come after the tensors in a file."""

    dtype: np.dtype
    count: int
    numbers: np.ndarray | None = None


@dataclass(frozen=True)
class _Tensor:
    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]

    def array(self) -> np.ndarray:
        numbers, size = self.storage.numbers, self.storage.dtype.itemsize
        if numbers is None:
            raise ValueError("a tensor without its numbers")
        reach = sum((n - 1) * stride for n, stride in zip(self.shape, self.strides, strict=True))
        if min((self.offset, *self.shape, *self.strides), default=0) < 0:
            raise ValueError("a tensor with negative sizes")
        if math.prod(self.shape) and self.offset + reach >= len(numbers):
            raise ValueError("a tensor that reaches past its numbers")
        if math.prod(self.shape) > len(numbers):
            raise ValueError("a tensor that has each of its numbers several times")
        steps = [size * stride for stride in self.strides]
        return np.lib.stride_tricks.as_strided(numbers[self.offset :], self.shape, steps, writeable=False).copy()


class _Reader(pickle.Unpickler):
    """An unpickler that knows tensors and ordered dictionaries, and refuses every other name."""

    def __init__(self, file: BinaryIO, storages: dict[str, _Storage]) -> None:
        super().__init__(file)
        self._storages = storages

    def find_class(self, module: str, name: str) -> Any:
        allowed: dict[tuple[str, str], Any] = {
            ("collections", "OrderedDict"): OrderedDict,
            ("torch._utils", "_rebuild_tensor_v2"): _rebuilt,
            **{("torch", kind): np.dtype(dtype) for kind, dtype in KINDS.items()},
        }
        if (module, name) not in allowed:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}, which no file of weights needs")
        return allowed[module, name]

    def persistent_load(self, pid: Any) -> _Storage:
        kind, dtype, key, _, count = pid[:5]
        if kind != "storage" or not isinstance(dtype, np.dtype):
            raise pickle.UnpicklingError(f"it refers to {kind!r}, which is not a storage")
        return self._storages.setdefault(key, _Storage(dtype, int(count)))


def _rebuilt(storage: _Storage, offset: int, shape: tuple[int, ...], strides: tuple[int, ...], *_: Any) -> _Tensor:
    return _Tensor(storage, offset, tuple(shape), tuple(strides))


def read_tensors(path: str | Path) -> dict[str, np.ndarray]:
    """The tensors of a state dictionary by name.

    Raises:
        RequestError: the file is damaged, not of PyTorch, or asks for anything but tensors; nothing of it was run.
    """
    check_file(path)
    try:
        with open(path, "rb") as file:
            found = _read_archive(file) if zipfile.is_zipfile(file) else _read_pickles(file)
        if not isinstance(found, dict) or not all(isinstance(tensor, _Tensor) for tensor in found.values()):
            raise ValueError("it is not a dictionary of tensors")
        size = sum(math.prod(tensor.shape) * tensor.storage.dtype.itemsize for tensor in found.values())
        if size > max(SMALL, RATIO * Path(path).stat().st_size):
            raise ValueError(f"its tensors have {size:,} bytes, far more than the file")
        return {str(name): tensor.array() for name, tensor in found.items()}
    except Exception as error:  # a damaged pickle raises whatever it happens to run into
        why = first_line(error).rstrip(".")[:300]
        raise RequestError(f"{path} cannot be read as PyTorch weights: {why}.") from None


def _load(file: BinaryIO, storages: dict[str, _Storage]) -> Any:
    """The next pickle of a file; one that numbers its parts further than there can be is not let take their memory."""
    begin = file.tell()
    for opcode, argument, place in pickletools.genops(file):
        number, here = argument or 0, place or 0
        if opcode.name in ("PUT", "BINPUT", "LONG_BINPUT") and not 0 <= number <= here + 1:
            raise pickle.UnpicklingError(f"it numbers its part at byte {here:,} as {number:,}")
    file.seek(begin)
    return _Reader(file, storages).load()


def _read_archive(file: BinaryIO) -> Any:
    with opened_archive(file, "the archive in it") as archive:
        (index,) = (name for name in archive.namelist() if name.endswith("data.pkl"))
        root = index.removesuffix("data.pkl")
        storages: dict[str, _Storage] = {}
        found = _load(io.BytesIO(archive.read(index)), storages)
        for key, storage in storages.items():
            with archive.open(f"{root}data/{key}") as packed:
                _fill(storage, packed.read)
    return found


def _read_pickles(file: BinaryIO) -> Any:
    file.seek(0)
    storages: dict[str, _Storage] = {}

    def next_pickle() -> Any:
        return _load(file, storages)

    if (next_pickle(), next_pickle()) != (MAGIC, PROTOCOL):
        raise ValueError("it does not begin as a file of PyTorch")
    if not next_pickle()["little_endian"]:
        raise ValueError("its numbers are big-endian")
    found = next_pickle()
    for key in next_pickle():
        (count,) = struct.unpack("<q", file.read(8))
        if count * storages[key].dtype.itemsize > os.fstat(file.fileno()).st_size:
            raise ValueError("it ends before its last number")
        if count != storages[key].count:
            raise ValueError("a storage has another length than its tensors say")
        _fill(storages[key], file.read)
    return found


def _fill(storage: _Storage, read: Callable[[int], bytes]) -> None:
    wanted = storage.count * storage.dtype.itemsize
    if not 0 <= wanted < LARGEST:
        raise ValueError(f"a storage of {storage.count:,} numbers")
    numbers = read(wanted)
    if len(numbers) != wanted:
        raise ValueError("it ends before its last number")
    storage.numbers = np.frombuffer(numbers, storage.dtype.newbyteorder("<"))
