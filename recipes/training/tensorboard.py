"""Scalars and the graph of a training for TensorBoard, in the folder `tensorboard` of a run that has one."""

import importlib.util

from recipes.run.folder import Run
from zoo.backend import keras
from zoo.errors import RequestError


def require_tensorboard() -> None:
    """Raises a `RequestError` that says what to install, unless it is."""
    if importlib.util.find_spec("tensorboard") is None:
        raise RequestError("--tensorboard needs tensorboard: pip install 'convzoo[tensorboard]'")


def writers(run: Run, phase: str) -> list["keras.callbacks.Callback"]:
    """What writes loss, metric and rate of every epoch, and the graph, if the run has a folder for it.

    That the folder is there is what remembers the wish: a resumed training goes on writing.
    """
    folder = run.path / "tensorboard"
    if not folder.is_dir():
        return []
    require_tensorboard()

    return [keras.callbacks.TensorBoard(folder / phase)]
