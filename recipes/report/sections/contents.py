"""What the sections of a page are made from."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

from recipes.config.settings import ResolvedRecipe
from recipes.data import Data
from recipes.run.folder import Run
from zoo.anatomy import Anatomy
from zoo.backend import keras


@dataclass(frozen=True, eq=False)
class Page:
    """What the sections are made from."""

    run: Run
    recipe: ResolvedRecipe
    model: "keras.Model"
    data: Data
    metrics: dict[str, Any]

    @property
    def sure_from(self) -> float | None:
        """The score from which on predictions are given; None where all are."""
        threshold = self.run.calibration.get("threshold")
        return threshold["value"] if threshold else None

    @cached_property
    def anatomy(self) -> Anatomy:
        """The layers of the model, and what they cost."""
        from zoo.anatomy import dissect

        return dissect(self.model)

    @cached_property
    def mistakes(self) -> list[dict[str, Any]]:
        return [m for m in self.metrics.get("worst_mistakes", []) if m["index"] < len(self.data.test)]

    def label(self, of: Any) -> str:
        """A label of the data in words."""
        return self.data.label_kind.text(of, self.data.class_names)
