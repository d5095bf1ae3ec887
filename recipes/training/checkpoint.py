"""Everything that a training needs to go on as if it had never stopped, in one file."""

import io
import json
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from recipes.support.files import write_whole
from zoo.errors import FailureError


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
    content = relay(path.read_bytes() if path and path.is_file() else b"")
    if not content:
        return None
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as archive:
            facts: dict[str, Any] = json.loads(archive["facts"].tobytes())
            return State(
                history=facts["history"],
                best_epoch=facts["best_epoch"],
                **{name: _numbered(archive, name) for name in _LISTS},
            )
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise FailureError(f"{path or 'the checkpoint'} is damaged: {error}.") from error


def _numbered(archive: Any, name: str) -> list[np.ndarray]:
    count = sum(key.startswith(f"{name}/") for key in archive.files)
    return [archive[f"{name}/{i}"] for i in range(count)]
