"""Training from scratch: a model, data and a recipe become a run."""

import platform
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

import recipes.data
from recipes.data import Data
from recipes.metrics import classification_metrics
from recipes.preset import DataSettings, Model, Recipe, load_recipe
from recipes.quiet import import_keras
from recipes.run import Run, check_free
from zoo import get_card
from zoo.errors import RequestError
from zoo.registry import check_options


@dataclass(frozen=True)
class Fitted:
    """What a training came to.

    Attributes:
        run: the folder.
        metrics: of the test pictures, see `recipes.metrics.classification_metrics`.
        best_epoch: the epoch, from 1, whose weights were kept: best validation accuracy, then lowest loss.
        warnings: what the user should look at, a sentence each.
    """

    run: Run
    metrics: dict[str, Any]
    best_epoch: int
    warnings: tuple[str, ...]


def fit(
    model: str | Model | None,
    *,
    data: str,
    out: str | Path,
    recipe: str | Path | Recipe | None = None,
    overrides: Sequence[str] = (),
    overwrite: bool = False,
    quiet: bool = False,
) -> Fitted:
    """Trains a model from scratch and leaves a run folder.

    Args:
        model: a name from the registry; the recipe's own model if None.
        data: a source, see `recipes.data.load`.
        out: the run folder to make.
        recipe: a name, a TOML file or a `Recipe`; by the data if None.
        overrides: `key=value` settings, applied to a recipe that is named or a file.
        overwrite: replaces a run that is already in `out`.
        quiet: no progress on stderr.

    Raises:
        RequestError: a name, setting or folder that is not possible; nothing was written.
        FailureError: data that could not be prepared, or a disk that could not be written.
    """
    settings = resolve(model, data, recipe, overrides)
    check_free(Path(out), overwrite=overwrite)
    keras = import_keras()
    from recipes import training

    source = settings.data
    pictures = recipes.data.load(
        source.source, image_shape=source.image_shape, resize=source.resize, split_seed=source.split_seed
    )
    if pictures.task != "classification":
        raise RequestError(f"{data} is a set for {pictures.task}; training needs one class a picture.")
    keras.utils.set_random_seed(settings.seed)
    network = training.compiled_model(settings, pictures)

    run = Run.create(out, overwrite=overwrite)
    run.write_recipe(settings)
    run.write_text("labels.txt", "\n".join(pictures.class_names) + "\n")
    best, history = training.train(network, pictures, settings, run, quiet=quiet)
    run.save_model(network)
    metrics = classification_metrics(
        pictures.test.labels, training.predict(network, pictures.test.images), pictures.class_names
    )
    run.write_json("metrics.json", metrics)
    return Fitted(run, metrics, best, tuple(_warnings(history[best - 1], pictures)))


def resolve(
    model: str | Model | None,
    data: str,
    recipe: str | Path | Recipe | None = None,
    overrides: Sequence[str] = (),
) -> Recipe:
    """The recipe with everything in it that decides the training: model, data and versions.

    Raises:
        RequestError: as `fit`; it takes no more than reading the registry and a TOML file to know.
    """
    recipes.data.check_source(data)
    if recipe is None:
        recipe = "digits" if data == "digits" else "default"
    if not isinstance(recipe, Recipe):
        recipe = load_recipe(recipe, [*([f"model.name={model}"] if isinstance(model, str) else []), *overrides])
    if isinstance(model, str):
        model = (recipe.model or Model(name=model)).model_copy(update={"name": model})
    model = model or recipe.model
    if model is None:
        raise RequestError("no model is named: give one, or a recipe that names its own.")
    card = get_card(model.name)
    check_options(card, model.options)
    shape = model.input_shape or card.input_shape
    versions = {name: version(name) for name in ("convzoo", "tensorflow", "keras", "numpy")}
    return recipe.model_copy(
        update={
            "model": model.model_copy(update={"input_shape": shape}),
            "data": DataSettings(source=data, image_shape=shape),
            "versions": {"python": platform.python_version()} | versions,
        }
    )


def _warnings(best: dict[str, float], data: Data) -> list[str]:
    chance = np.bincount(data.validation.labels).max() / len(data.validation)
    learned, held = best["accuracy"], best["val_accuracy"]
    if held <= chance + 0.1 * (1 - chance) and learned >= chance + 0.5 * (1 - chance):
        return [
            f"validation accuracy {held:.1%} is near chance ({chance:.1%}) while training accuracy is {learned:.1%}: "
            "look at the order of the labels, at BatchNorm statistics (momentum too high for so few steps), "
            "and at whether both parts were prepared alike."
        ]
    return []
