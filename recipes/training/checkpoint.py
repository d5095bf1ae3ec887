"""Everything that a training needs to go on as if it had never stopped, in one file."""

import io
import json
import math
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from pydantic import BaseModel, Field

from recipes.support.files import write_whole
from recipes.support.reading import Document
from zoo.archives import opened_archive
from zoo.errors import FailureError, RequestError


@dataclass
class State:
    """A training between two epochs.

    What is random later is a function of (seed, epoch) and needs no place here.

    Attributes:
        history: a row for every finished epoch.
        weights: the model's, in the order of `model.weights`.
        optimizer: the optimizer's variables: step, momenta, averages of weights.
        best_epoch: from 1; 0 before the first.
        best_weights: the weights to hand over if the training ended here.
    """

    history: list[dict[str, float]] = field(default_factory=list)
    weights: list[np.ndarray] = field(default_factory=list)
    optimizer: list[np.ndarray] = field(default_factory=list)
    best_epoch: int = 0
    best_weights: list[np.ndarray] = field(default_factory=list)

    @property
    def epoch(self) -> int:
        """How many epochs are finished."""
        return len(self.history)

    def is_of(self, weights: Sequence[Any], optimizer: Sequence[Any], columns: set[str]) -> bool:
        """Whether it is a state of a training.

        Args:
            weights, optimizer: variables of the training, in order.
            columns: that each row of its history has.
        """
        shapes = [tuple(weight.shape) for weight in weights]
        return (
            [array.shape for array in self.weights] == shapes
            and [array.shape for array in self.best_weights] == shapes
            and [array.shape for array in self.optimizer] == [tuple(variable.shape) for variable in optimizer]
            and all(row.keys() >= columns and row.keys() == self.history[0].keys() for row in self.history)
        )


class _Facts(BaseModel):
    """What a state has beside arrays."""

    history: Annotated[list[dict[str, float]], Field(min_length=1)]
    best_epoch: Annotated[int, Field(ge=1)]


_LISTS = ("weights", "optimizer", "best_weights")


def save(state: State, path: Path) -> None:
    """Writes a state, whole or not at all.

    Raises:
        FailureError: no space or no permission; the previous state is intact.
    """
    facts = {"history": state.history, "best_epoch": state.best_epoch}
    arrays = {f"{name}/{i}": array for name in _LISTS for i, array in enumerate(getattr(state, name))}
    text = np.frombuffer(json.dumps(facts).encode(), np.uint8)

    def write(aside: Path) -> None:
        with open(aside, "wb") as file:
            np.savez(file, facts=text, **arrays)

    write_whole(path, write)


def load(path: Path | None, relay: Callable[[bytes], bytes] = bytes) -> State | None:
    """The state in a file, None if there is none yet.

    Args:
        path: None where no file is looked for.
        relay: is given what the file holds, b"" if there is none, and returns what counts.

    Raises:
        FailureError: the file is damaged.
    """
    kept = Document(path) if path else None
    try:
        own = kept.content(_LARGEST) if kept and kept.is_there else None
        if kept and own == b"":
            raise kept.refused("is damaged: it is empty")
        content = relay(own or b"")
        return _state(content, path or "the checkpoint") if content else None
    except RequestError as error:
        raise FailureError(f"{error} Remove it, and `zoo resume` begins again from the first epoch.") from error


_LARGEST = 2**40  # bytes: as large as models may be


def _state(content: bytes, called: object) -> State:
    with opened_archive(io.BytesIO(content), called) as archive:
        facts = json.loads(_array(archive, "facts").tobytes())
        if (best := _Facts.model_validate(facts, strict=True).best_epoch) > len(facts["history"]):
            raise ValueError(f"its best epoch is {best} of {len(facts['history'])}")
        return State(
            history=facts["history"],
            best_epoch=best,
            **{name: _numbered(archive, name) for name in _LISTS},
        )


def _numbered(archive: zipfile.ZipFile, name: str) -> list[np.ndarray]:
    count = sum(key.startswith(f"{name}/") for key in archive.namelist())
    return [_array(archive, f"{name}/{i}") for i in range(count)]


def _array(archive: zipfile.ZipFile, name: str) -> np.ndarray:
    """An array as `numpy.savez` keeps it; what its header says is not believed before it fits the bytes behind it."""
    content = io.BytesIO(archive.read(f"{name}.npy"))
    if np.lib.format.read_magic(content) != (1, 0):
        raise ValueError(f"{name} is of another version of NumPy's format")
    shape, by_column, dtype = np.lib.format.read_array_header_1_0(content)
    numbers = content.read()
    if dtype.kind not in "biuf" or any(size < 0 for size in shape) or math.prod(shape) * dtype.itemsize != len(numbers):
        raise ValueError(f"{name} has {len(numbers):,} bytes for {dtype} of shape {shape}")
    return np.frombuffer(numbers, dtype).reshape(shape, order="F" if by_column else "C").copy()
