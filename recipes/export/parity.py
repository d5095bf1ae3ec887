"""Is a file the model that it came from? Both are run on the same images, and what differs is counted."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from recipes.data.labels import ONE_CLASS
from recipes.export.kinds.base import Budget
from recipes.tasks import TASKS
from zoo.errors import FailureError


@dataclass(frozen=True)
class Exported:
    """A file that passed, and what was measured.

    Attributes:
        kind: a name in `recipes.export.kinds.KINDS`.
        file: where it is.
        bytes: its size; of a folder, of all in it; of a C array, of the model in a board's flash.
        agreement: fraction of test images with the same top-1 class as the Keras model; of all their labels, yes or no
            from 0.5 on; for regression R², the fraction of the variance of the model's numbers that the file's have.
        max_difference, mean_difference: of any score, and of all scores, absolute.
        accuracy_keras, accuracy_file: fraction of test images, or of their labels, that is right; R² for regression.
        per_class: for each class, of its test images, the fraction that each classifies correctly, `keras` and
            `file`; of several labels, the fraction of all images; empty for regression.
        images: how many test images there were.
        operators: operations and how often each is used; empty for a SavedModel.
        task: what the labels are, see `recipes.data.Data`.
        symmetry: of a model with one built in, what `recipes.evaluate.symmetry.Symmetry` has of the file.
        board: of a C array, what `recipes.export.kinds.c_array.Board` has of it.
        tried: where the converter's int8 file was beyond the budget, what `recipes.export.repair.Tried` has of it and
            of what was tried in its place, on validation images.
    """

    kind: str
    file: str
    bytes: int
    agreement: float
    max_difference: float
    mean_difference: float
    accuracy_keras: float
    accuracy_file: float
    per_class: dict[str, dict[str, float]]
    images: int
    operators: dict[str, int]
    task: str = ONE_CLASS.task
    symmetry: dict[str, Any] | None = None
    board: dict[str, Any] | None = None
    tried: tuple[dict[str, Any], ...] = ()

    @property
    def drop(self) -> float:
        """The accuracy that is lost, as a fraction."""
        return self.accuracy_keras - self.accuracy_file

    def to_dict(self) -> dict[str, Any]:
        """As JSON types; the number of images is there as `pictures`, too, as it was once called."""
        return asdict(self) | {"pictures": self.images, "tried": list(self.tried)}


def compare(
    expected: np.ndarray,
    received: np.ndarray,
    labels: np.ndarray,
    class_names: Sequence[str],
    task: str = ONE_CLASS.task,
) -> dict[str, Any]:
    """What `Exported` has of scores.

    Args:
        expected, received: scores (N, classes) of the model and of the file.
        labels: of a `Split`.
        task: what they are.
    """
    judged = TASKS[task]
    difference = np.abs(expected - received)
    keras, file = (judged.accuracy_by_class(scores, labels, class_names) for scores in (expected, received))
    return {
        "agreement": judged.agreement(expected, received),
        "max_difference": float(difference.max()),
        "mean_difference": float(difference.mean()),
        "accuracy_keras": judged.accuracy(expected, labels),
        "accuracy_file": judged.accuracy(received, labels),
        "per_class": {name: {"keras": keras[name], "file": file[name]} for name in keras},
        "images": len(labels),
        "task": task,
    }


def agreement(expected: np.ndarray, received: np.ndarray, task: str) -> float:
    """How far two sets of scores (N, classes) come to the same, see `Exported`."""
    return TASKS[task].agreement(expected, received)


def is_within(budget: Budget, result: Exported) -> bool:
    """Whether a result may be handed over; written so that not-a-number is beyond any budget."""
    finite = np.isfinite(result.max_difference)
    return bool(result.agreement >= budget.agreement and result.drop <= budget.drop and finite)


class BeyondBudgetError(FailureError):
    """A file is beyond its budget; `tried` is that of `Exported`."""

    tried: tuple[dict[str, Any], ...] = ()


def refusal(budget: Budget, result: Exported, hint: str) -> BeyondBudgetError:
    """Returns (does not raise) the error for a file beyond its budget."""
    words = TASKS[result.task].parity
    error = BeyondBudgetError(
        f"the file agrees with the model on {result.agreement:.2%} of {words.judged} (at least "
        f"{budget.agreement:.2%} asked) and its {words.accuracy} is {100 * result.drop:.2f} points lower (at most "
        f"{100 * budget.drop:.2f} allowed): {result.file} was not written. {hint}".rstrip()
    )
    error.tried = result.tried
    return error


def refuse_chance(expected: np.ndarray, labels: np.ndarray, task: str = ONE_CLASS.task) -> None:
    """Raises a `FailureError` for a model that hardly beats a constant answer, see `recipes.tasks.Task`."""
    TASKS[task].refuse_chance(expected, labels)
