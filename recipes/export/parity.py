"""Is a file the model that it came from? Both are run on the same images, and what differs is counted."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from recipes.tflite.file import TFLiteFile
from zoo.errors import FailureError, RequestError, unknown


@dataclass(frozen=True)
class Budget:
    """How far a file may be from its model before it is refused.

    Attributes:
        agreement: least `Exported.agreement`.
        drop: largest loss of accuracy on the test images, as a share.
    """

    agreement: float = 0.0
    drop: float = 1.0

    def with_changes(self, changes: Mapping[str, float]) -> "Budget":
        """This budget with some of its shares replaced; raises a `RequestError` for what is not a share of it."""
        values = asdict(self)
        for name, value in changes.items():
            if name not in values:
                raise unknown("budget", name, values)
            if not 0 <= value <= 1:
                raise RequestError(f"budget {name}={value} is not possible; allowed: a share, 0 to 1.")
            values[name] = value
        return Budget(**values)


# A float file computes the same function; a quantised one may decide differently where it was a near thing.
_SAME, _QUANTISED = Budget(agreement=0.995), Budget(drop=0.01)
BUDGETS = {
    "float32": _SAME,
    "float16": _SAME,
    "dynamic": _QUANTISED,
    "int8": _QUANTISED,
    "int16x8": _QUANTISED,
    "saved-model": _SAME,
    "onnx": _SAME,
    "c-array": _QUANTISED,
}


@dataclass(frozen=True)
class Exported:
    """A file that passed, and what was measured.

    Attributes:
        kind: a name in `BUDGETS`.
        file: where it is.
        bytes: its size; of a folder, of all in it.
        agreement: share of test images with the same top-1 class as the Keras model; of all their labels, yes or no
            from 0.5 on; for regression R², the share of the variance of the model's numbers that the file's have.
        max_difference, mean_difference: of any score, and of all scores, absolute.
        accuracy_keras, accuracy_file: share of test images, or of their labels, that is right; R² for regression.
        per_class: for each class, of its test images, the share that each gets right, `keras` and `file`; of several
            labels, the share of all images; empty for regression.
        images: how many test images there were.
        operators: operations and how often each is used; empty for a SavedModel.
        task: what the labels are, see `recipes.data.dataset.Data.task`.
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
    task: str = "classification"

    @property
    def drop(self) -> float:
        """The accuracy that is lost, as a share."""
        return self.accuracy_keras - self.accuracy_file

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def compare(
    expected: np.ndarray,
    received: np.ndarray,
    labels: np.ndarray,
    class_names: Sequence[str],
    task: str = "classification",
) -> dict[str, Any]:
    """The figures of `Exported` that come from scores.

    Args:
        expected, received: scores (N, classes) of the model and of the file.
        labels: of a `Split`.
        task: what they are.
    """
    difference = np.abs(expected - received)
    return {
        "agreement": agreement(expected, received, task),
        "max_difference": float(difference.max()),
        "mean_difference": float(difference.mean()),
        "accuracy_keras": _accuracy(expected, labels, task),
        "accuracy_file": _accuracy(received, labels, task),
        "per_class": _per_class(expected, received, labels, class_names, task),
        "images": len(labels),
        "task": task,
    }


def agreement(expected: np.ndarray, received: np.ndarray, task: str) -> float:
    """How far two sets of scores (N, classes) say the same, see `Exported`."""
    if task == "regression":
        return _r2(expected, received)
    return float((_decided(expected, task) == _decided(received, task)).mean())


def _accuracy(scores: np.ndarray, labels: np.ndarray, task: str) -> float:
    if task == "regression":
        return _r2(labels[:, None], scores)
    return float((_decided(scores, task) == labels).mean())


def _decided(scores: np.ndarray, task: str) -> np.ndarray:
    """What scores (N, classes) come down to: a class an image (N,), or yes and no for each (N, classes)."""
    return scores >= 0.5 if task == "multilabel" else scores.argmax(1)


def _r2(expected: np.ndarray, received: np.ndarray) -> float:
    """As scikit-learn's, which refuses what is not a number; here it must come out as beyond any budget."""
    wrong = np.square(expected.astype(np.float64) - received).mean()
    return float(1 - wrong / max(expected.astype(np.float64).var(), 1e-12))


