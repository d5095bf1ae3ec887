"""Whether a model or a file keeps the symmetry that is built into it: scores that do not change at all."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from recipes.data.dataset import at_once
from recipes.data.decoded import Images
from recipes.support.rows import evenly_spaced
from zoo.backend import keras
from zoo.errors import FailureError
from zoo.groups import SHIFT, copies_in, find_group, symmetry_of
from zoo.keras_internals import all_layers

IMAGES = 1000  # so many are rotated and mirrored, evenly chosen
# Pixels down and right: each parity of both, and what leaves a stride of 4, 8, 16, 32 over.
SHIFTS = ((1, 0), (0, 1), (1, 1), (2, 3), (5, 10), (20, 7))
# How far scores may be apart, as a fraction of the largest score or of 1: a sum comes to another rounding in another
# order, and of that each precision has its own.
TOLERANCES = {"float32": 1e-4, "float16": 1e-2, "bfloat16": 5e-2}


@dataclass(frozen=True)
class Symmetry:
    """What became of the scores when the images were rotated and mirrored, or shifted.

    Attributes:
        group: under which they are meant to be the same, a name in `zoo.groups.EXACT`, or `shift`.
        differences: by element of the group, the largest change of any score.
        images: how many images there were.
    """

    group: str
    differences: dict[str, float]
    images: int

    @property
    def largest(self) -> float:
        """The largest change under any element."""
        return max(self.differences.values())

    def to_dict(self) -> dict[str, Any]:
        """As JSON types."""
        return {"group": self.group, "differences": self.differences, "largest": self.largest, "images": self.images}


def measure_symmetry(
    scores: Callable[[np.ndarray], np.ndarray], images: Images, group: str, *, most: int = IMAGES
) -> Symmetry:
    """Scores images under every element of a group.

    Args:
        scores: from uint8 (N, H, W, C) to (N, classes).
        images: uint8 (N, H, W, C).
        group: a name in `zoo.groups.EXACT`, or `shift`: some circular shifts.
        most: how many images are used, evenly chosen.
    """
    chosen = images[evenly_spaced(len(images), most)]
    found = scores(chosen)
    differences = {
        element: float(np.abs(scores(np.ascontiguousarray(move(chosen))) - found).max())
        for element, move in _elements(group, chosen.shape[1:3]).items()
    }
    return Symmetry(group, differences, len(chosen))


def _elements(group: str, sizes: Sequence[int]) -> dict[str, Callable[[np.ndarray], np.ndarray]]:
    """What is done to images of so many rows and columns, under its name."""
    if group != SHIFT:
        elements = find_group(group)
        return {elements.label(n): partial(elements.applied, n) for n in range(1, elements.order)}
    steps = [(down % sizes[0], right % sizes[1]) for down, right in SHIFTS]
    return {f"{step[0]} down, {step[1]} right": partial(np.roll, shift=step, axis=(1, 2)) for step in steps}


def symmetry_of_model(model: "keras.Model", images: Images, *, most: int = IMAGES) -> Symmetry | None:
    """That of a Keras model, None where none is built in; raises a `FailureError` where it does not hold."""
    group = symmetry_of(model)
    if not group:
        return None

    def scores(images: np.ndarray) -> np.ndarray:
        found: np.ndarray = model.predict(images, batch_size=at_once(copies_in(model)), verbose=0)
        return found

    symmetry = measure_symmetry(scores, images, group, most=most)
    kinds = {layer.compute_dtype for layer in all_layers(model)}
    refuse_broken(symmetry, model.name, max(TOLERANCES.get(kind, 0.0) for kind in kinds))
    return symmetry


def refuse_broken(symmetry: Symmetry, what: str, most: float) -> None:
    """Raises a `FailureError` where scores that are meant to be the same are further apart than `most`."""
    element, change = max(symmetry.differences.items(), key=lambda item: item[1])
    if not change <= most:  # not-a-number is no symmetry
        raise FailureError(
            f"{what} is built to give the same scores under {symmetry.group}, and a score changes by {change:.3g} "
            f"where images are {_done(symmetry.group, element)} (at most {most:g} allowed): some layer does not treat "
            "all places and copies alike."
        )


def _done(group: str, element: str) -> str:
    if group == SHIFT:
        return f"shifted by {element}"
    return element if element.startswith("mirrored") else f"rotated by {element}"
