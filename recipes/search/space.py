"""Spaces: which settings of a recipe and of its model are searched, and between which values."""

import itertools
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, model_validator

from recipes.config.presets import list_spaces, read_preset
from recipes.config.problems import validated
from recipes.config.settings import About
from zoo.errors import RequestError

if TYPE_CHECKING:
    import optuna

Number = Annotated[int, Field(strict=True)] | Annotated[float, Field(strict=True, allow_inf_nan=False)]
LARGEST_GRID = 1_000_000
# Of a recipe; a search has no say in them. Images are read once, for all trials.
FIXED = (
    *("about", "data", "distill", "finetune", "model.input_shape", "plugin"),
    *("seed", "steps", "unknown.source", "versions"),
)


class Range(BaseModel):
    """Numbers from `low` to `high`, both included; whole if both are.

    Attributes:
        step: between neighbours; any number, or any whole one, if None.
        log: as likely between 1 and 10 as between 10 and 100.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    low: Number
    high: Number
    step: Number | None = None
    log: bool = False

    @model_validator(mode="after")
    def _makes_sense(self) -> "Range":
        if self.low > self.high:
            raise ValueError(f"low={self.low} is above high={self.high}")
        if self.step is not None and self.step <= 0:
            raise ValueError(f"step={self.step} is not above 0")
        if self.log and (self.step is not None or self.low <= 0):
            raise ValueError("log needs low above 0, and no step")
        return self

    @property
    def samples(self) -> list[int | float]:
        """The ends, and a value between them that is whole only if all are."""
        between = self.low if self.is_whole else self.low + (self.step or 0.381966 * (self.high - self.low))
        return [self.low, self.high, min(between, self.high)]

    def holds(self, value: float) -> bool:
        step = self.step or (1 if self.is_whole else 0)
        steps = (value - self.low) / step if step else 0
        return self.low <= value <= self.high and abs(steps - round(steps)) < 1e-8

    @property
    def is_whole(self) -> bool:
        return all(isinstance(value, int) for value in (self.low, self.high, self.step or 1))


class Space(BaseModel):
    """What is searched: for each key of a recipe a range, or the values to choose from.

    Attributes:
        about: what it is for.
        models: that it is searched for where no space is named.
        space: ranges and values by key.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    about: About = About()
    models: tuple[str, ...] = ()
    space: Annotated[dict[str, Range | Annotated[list[Any], Field(min_length=1)]], Field(min_length=1)]

    def draw(self, trial: "optuna.Trial") -> list[str]:
        """What Optuna chooses for a trial, as `KEY=VALUE` settings of a recipe."""
        return [setting(key, self._one(trial, key, values)) for key, values in self.space.items()]

    @staticmethod
    def _one(trial: "optuna.Trial", key: str, values: Range | list[Any]) -> Any:
        if isinstance(values, list):  # Optuna chooses between words: lists and numbers go by their TOML
            return json.loads(trial.suggest_categorical(key, [json.dumps(value) for value in values]))
        if values.is_whole:
            return trial.suggest_int(key, int(values.low), int(values.high), step=int(values.step or 1), log=values.log)
        return trial.suggest_float(key, values.low, values.high, step=values.step, log=values.log)

    def place(self, recipe: Mapping[str, Any]) -> dict[str, Any]:
        """Where a recipe lies in the space, as Optuna has it; empty if some value of it is not in the space."""
        place: dict[str, Any] = {}
        for key, values in self.space.items():
            value: Any = recipe
            for name in key.split("."):
                value = value.get(name) if isinstance(value, Mapping) else None
            if isinstance(values, list):
                if value not in values:
                    return {}
                place[key] = json.dumps(value)
            elif isinstance(value, (int, float)) and values.holds(value):
                place[key] = value
            else:
                return {}
        return place

    def corners(self) -> list[list[str]]:
        """Settings with which every value that is named occurs once, and of every range one between its ends."""
        named = {key: v if isinstance(v, list) else v.samples for key, v in self.space.items()}
        most = max(len(values) for values in named.values())
        return [[setting(key, values[min(i, len(values) - 1)]) for key, values in named.items()] for i in range(most)]

    def grid(self) -> list[dict[str, Any]]:
        """All combinations of values, each as Optuna has it.

        Raises:
            RequestError: a range without a step, or more than `LARGEST_GRID` combinations.
        """
        values: dict[str, list[Any]] = {}
        for key, given in self.space.items():
            if isinstance(given, list):
                values[key] = [json.dumps(value) for value in given]
            elif given.step is None and not (given.is_whole and not given.log):
                raise RequestError(f"a grid needs a step, or a list of values, for {key}.")
            else:
                step, count = given.step or 1, int((given.high - given.low) / (given.step or 1) + 1e-9) + 1
                if count > LARGEST_GRID:
                    raise RequestError(f"{key} has {count:,} values; allowed in a grid: {LARGEST_GRID:,}.")
                values[key] = [given.low + i * step for i in range(count)]
        if (count := math.prod(map(len, values.values()))) > LARGEST_GRID:
            raise RequestError(f"the grid has {count:,} combinations; allowed: {LARGEST_GRID:,}.")
        return [dict(zip(values, chosen, strict=True)) for chosen in itertools.product(*values.values())]


def setting(key: str, value: Any) -> str:
    """As `--set` takes it; JSON's numbers, words and lists are TOML's."""
    return f"{key}={json.dumps(value)}"


def space_for(model: str) -> str:
    """The named space that is meant for a model; `training`, which any model has, if none is."""
    return next((name for name in list_spaces() if model in load_space(name).models), "training")


def load_space(name_or_file: str | Path) -> Space:
    """A space by name or from a TOML file.

    Raises:
        RequestError: no such space, or one that makes no sense; the message names the key.
    """
    return validated(
        Space,
        read_preset("space", str(name_or_file)),
        f"space {name_or_file}",
        noun="table of a space",
        allowed="a list of values, or {low, high, step, log}",
    )