def _per_class(
    expected: np.ndarray, received: np.ndarray, labels: np.ndarray, class_names: Sequence[str], task: str
) -> dict[str, dict[str, float]]:
    if task == "regression":
        return {}
    right = {"keras": _decided(expected, task) == labels, "file": _decided(received, task) == labels}
    if task == "multilabel":
        return {name: {k: float(r[:, i].mean()) for k, r in right.items()} for i, name in enumerate(class_names)}
    rows = [(name, labels == label) for label, name in enumerate(class_names)]
    return {name: {k: float(r[those].mean()) for k, r in right.items()} for name, those in rows if those.any()}


def is_within(budget: Budget, result: Exported) -> bool:
    """Whether a result may be handed over; written so that not-a-number is beyond any budget."""
    finite = np.isfinite(result.max_difference)
    return bool(result.agreement >= budget.agreement and result.drop <= budget.drop and finite)


def refusal(budget: Budget, result: Exported, hint: str) -> FailureError:
    """Returns (does not raise) what is said of a file beyond its budget."""
    of, accuracy = {
        "classification": ("the test images", "accuracy"),
        "multilabel": ("the labels of the test images", "accuracy"),
        "regression": ("the variance over the test images", "R²"),
    }[result.task]
    return FailureError(
        f"the file agrees with the model on {result.agreement:.2%} of {of} (at least "
        f"{budget.agreement:.2%} asked) and its {accuracy} is {100 * result.drop:.2f} points lower (at most "
        f"{100 * budget.drop:.2f} allowed): {result.file} was not written. {hint}".rstrip()
    )


def refuse_chance(expected: np.ndarray, labels: np.ndarray, task: str = "classification") -> None:
    """Raises a `FailureError` for a model that hardly beats one that always gives the same answer.

    It would agree with its file, and prove nothing. Weights that learned nothing reach more than chance now and then:
    asked is a tenth of what chance leaves open, or twice chance if that is less, and two standard errors for luck.
    """
    accuracy = _accuracy(expected, labels, task)
    if task == "regression":
        if not accuracy > 0.1:
            raise FailureError(
                f"the model's R² on the test images is {accuracy:.2f}, hardly better than always naming the mean "
                "(0): train it further, or --force to export it all the same."
            )
        return
    shares = labels.mean(0) if task == "multilabel" else np.bincount(labels) / len(labels)
    chance = float(np.maximum(shares, 1 - shares).mean() if task == "multilabel" else shares.max())
    luck = 2 * (chance * (1 - chance) / len(labels)) ** 0.5
    if not accuracy > chance + max(luck, min(chance, 0.1 * (1 - chance))):
        of, same = (
            ("the labels of the test images", "giving each label to all images or to none")
            if task == "multilabel"
            else ("the test images", "naming the most frequent class")
        )
        raise FailureError(
            f"the model is right on {accuracy:.1%} of {of}, hardly better than always {same} ({chance:.1%}): "
            "train it further, or --force to export it all the same."
        )


def layer_errors(file: Path, reference: Path, images: np.ndarray) -> list[tuple[str, float]]:
    """Where a quantised file departs from its float twin: layers and the error that each adds, largest first.

    A layer's error is the root mean square of the difference relative to that of its float values; what it adds is
    by how much that is above the error before it.

    Args:
        images: uint8 (N, H, W, C), a few.
    """
    ours, theirs = TFLiteFile(file, keep_all=True), TFLiteFile(reference, keep_all=True)
    same = {tensor.name: index for index, tensor in enumerate(theirs.graph.tensors)}
    outputs = [(operator.layer, index) for operator in ours.graph.operators for index in operator.outputs]
    outputs = [(layer, index, same.get(ours.graph.tensors[index].name)) for layer, index in outputs]
    shared = [entry for entry in outputs if entry[2] is not None]
    wrong, whole = np.zeros(len(shared)), np.zeros(len(shared))
    for image in images:
        for one in (ours, theirs):
            one.set_input(image)
            one.invoke()
        for i, (_, index, other) in enumerate(shared):
            exact = theirs.tensor(other)
            wrong[i] += np.square(ours.tensor(index) - exact).sum()
            whole[i] += np.square(exact).sum()
    errors = np.sqrt(wrong / np.maximum(whole, 1e-12))
    added: dict[str, float] = {}
    for (layer, _, _), gain in zip(shared, np.diff(errors, prepend=0), strict=True):
        added[layer] = added.get(layer, 0.0) + float(gain)
    return sorted(added.items(), key=lambda item: -item[1])
