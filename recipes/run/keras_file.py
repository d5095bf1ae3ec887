"""What a `.keras` file must be before Keras is let near it: Keras trusts its sizes, and calls every fault missing."""

import json
import lzma
import math
import zipfile
import zlib
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from zoo.backend import as_keras_ships, keras, tf
from zoo.errors import RequestError, first_line
from zoo.files import check_file
from zoo.keras_internals import graph_that_is_not_run
from zoo.layers import register_layers
from zoo.registry import load_plugins

SMALL = 64 * 2**20  # bytes that any archive may unfold to
RATIO = 20  # times its own size that a larger one may; weights hardly compress
_HDF5 = b"\x89HDF\r\n\x1a\n"
_MEMBERS = {"config.json", "model.weights.h5"}
_UNREADABLE = (zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, OSError)


@as_keras_ships
def load_keras_file(path: Path) -> "keras.Model":
    """A `.keras` file as a model, without running code that the file may bring.

    Raises:
        RequestError: what `check_archive` finds, or an object in it that Keras does not know or does not trust.
    """
    check_archive(path)
    register_layers()
    load_plugins()
    try:
        with weights_within_file(path):
            return keras.models.load_model(path, compile=False, safe_mode=True)
    except RequestError:
        raise
    except Exception as error:  # Keras raises whatever its config parser meets
        why = _why(error)
        if "Could not locate class" in why:  # Keras goes on with the whole config of the layer
            why = f"{why.partition('. ')[0]}; a plugin may have it: `zoo --plugin FILE.py COMMAND`."
        raise RequestError(f"{path} cannot be loaded: {why}") from error


def refuse_hdf5(path: Path) -> None:
    """Raises a `RequestError` for a file in HDF5, by its content; it says how a `.keras` file is made of it."""
    if not path.is_file():
        return
    with open(path, "rb") as file:
        if file.read(len(_HDF5)) != _HDF5:
            return
    if path.name.endswith(".weights.h5"):
        way = "it holds weights without a model: load them into the model with `load_weights`, and save that"
    else:
        way = f"save it anew: `keras.models.load_model({path.name!r}, compile=False).save({path.stem + '.keras'!r})`"
    raise RequestError(f"{path} is an HDF5 file; allowed: a .keras file; {way}.")


def _why(error: BaseException) -> str:
    """The first line of what went wrong inside: Keras says of everything around it that it could not be read either."""
    while error.__context__ is not None and "could not be deserialized" in str(error):
        error = error.__context__
    return first_line(error)


def check_archive(path: Path) -> None:
    """Looks through a `.keras` file without unfolding more than a part at a time.

    Raises:
        RequestError: it is missing, empty, truncated, damaged, not a Keras file, or would fill the memory.
    """
    check_file(path)
    refuse_hdf5(path)
    try:
        with zipfile.ZipFile(path) as archive:
            names = [entry.filename for entry in archive.infolist()]
            _check_sizes(path, sum(entry.file_size for entry in archive.infolist()))
            if len(set(names)) < len(names):
                raise RequestError(f"{path} is damaged: it holds two files of one name.")
            damaged = archive.testzip()
            if damaged or not set(names) >= _MEMBERS:
                raise RequestError(f"{path} is damaged: {damaged or 'it has no config.json or model.weights.h5'}.")
            config = json.loads(archive.read("config.json"))
    except _UNREADABLE:
        why = "is empty" if path.stat().st_size == 0 else "is truncated or not a Keras file"
        raise RequestError(f"{path} {why}.") from None
    except RuntimeError as error:  # encrypted, packed in a way that Python does not know, or nested without end
        raise RequestError(f"{path} cannot be read: {error}.") from None
    except ValueError as error:
        if isinstance(error, RequestError):
            raise
        raise RequestError(f"{path} is damaged: its config.json is not JSON.") from None
    if not isinstance(config, dict):
        raise RequestError(f"{path} is damaged: its config.json does not describe a model.")


def weights_within_file(path: Path) -> AbstractContextManager[None]:
    """While a `.keras` file is loaded in it, no more variables are made than the file has weights for.

    A config of a few bytes can ask for a layer that fills the memory; its weights are then not in the file. They are
    measured one by one before they exist, as no config tells their shapes: drawn in a graph that is never run.

    Raises (inside the block):
        RequestError: the model is larger than its file.
    """
    with zipfile.ZipFile(path) as archive:
        left = brought = archive.getinfo("model.weights.h5").file_size

    def make(next_creator: Callable[..., Any], **options: Any) -> Any:
        nonlocal left
        value = options["initial_value"]
        if callable(value):
            with graph_that_is_not_run():
                value = tf.convert_to_tensor(value())
            left -= math.prod(value.shape) * value.dtype.size
        if left < 0:
            raise RequestError(f"{path} asks for more weights than the {brought:,} bytes of them that it brings.")
        return next_creator(**options)

    scope: AbstractContextManager[None] = tf.variable_creator_scope(make)
    return scope


def _check_sizes(path: Path, unfolded: int) -> None:
    packed = path.stat().st_size
    if unfolded > max(SMALL, RATIO * packed):
        raise RequestError(
            f"{path} unfolds from {packed:,} to {unfolded:,} bytes; allowed: {RATIO} times its size, or {SMALL:,}."
        )
