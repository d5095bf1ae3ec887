"""Recipes: settings of a training in TOML, validated, with a name for every default."""

import tomllib
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal, TypeVar

from recipes.augment.pipeline import Augment
from recipes.config.problems import validated
from recipes.config.settings import DataRules, DataSettings, Recipe, ResolvedRecipe
from recipes.support.reading import Document, parse_toml
from zoo.errors import RequestError, unknown

PRESETS = files("recipes") / "presets"
AnyRecipe = TypeVar("AnyRecipe", bound=Recipe)
_OF_A_RUN = DataSettings.model_fields.keys() - DataRules.model_fields.keys()
SCHEMA = 2  # of the recipe.toml of a run; one that does not name its schema has the first


def list_recipes() -> list[str]:
    """Names of the recipes that `zoo fit --recipe` takes."""
    return _names("fit")


def list_finetunings() -> list[str]:
    """Names of the recipes that `zoo finetune --recipe` takes."""
    return _names("finetune")


def list_augmentations() -> list[str]:
    """Names that `augment` in a recipe takes."""
    return _names("augment")


def list_spaces() -> list[str]:
    """Names that `zoo tune --space` takes."""
    return _names("space")


def list_all() -> list[str]:
    """Names that `zoo recipes` takes: those of recipes, `finetune/NAME` and `augment/NAME`."""
    named = {"": list_recipes(), "finetune/": list_finetunings(), "augment/": list_augmentations()}
    return [f"{kind}{name}" for kind, names in named.items() for name in names]


def read_preset(kind: str, name_or_file: str) -> dict[str, Any]:
    """What a preset or a TOML file holds, not validated.

    Raises:
        RequestError: no such preset or file, or one that is not TOML.
    """
    return _settings(kind, name_or_file)


def load_augmentation(name_or_file: str, overrides: Sequence[str] = ()) -> Augment:
    """An augmentation by name or from a TOML file, with `key=value` overrides such as `rotation=20`.

    Raises:
        RequestError: no such augmentation, or settings that are not possible; the message names the key.
    """
    settings = _settings("augment", name_or_file)
    for override in overrides:
        _override(settings, override)
    return validated(Augment, settings, f"augmentation {name_or_file}")


def load_recipe(
    name_or_file: str | Path, overrides: Sequence[str] = (), *, kind: Literal["fit", "finetune"] = "fit"
) -> Recipe:
    """A recipe by name or from a TOML file, with `key=value` overrides such as `optimizer.learning_rate=3e-4`.

    `augment` in a recipe is a table of ranges or the name of one of the presets in `presets/augment/`. `kind` is the
    folder of `presets/` that a name is looked for in.

    Raises:
        RequestError: no such recipe, or settings that are not possible; the message names the key.
    """
    settings = _settings(kind, str(name_or_file))
    if isinstance(data := settings.get("data"), dict):  # of a run: which images it had is not for others to follow
        settings["data"] = {key: value for key, value in data.items() if key not in _OF_A_RUN}
    for override in overrides:
        _override(settings, override)
    return _recipe_of(Recipe, settings, str(name_or_file))


def load_resolved(file: Document) -> ResolvedRecipe:
    """The recipe of a run, from its `recipe.toml`.

    Raises:
        RequestError: as `load_recipe`, or it names no model or no data.
    """
    return _recipe_of(ResolvedRecipe, file.toml(), str(file.path))


def _recipe_of(kind: type[AnyRecipe], settings: dict[str, Any], name: str) -> AnyRecipe:
    _upgrade(settings, name)
    if isinstance(settings.get("augment"), str):
        settings["augment"] = _settings("augment", settings["augment"])
    return validated(kind, settings, f"recipe {name}")


def _upgrade(settings: dict[str, Any], name: str) -> None:
    """Converts the settings of an earlier schema into those of this one.

    Raises:
        RequestError: a later schema.
    """
    schema = settings.pop("schema", 1)
    if schema not in range(1, SCHEMA + 1):
        raise RequestError(
            f"recipe {name} has schema {schema!r}; this convzoo reads 1 to {SCHEMA}, a newer one may read it."
        )
    tuning = settings.get("finetune")
    if schema == 1 and isinstance(tuning, dict) and "keep_classes" in tuning:
        tuning["keep_old_classes"] = tuning.pop("keep_classes")


def with_overrides(recipe: AnyRecipe, overrides: Sequence[str]) -> AnyRecipe:
    """A recipe with some `key=value` settings replaced.

    Raises:
        RequestError: settings that are not possible; the message names the key.
    """
    if not overrides:
        return recipe
    settings = recipe.model_dump(mode="json", exclude_none=True)
    for override in overrides:
        _override(settings, override)
    return _recipe_of(type(recipe), settings, "with these settings")


def model_options(overrides: Sequence[str]) -> dict[str, Any]:
    """Options of a model from `option=value` settings; `model.options.option=value`, as for a recipe, is the same.
    `symmetry=group` and `model.symmetry=group` are among them, too.

    Raises:
        RequestError: a setting that is not of that form.

    >>> model_options(["antialias=true", "model.options.width=0.25"])
    {'antialias': True, 'width': 0.25}
    """
    settings: dict[str, Any] = {}
    for override in overrides:
        _override(settings, override.strip().removeprefix("model.").removeprefix("options."))
    return settings


def _names(kind: str) -> list[str]:
    return sorted(
        entry.name.removesuffix(".toml") for entry in (PRESETS / kind).iterdir() if entry.name.endswith(".toml")
    )


def _settings(kind: str, name: str) -> dict[str, Any]:
    """What is in the TOML file that `name` names, or in the preset."""
    if name.endswith(".toml"):
        return Document(Path(name)).toml()
    if name not in _names(kind):
        called = {"augment": "augmentation", "space": "space"}.get(kind, "recipe")
        raise unknown(called, name, [*_names(kind), "FILE.toml"])
    return tomllib.loads((PRESETS / kind / f"{name}.toml").read_text("utf-8"))


def _override(settings: dict[str, Any], override: str) -> None:
    key, equals, value = override.partition("=")
    if not equals or not key.strip():
        raise RequestError(
            f"--set {override!r} is not possible; allowed: KEY=VALUE, as in optimizer.learning_rate=3e-4."
        )
    *tables, last = key.strip().split(".")
    for table in tables:
        if table == "augment" and isinstance(settings.get(table), str):  # the preset becomes the table that it names
            settings[table] = _settings(table, settings[table])
        settings = settings.setdefault(table, {})
        if not isinstance(settings, dict):
            raise RequestError(f"{key.strip()} is not possible: {table} is a value, it has no settings of its own.")
    try:
        settings[last] = parse_toml(f"value = {value}")["value"]
    except ValueError:
        settings[last] = value.strip()  # a bare word is a string
