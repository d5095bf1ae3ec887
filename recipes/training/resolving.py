"""What is trained, settled before it is: a recipe with everything in it that decides a training."""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import recipes.data
from recipes.config.presets import list_recipes, load_recipe, with_overrides
from recipes.config.problems import validated
from recipes.config.settings import DataRules, Model, Recipe, ResolvedRecipe
from recipes.data.decoding import Resize
from recipes.training.session import versions
from zoo import get_card, list_models
from zoo.errors import RequestError
from zoo.groups import check_copies
from zoo.registry import check_options, require_plugin


def resolve(
    model: str | Model | None,
    data: str,
    recipe: str | Path | Recipe | None = None,
    overrides: Sequence[str] = (),
    *,
    resize: Resize | None = None,
    skip_bad: bool = False,
    split_near_duplicates: bool = False,
    teachers: Sequence[str | Path] = (),
) -> ResolvedRecipe:
    """The recipe with everything in it that decides the training: model, data, teachers and versions.

    Raises:
        RequestError: as `recipes.fit.fit`; it takes no more than reading the registry and a TOML file to know.
    """
    recipes.data.check_source(data)
    model, recipe = model_and_recipe(model, recipe)
    if recipe is None:
        recipe = "digits" if data == "digits" else "default"
    recipe = named_recipe(recipe, model if isinstance(model, str) else None, overrides)
    if recipe.finetune:
        raise RequestError("this recipe has a table [finetune]: it trains a model on; see `zoo finetune`.")
    if isinstance(model, str):
        model = (recipe.model or Model(name=model)).model_copy(update={"name": model})
    model = model or recipe.model
    if model is None:
        raise RequestError("no model is named: give one, or a recipe that names its own.")
    if recipe.plugin and model.name not in list_models():
        require_plugin(recipe.plugin, "the recipe")
    card = get_card(model.name)
    check_options(card, model.options)
    shape = model.input_shape or card.input_shape
    check_copies(model.symmetry, shape, card.symmetry, model.name)
    if teachers:
        own = recipe.distill.model_dump(exclude={"digests"}) if recipe.distill else {}
        distill = own | {"teachers": [str(teacher) for teacher in teachers]}
        recipe = validated(type(recipe), dict(recipe) | {"distill": distill}, "with these teachers")
    return ResolvedRecipe(
        **dict(recipe)
        | {
            "model": model.model_copy(update={"input_shape": shape}),
            "data": (recipe.data or DataRules()).of(
                data, shape, resize=resize, skip_bad=skip_bad, split_near_duplicates=split_near_duplicates
            ),
            "plugin": card.plugin,
            "versions": versions(),
        }
    )


def named_recipe(
    recipe: str | Path | Recipe,
    model: str | None,
    overrides: Sequence[str],
    *,
    kind: Literal["fit", "finetune"] = "fit",
) -> Recipe:
    """The recipe with its overrides; one that is named or a file is for `model`, if that is named, too.

    Raises:
        RequestError: as `recipes.config.presets.load_recipe`, or a setting names another model.
    """
    if isinstance(recipe, Recipe):
        return with_overrides(recipe, overrides)
    found = load_recipe(recipe, [*([f"model.name={model}"] if model else []), *overrides], kind=kind)
    if model and found.model and found.model.name != model:
        raise RequestError(f"model.name={found.model.name} is not {model}, the model that is named: name one of them.")
    return found


def model_and_recipe(
    model: str | Model | None, recipe: str | Path | Recipe | None
) -> tuple[str | Model | None, str | Path | Recipe | None]:
    """What was named where a model is expected may be a recipe that names its model: a file, or a preset.

    Raises:
        RequestError: a second recipe is named beside it.
    """
    if not isinstance(model, str) or not (
        model.endswith(".toml") or (model in list_recipes() and model not in list_models())
    ):
        return model, recipe
    if recipe is not None:
        raise RequestError(f"{model} is a recipe, and so is {recipe}: name one of them.")
    return None, model
