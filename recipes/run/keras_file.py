"""What a `.keras` file must be before Keras is let near it: Keras trusts its sizes, and calls every fault missing."""

import io
import json
import math
import zipfile
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from zoo.archives import opened_archive
from zoo.backend import as_keras_ships, h5py, keras, tf
from zoo.errors import RequestError, first_line, of_machine
from zoo.files import check_file
from zoo.keras_internals import graph_that_is_not_run
from zoo.layers import register_layers
from zoo.registry import load_plugins

LARGEST_CONFIG = 32 * 2**20  # bytes of `config.json`
_HDF5 = b"\x89HDF\r\n\x1a\n"
_WEIGHTS = "model.weights.h5"
_MEMBERS = {"config.json", _WEIGHTS}


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
        raise of_machine(error) or RequestError(f"{path} cannot be loaded: {why}") from error


def check_model(
    model: "keras.Model", file: Path, image_shape: tuple[int, int, int], class_names: Sequence[str]
) -> None:
    """Raises a `RequestError` unless a run's model goes from its images (H, W, C) to a score for each of its names."""
    takes, gives = ([tuple(tensor.shape) for tensor in ends or []] for ends in (model.inputs, model.outputs))
    fits = len(takes) == 1 and len(takes[0]) == 4
    if not fits or any(size not in (None, own) for size, own in zip(takes[0][1:], image_shape, strict=True)):
        raise RequestError(
            f"{file} takes {' and '.join(map(str, takes))}; the run's images are {image_shape}: "
            "one of them is of another run."
        )
    if len(gives) != 1 or len(gives[0]) != 2:
        raise RequestError(f"{file} gives {' and '.join(map(str, gives))}; allowed: a score for each class.")
    if gives[0][1] != len(class_names):
        raise RequestError(f"{file} gives {gives[0][1]} scores; there are {len(class_names)} labels.")


def image_model(model: "keras.Model") -> "keras.Model":
    """The model itself; raises a `RequestError` unless it goes from one image (B, H, W, C) to scores."""
    inputs, outputs = model.inputs or [], model.outputs or []
    if len(inputs) != 1 or len(outputs) != 1 or len(inputs[0].shape) != 4 or len(outputs[0].shape) != 2:
        given = ", ".join(str(tensor.shape) for tensor in inputs)
        made = ", ".join(str(tensor.shape) for tensor in outputs)
        raise RequestError(f"{model.name} goes from {given} to {made}; allowed: one image (B, H, W, C) to scores.")
    return model


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


def check_archive(path: Path) -> dict[str, Any]:
    """Looks through a `.keras` file without unfolding more than a part at a time.

    Returns:
        The model's configuration.

    Raises:
        RequestError: it is missing, empty, truncated, damaged, not a Keras file, or would fill the memory; or its
            weights lie elsewhere.
    """
    check_file(path)
    refuse_hdf5(path)
    if not zipfile.is_zipfile(path):
        raise RequestError(f"{path} {'is truncated or not a Keras file' if path.stat().st_size else 'is empty'}.")
    with opened_archive(path, path) as archive:
        damaged = archive.testzip()
        if damaged or not set(archive.namelist()) >= _MEMBERS:
            raise RequestError(f"{path} is damaged: {damaged or 'it has no config.json or model.weights.h5'}.")
        if archive.getinfo("config.json").file_size > LARGEST_CONFIG:
            raise RequestError(f"{path} is refused: its config.json has more than {LARGEST_CONFIG:,} bytes.")
        config = _config(path, archive.read("config.json"))
        _check_weights(path, archive)
    return config


def _config(path: Path, text: bytes) -> dict[str, Any]:
    try:
        config = json.loads(text)
    except RecursionError:
        raise RequestError(f"{path} cannot be read: its config.json is nested without end.") from None
    except ValueError:
        raise RequestError(f"{path} is damaged: its config.json is not JSON.") from None
    if not isinstance(config, dict):
        raise RequestError(f"{path} is damaged: its config.json does not describe a model.")
    return config


def _check_weights(path: Path, archive: zipfile.ZipFile) -> None:
    """Refuses weights that are not in the file: HDF5 can name places in other files of the machine instead."""
    with io.BytesIO(archive.read(_WEIGHTS)) as packed:  # zipfile reads all that lies before where HDF5 steps back to
        try:
            with h5py.File(packed, "r") as file:
                elsewhere = _elsewhere(file)
        except (OSError, KeyError, RuntimeError, ValueError) as error:  # as h5py finds it
            raise of_machine(error) or RequestError(
                f"{path} is damaged: its {_WEIGHTS} cannot be read ({first_line(error)})."
            ) from None
    if elsewhere:
        raise RequestError(f"{path} is refused: its {_WEIGHTS} has {elsewhere}; allowed: arrays that lie in the file.")


def _elsewhere(file: "h5py.File") -> str:
    """The first thing of an HDF5 file that is somewhere else, and how; empty if all is in the file."""
    seen, waiting = set(), [file["/"]]
    while waiting:
        group = waiting.pop()
        for name in group:
            place = f"{group.name.rstrip('/')}/{name}"
            link = group.get(name, getlink=True)
            if not isinstance(link, h5py.HardLink):
                return f"{place}, which is a link to {getattr(link, 'filename', '')}{link.path}"
            found = group[name]
            if isinstance(found, h5py.Dataset) and (found.external or found.is_virtual):
                return f"{place}, whose values are taken from other files"
            where = h5py.h5o.get_info(found.id)
            if isinstance(found, h5py.Group) and (where.fileno, where.addr) not in seen:
                seen.add((where.fileno, where.addr))  # groups may be in each other
                waiting.append(found)
    return ""


def weights_within_file(path: Path) -> AbstractContextManager[None]:
    """While a `.keras` file is loaded in it, no more variables are made than the file has weights for.

    A config of a few bytes can ask for a layer that fills the memory; its weights are then not in the file. They are
    measured one by one before they exist, as no config tells their shapes: drawn in a graph that is never run.

    Raises (inside the block):
        RequestError: the model is larger than its file.
    """
    with zipfile.ZipFile(path) as archive:
        left = brought = archive.getinfo(_WEIGHTS).file_size

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
