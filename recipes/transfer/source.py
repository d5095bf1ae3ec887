"""What a fine-tuning starts from: a model with published weights, a run, or a `.keras` file."""

import os
from dataclasses import dataclass
from pathlib import Path

from recipes.config.settings import Model
from recipes.run.folder import Run
from recipes.run.keras_file import check_archive
from zoo import get_card, list_models
from zoo.cache import expanded
from zoo.errors import RequestError, unknown
from zoo.weights import weights_of


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
    text, path = str(name), expanded(name)
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
    config = check_archive(path)
    try:
        named, layers = config["config"], config["config"]["layers"]
        groups = [layer["config"]["group"] for layer in layers if layer["class_name"] == "ImageCopies"]
        shape = tuple(layers[0]["config"]["batch_shape"][1:])
        return Model(name=named["name"], input_shape=shape, symmetry=groups[0] if groups else None)
    except (KeyError, ValueError, TypeError, IndexError, AttributeError):
        raise RequestError(f"{path} is damaged, or not a model of one image of a fixed size.") from None
