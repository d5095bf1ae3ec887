"""What a fine-tuning starts from: a model with published weights, a run, or a `.keras` file."""

import json
import os
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from recipes.config.settings import Model
from recipes.data import Data
from recipes.data.joining import with_parts, without_leaks
from recipes.data.split_table import parts_of_files
from recipes.run.folder import Run
from recipes.run.keras_file import load_keras_file
from recipes.support.quiet import import_keras
from zoo import get_card, list_models
from zoo.errors import RequestError, unknown
from zoo.weights import load_weights, weights_of

if TYPE_CHECKING:
    import keras


@dataclass(frozen=True)
class Source:
    """Where a backbone comes from.

    Attributes:
        name: as it was given; the whole path of a run or a file.
        model: the architecture and the head that it has there; `input_shape` is set.
        run: the run, if it is one.
        file: the `.keras` file, if it is one.
    """

    name: str
    model: Model
    run: Run | None = None
    file: Path | None = None


def open_source(name: str | Path, weights: str | None = None) -> Source:
    """What `name` names, found out without loading Keras.

    Args:
        name: a model, a run folder, or a `.keras` file.
        weights: of a model, as `zoo.create_model` takes them; ImageNet's if None.

    Raises:
        RequestError: nothing of that name, a model without published weights, or a run that is not finished; weights
            for a source that has its own.
    """
    text, path = str(name), Path(name).expanduser()
    if text in list_models():
        card = get_card(text)
        if weights is None:
            weights = weights_of(card).name
        return Source(text, Model(name=text, input_shape=card.input_shape, weights=weights))
    if weights is not None:
        raise RequestError(f"{text} has weights of its own; weights={weights!r} goes with the name of a model.")
    if path.name.endswith(".keras"):
        return Source(str(path.absolute()), _model_in(path), file=path)
    if path.exists() or os.sep in text:
        run = Run.open(path)
        _ = run.model_file  # told now, where it is missing
        return Source(str(path.absolute()), run.recipe.model.model_copy(update={"weights": None}), run=run)
    known = [*(model for model in list_models() if get_card(model).weights), "RUN", "FILE.keras"]
    raise unknown("source", text, known, hint="Allowed: a run, a .keras file, or one of `zoo list --weights`.")


def _model_in(path: Path) -> Model:
    if not path.exists():
        raise RequestError(f"{path} does not exist.")
    try:
        with zipfile.ZipFile(path) as archive:
            config = json.loads(archive.read("config.json"))["config"]
        shape = tuple(config["layers"][0]["config"]["batch_shape"][1:])
        return Model(name=config["name"], input_shape=shape)
    except (zipfile.BadZipFile, OSError, EOFError, KeyError, ValueError, TypeError, IndexError):
        raise RequestError(f"{path} is damaged, or not a model of one image of a fixed size.") from None


def build(source: Source, wanted: Model, classes: int, activation: str = "softmax") -> "keras.Model":
    """The source's backbone with its weights and its own scaling of pixels, under a new head.

    Args:
        source: what `open_source` found.
        wanted: image size and head.
        classes: of the new head.
        activation: of its scores.

    Raises:
        RequestError: weights that do not fit, or an image size that the backbone cannot take.
        FailureError: weights that could not be fetched.
    """
    keras = import_keras()
    from zoo import create_model
    from zoo.builder import head_of
    from zoo.heads import apply_head
    from zoo.stages import take_apart

    if source.file:
        model = load_keras_file(source.file)
        if tuple(model.input_shape[1:]) != wanted.input_shape:
            raise RequestError(f"{source.file} takes images of {model.input_shape[1:]}, not {wanted.input_shape}.")
        parts = take_apart(model)
        image = keras.Input(wanted.input_shape, name="image")
        x = image
        for layer in parts.scaling.layers[1:]:
            x = layer(x)
        head = {"pooling": wanted.pooling, "hidden": wanted.hidden, "dropout": wanted.dropout}
        if model.name in list_models():
            head = head_of(get_card(model.name), {}, **head)
        else:
            head = {"pooling": "average"} | {key: value for key, value in head.items() if value is not None}
        scores = apply_head(parts.backbone(x), classes=classes, activation=activation, **head)
        return keras.Model(image, scores, name=model.name)
    model = create_model(
        wanted.name,
        input_shape=wanted.input_shape,
        classes=classes,
        pooling=wanted.pooling,
        hidden=wanted.hidden,
        dropout=wanted.dropout,
        activation=activation,
        **wanted.options,
    )
    weights = source.run.path if source.run else wanted.weights
    if weights != "none":
        load_weights(model, get_card(wanted.name), weights, head=False)
    return model


def keep_classes(model: "keras.Model", run: Run, class_names: tuple[str, ...]) -> None:
    """Gives the new head what the run's head knows of the classes that both have.

    Raises:
        RequestError: another kind of head, or a class of the run that is not among `class_names`.
    """
    if lost := [name for name in run.class_names if name not in class_names]:
        raise RequestError(f"classes of {run.path} would be lost: {', '.join(lost)}.")
    columns = [class_names.index(name) for name in run.class_names]
    before = {layer.name: layer for layer in run.load_model().layers if layer.weights and layer.name != "backbone"}
    after = {layer.name: layer for layer in model.layers if layer.weights and layer.name != "backbone"}
    if before.keys() != after.keys():
        raise RequestError(f"keeping classes needs the head of {run.path}: pooling and hidden as they are there.")
    for name, layer in after.items():
        arrays = []
        for old, new in zip(before[name].get_weights(), layer.get_weights(), strict=True):
            if old.shape[:-1] != new.shape[:-1] or (old.shape != new.shape and old.shape[-1] != len(columns)):
                raise RequestError(f"{name} of {run.path} has other shapes: the image size must be the same.")
            if old.shape == new.shape and name not in ("logits", "score_map"):
                arrays.append(old)
                continue
            merged = np.array(new)
            merged[..., columns] = old
            arrays.append(merged)
        layer.set_weights(arrays)


def in_parts_of(run: Run, images: Data, *, skip_bad: bool) -> Data:
    """The images, where they are the run's in the parts that they had there: what it was tested on stays for that.

    Raises:
        RequestError: copies of one file are in several parts, and `skip_bad` does not leave them out.
    """
    if not run.split_table or not images.root:
        return images  # sets that bring their parts, or have them from the seed
    before = run.recipe.data
    part_of = parts_of_files(run.split_table, (before.source, *(before.also or ())))
    return without_leaks(with_parts(images, part_of), skip_bad=skip_bad)
