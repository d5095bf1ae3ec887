"""Recipes: settings of a training in TOML, validated, with a name for every default."""

import tomllib
from collections.abc import Iterable, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from recipes.augment import Augment
from recipes.data.picture import Resize
from recipes.data.sources import NAMED
from zoo.errors import RequestError, unknown
from zoo.heads import HEADS

PRESETS = files("recipes") / "presets"


class _Settings(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class About(_Settings):
    """What a recipe is for and what it was measured to reach."""

    summary: str = ""
    source: str = ""
    reaches: str = ""
    command: str = ""


class Model(_Settings):
    """Which model is built; what is None is as on the model's card. `weights` are what `zoo.create_model` takes."""

    name: str
    input_shape: tuple[int, int, int] | None = None
    pooling: str | None = None
    hidden: tuple[Annotated[int, Field(ge=1)], ...] | None = None
    dropout: Annotated[float, Field(ge=0, lt=1)] | None = None
    weights: str | None = None
    options: dict[str, Any] = {}

    @field_validator("pooling")
    @classmethod
    def _is_a_head(cls, pooling: str | None) -> str | None:
        if pooling is not None and pooling not in HEADS:
            raise unknown("pooling", pooling, HEADS)
        return pooling

    @field_validator("weights")
    @classmethod
    def _hold_from_any_folder(cls, weights: str | None) -> str | None:
        """A file or a run is kept by its whole path: the training may be gone on with from elsewhere."""
        return str(Path(weights).absolute()) if weights and Path(weights).exists() else weights


class DataSettings(_Settings):
    """Which pictures a run was trained on, and how they were brought to the model's size.

    `also` are further sources; classes of one name are one class, and those of the first source come first.
    """

    source: str
    also: tuple[str, ...] | None = None
    image_shape: tuple[int, int, int]
    resize: Resize = "fill"
    split_seed: int = 0
    skip_bad: bool = False

    @field_validator("source")
    @classmethod
    def _holds_from_any_folder(cls, source: str) -> str:
        return from_any_folder(source)

    @field_validator("also")
    @classmethod
    def _hold_from_any_folder(cls, also: tuple[str, ...] | None) -> tuple[str, ...] | None:
        return None if also is None else tuple(from_any_folder(source) for source in also)


def from_any_folder(source: str) -> str:
    """A source of pictures with its path whole: later commands may be typed elsewhere."""
    return source if source in NAMED or source.startswith("tfds:") else str(Path(source).expanduser().absolute())


class Optimizer(_Settings):
    """One of Keras' optimizers.

    Attributes:
        weight_decay: decoupled; leaves biases and normalisation alone.
        momentum: of `sgd`, in Nesterov's form.
        clipnorm: largest norm of all gradients together.
        ema: momentum of a moving average of the weights, which is what is validated and kept; 0 for none.
    """

    name: Literal["adam", "adamw", "sgd", "lion", "rmsprop", "nadam"] = "adamw"
    learning_rate: Annotated[float, Field(gt=0, le=10)] = 1e-3
    weight_decay: Annotated[float, Field(ge=0, le=1)] = 0.0
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.9
    clipnorm: Annotated[float, Field(gt=0)] | None = None
    ema: Annotated[float, Field(ge=0, lt=1)] = 0.0


class Schedule(_Settings):
    """The learning rate over a training.

    Attributes:
        name: `constant`; `cosine` down to zero; `step`, times `factor` at each of `drops`; `one-cycle`, up from a
            25th in the first 30 % and down to nothing in the rest, both along a cosine (Smith 2018).
        warmup_epochs: linear from zero, for `cosine`.
        drops: shares of the training, for `step`.
        factor: of each drop.
    """

    name: Literal["constant", "cosine", "step", "one-cycle"] = "cosine"
    warmup_epochs: Annotated[float, Field(ge=0)] = 0.0
    drops: tuple[Annotated[float, Field(gt=0, lt=1)], ...] = (0.5, 0.75)
    factor: Annotated[float, Field(gt=0, lt=1)] = 0.1


class FineTune(_Settings):
    """How a model that was trained before is trained on. The recipe's other settings are those of the first phase.

    In the first phase the new head learns, on what the frozen backbone makes of the pictures; in the second the last
    stages of the backbone learn too.

    Attributes:
        source: where the backbone comes from: a model with published weights, a run, or a `.keras` file.
        keep_classes: classes of the source keep what its head knows of them.
        views: how often the frozen part looks at each training picture: at the picture itself, and views - 1 times at
            what `augment` makes of it.
        stages: of the backbone, how many of the last learn in the second phase; "all", or 0 for no second phase.
        epochs, learning_rate, warmup_epochs, early_stopping: of the second phase, as the recipe's own of the first.
        layer_decay: the learning rate falls by this factor from each layer with weights to the one below it.
        batch_norm: whether normalisation of what learns goes on learning too; "frozen" uses and keeps its statistics.
    """

    source: str | None = None
    keep_classes: bool = False
    views: Annotated[int, Field(ge=1, le=100)] = 1
    stages: Annotated[int, Field(ge=0)] | Literal["all"] = 0
    epochs: Annotated[int, Field(ge=1, le=100_000)] = 10
    learning_rate: Annotated[float, Field(gt=0, le=10)] = 3e-4
    warmup_epochs: Annotated[float, Field(ge=0)] = 1.0
    early_stopping: Annotated[int, Field(ge=0)] = 0
    layer_decay: Annotated[float, Field(gt=0, le=1)] = 1.0
    batch_norm: Literal["frozen", "trained"] = "frozen"


class Recipe(_Settings):
    """Everything that decides how a model is trained. A run's `recipe.toml` holds one, fully resolved."""

    about: About = About()
    model: Model | None = None
    data: DataSettings | None = None
    epochs: Annotated[int, Field(ge=1, le=100_000)] = 30
    batch_size: Annotated[int, Field(ge=1, le=65_536)] = 64
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0
    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.0
    class_weight: Literal["none", "balanced"] = "none"
    precision: Literal["float32", "mixed_float16", "mixed_bfloat16"] = "float32"
    early_stopping: Annotated[int, Field(ge=0)] = 0  # epochs without improvement to wait for; 0: to the end
    optimizer: Optimizer = Optimizer()
    schedule: Schedule = Schedule()
    augment: Augment = Augment()
    finetune: FineTune | None = None
    versions: dict[str, str] = {}

    @property
    def soft_labels(self) -> bool:
        """Whether a label is a share of every class, not a number."""
        return self.augment.mixes or self.label_smoothing > 0


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


def read_preset(kind: str, name_or_file: str) -> dict[str, Any]:
    """What a preset or a TOML file holds, not validated.

    Raises:
        RequestError: no such preset or file, or one that is not TOML.
    """
    return _parse(_text(kind, name_or_file), name_or_file)


def load_augmentation(name_or_file: str, overrides: Sequence[str] = ()) -> Augment:
    """An augmentation by name or from a TOML file, with `key=value` overrides such as `rotation=20`.

    Raises:
        RequestError: no such augmentation, or settings that are not possible; the message names the key.
    """
    settings = _parse(_text("augment", name_or_file), name_or_file)
    for override in overrides:
        _override(settings, override)
    try:
        return Augment.model_validate(settings)
    except ValidationError as error:
        raise RequestError(f"augmentation {name_or_file}: {_first_problem(error, Augment)}") from None


def load_recipe(
    name_or_file: str | Path, overrides: Sequence[str] = (), *, kind: Literal["fit", "finetune"] = "fit"
) -> Recipe:
    """A recipe by name or from a TOML file, with `key=value` overrides such as `optimizer.learning_rate=3e-4`.

    `augment` in a recipe is a table of ranges or the name of one of the presets in `presets/augment/`. `kind` is the
    folder of `presets/` that a name is looked for in.

    Raises:
        RequestError: no such recipe, or settings that are not possible; the message names the key.
    """
    text = _text(kind, str(name_or_file))
    settings = _parse(text, str(name_or_file))
    for override in overrides:
        _override(settings, override)
    return _validated(settings, str(name_or_file))


def _validated(settings: dict[str, Any], name: str) -> Recipe:
    if isinstance(settings.get("augment"), str):
        settings["augment"] = _parse(_text("augment", settings["augment"]), settings["augment"])
    try:
        return Recipe.model_validate(settings)
    except ValidationError as error:
        raise RequestError(f"recipe {name}: {_first_problem(error)}") from None


def with_overrides(recipe: Recipe, overrides: Sequence[str]) -> Recipe:
    """A recipe with some `key=value` settings replaced.

    Raises:
        RequestError: settings that are not possible; the message names the key.
    """
    settings = recipe.model_dump(mode="json", exclude_none=True)
    for override in overrides:
        _override(settings, override)
    return _validated(settings, "with these settings")


def _names(kind: str) -> list[str]:
    return sorted(
        entry.name.removesuffix(".toml") for entry in (PRESETS / kind).iterdir() if entry.name.endswith(".toml")
    )


def _text(kind: str, name: str) -> str:
    if name.endswith(".toml"):
        try:
            return Path(name).read_text("utf-8")
        except FileNotFoundError:
            raise RequestError(f"{name} does not exist.") from None
        except (OSError, UnicodeDecodeError) as error:
            raise RequestError(f"{name} cannot be read: {error}") from None
    if name not in _names(kind):
        called = {"augment": "augmentation", "space": "space"}.get(kind, "recipe")
        raise unknown(called, name, [*_names(kind), "FILE.toml"])
    return (PRESETS / kind / f"{name}.toml").read_text("utf-8")


def _parse(text: str, name: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise RequestError(f"{name} is not valid TOML: {error}") from None


def _override(settings: dict[str, Any], override: str) -> None:
    key, equals, value = override.partition("=")
    if not equals or not key.strip():
        raise RequestError(
            f"--set {override!r} is not possible; allowed: KEY=VALUE, as in optimizer.learning_rate=3e-4."
        )
    *tables, last = key.strip().split(".")
    for table in tables:
        if isinstance(settings.get(table), str):  # a named preset becomes the table that it names
            settings[table] = _parse(_text(table, settings[table]), settings[table])
        settings = settings.setdefault(table, {})
        if not isinstance(settings, dict):
            raise RequestError(f"{key.strip()} is not possible: {table} is a value, it has no settings of its own.")
    try:
        settings[last] = tomllib.loads(f"value = {value}")["value"]
    except tomllib.TOMLDecodeError:
        settings[last] = value.strip()  # a bare word is a string


def _first_problem(error: ValidationError, settings: type[BaseModel] = Recipe) -> str:
    """One line for the first thing that is wrong: what was received, what is allowed, the nearest match."""
    problem = error.errors()[0]
    *tables, key = (str(part) for part in problem["loc"]) if problem["loc"] else ("",)
    where = ".".join([*tables, key]).strip(".")
    if problem["type"] == "extra_forbidden":
        return str(unknown("setting", where, [".".join([*tables, name]) for name in _keys(settings, tables)]))
    message = problem["msg"].removeprefix("Value error, ").rstrip(".")
    return (
        f"{where}={problem['input']!r} is not possible: {message[0].lower()}{message[1:]}." if where else f"{message}."
    )


def _keys(settings: Any, tables: Iterable[str]) -> Iterable[str]:
    for table in tables:
        annotation = settings.model_fields[table].annotation
        settings = next((kind for kind in get_args(annotation) if kind is not type(None)), annotation)
    return settings.model_fields
