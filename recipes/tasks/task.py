"""What every task is: how one kind of labels is learned, judged, and told of."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, TypeAlias

import numpy as np

from recipes.data import Data, Split
from recipes.data.labels import LabelKind
from zoo.backend import keras, tf
from zoo.errors import FailureError, RequestError

ENOUGH = 100  # validation images that tell epochs apart by what is right; of fewer, one is more than a point
if TYPE_CHECKING:
    from recipes.config.settings import Recipe

    Loss: TypeAlias = "keras.losses.Loss | Callable[[tf.Tensor, tf.Tensor], tf.Tensor]"


@dataclass(frozen=True)
class ParityWords:
    """The words for comparing an exported file with its model.

    Attributes:
        judged: what accuracy and agreement are fractions of.
        accuracy: what `Task.accuracy` is called in a sentence.
        heading: the same as a heading.
        same: the heading of `Task.agreement`.
        of: what follows the agreement, a format of the number of test images.
        constant: what a model does that always gives one answer.
    """

    judged: str
    accuracy: str
    heading: str
    same: str
    of: str
    constant: str


class Task(ABC):
    """How one kind of labels is learned, judged, and told of. A task has no state.

    Attributes:
        labels: the kind of labels; it has the task's name.
        activation: of the scores, as `zoo.create_model` takes it.
        probabilities: whether scores are 0 to 1; else they are numbers in the unit of the labels.
        monitor: the metric beside the loss in the history, as Keras is given it.
        monitor_format: how the monitored metric is printed, a format of one number.
        monitor_is_share: whether the monitored metric is 0 to 1.
        best_by_monitor: whether the best epoch is the one of the largest validation metric; else it is the one of the
            lowest validation loss.
        score: the one of `metrics` that models are chosen by; more is better.
        parity: the words for an exported file.
    """

    labels: ClassVar[LabelKind]
    activation: ClassVar[str]
    probabilities: ClassVar[bool] = True
    monitor: ClassVar[str]
    monitor_format: ClassVar[str]
    monitor_is_share: ClassVar[bool] = True
    best_by_monitor: ClassVar[bool] = False
    score: ClassVar[str]
    parity: ClassVar[ParityWords]

    @property
    def name(self) -> str:
        """As `Data.task`, a run's metrics and an exported file have it."""
        return self.labels.task

    # Learning

    def check(self, recipe: "Recipe") -> None:
        """Raises a `RequestError` for settings that have no meaning for such labels."""
        if recipe.class_weight != "none":
            raise RequestError(
                f"class_weight={recipe.class_weight!r} is not possible for {self.name}; allowed: 'none'."
            )
        if recipe.unknown:
            raise RequestError(f"unknown images are of one class an image; these labels are for {self.name}.")
        if recipe.distill:
            raise RequestError(f"teachers are for one class an image; these labels are for {self.name}.")
        if recipe.logit_adjustment:
            raise RequestError(
                f"logit_adjustment={recipe.logit_adjustment:g} is not possible for {self.name}; allowed: 0."
            )
        if recipe.class_thresholds != "none":
            raise RequestError(
                f"class_thresholds={recipe.class_thresholds!r} is not possible for {self.name}; allowed: 'none'."
            )

    def targets(self, labels: np.ndarray, recipe: "Recipe", classes: int) -> np.ndarray:
        """What scores (B, classes) are compared with.

        Args:
            labels: of a `Split` (N, ...).
            recipe: whether it mixes images or smooths labels.
            classes: how many there are.
        """
        return labels

    @abstractmethod
    def loss(self, recipe: "Recipe", data: Data) -> "Loss":
        """Of scores (B, classes) against `targets`; `data` is what is learned from."""

    def loss_weight(self, data: Data) -> float:
        """The factor of the loss."""
        return 1.0

    @abstractmethod
    def loss_at_chance(self, data: Data) -> float:
        """The weighted loss of a model that knows nothing but how often each answer is right."""

    def in_units(self, model: "keras.Model", data: Data) -> "keras.Model":
        """The model with its scores in the unit of the labels."""
        return model

    def class_weight(self, data: Data, recipe: "Recipe") -> dict[int, float] | None:
        """How much the images of each class count, None if all count the same."""
        return None

    def example_weights(self, targets: "tf.Tensor", class_weight: Mapping[int, float]) -> "tf.Tensor":
        """float32 (B,): how much each image counts under a `class_weight`."""
        raise NotImplementedError(f"{self.name} has no class weights")

    @abstractmethod
    def monitored(self, targets: "tf.Tensor", scores: "tf.Tensor") -> "tf.Tensor":
        """(B,): the monitored metric of each image; their mean is what Keras calls `monitor`."""

    def merit(self, row: Mapping[str, float], images: int = ENOUGH) -> tuple[float, ...]:
        """Of a row of the history; the largest is the best. Of equal metrics, the lowest loss decides.

        Args:
            row: of an epoch.
            images: how many there are to validate with. Of fewer than `ENOUGH` the loss alone decides: it tells epochs
                apart that have the same few images right.
        """
        best = (row[f"val_{self.monitor}"],) if self.best_by_monitor and images >= ENOUGH else ()
        return *best, -row["val_loss"]

    def warnings(self, best: Mapping[str, float], data: Data) -> list[str]:
        """What to look at in a training whose best epoch has the row `best` in the history, a sentence each."""
        images = len(data.validation)
        if images >= ENOUGH:
            return []
        return [f"{images} validation images chose the epoch, few as they are: {self.certainty(best, images)}."]

    def certainty(self, best: Mapping[str, float], images: int) -> str:
        """How well so many validation images measure the best epoch, as the end of a sentence."""
        return "others might choose another"

    # Judging

    @abstractmethod
    def metrics(self, split: Split, scores: np.ndarray, class_names: Sequence[str]) -> dict[str, Any]:
        """How good scores are: the task's name as `task`, and what `recipes.tasks.metrics` has for it, as JSON types.

        Args:
            split: images (N, ...) with labels.
            scores: float (N, classes).
            class_names: position is the column of the scores.
        """

    def fit_temperature(self, logits: np.ndarray, labels: np.ndarray) -> float | None:
        """The temperature that makes scores honest, see `recipes.tasks.calibration`; None where they are no
        probabilities."""
        return None

    def calibration(self, labels: np.ndarray, scores: np.ndarray, temperature: float | None) -> dict[str, Any]:
        """What the temperature that is in a model changes.

        Args:
            labels: of a `Split`.
            scores: of the model with its logits divided by the temperature.
            temperature: None where that is not known.

        Returns:
            `calibration`, if there is one: the `temperature`, and what metrics would be `before` it: `loss`,
            `calibration_error`, `brier_score` and `reliability`.
        """
        return {}

    @abstractmethod
    def decide(self, scores: np.ndarray) -> np.ndarray:
        """The prediction that scores (N, classes) come down to, to be compared with labels (N, ...)."""

    def agreement(self, expected: np.ndarray, received: np.ndarray) -> float:
        """How far two sets of scores (N, classes) come to the same: the fraction of decisions that are equal."""
        return float((self.decide(expected) == self.decide(received)).mean())

    def accuracy(self, scores: np.ndarray, labels: np.ndarray) -> float:
        """The fraction of decisions that are right."""
        return float((self.decide(scores) == labels).mean())

    def accuracy_by_class(self, scores: np.ndarray, labels: np.ndarray, class_names: Sequence[str]) -> dict[str, float]:
        """The fraction of decisions that are right, for each class that has images."""
        return {}

    def chance(self, labels: np.ndarray) -> float:
        """The accuracy of the best constant answer."""
        raise NotImplementedError

    def refuse_chance(self, scores: np.ndarray, labels: np.ndarray) -> None:
        """Raises a `FailureError` for a model that hardly beats one that always gives the same answer.

        It would agree with any file made of it, which shows nothing. Weights that learned nothing reach more than
        chance now and then: asked is a tenth of what chance leaves open, or twice chance if that is less, and two
        standard errors for luck.
        """
        accuracy, chance = self.accuracy(scores, labels), self.chance(labels)
        luck = 2 * (chance * (1 - chance) / len(labels)) ** 0.5
        if not accuracy > chance + max(luck, min(chance, 0.1 * (1 - chance))):
            raise FailureError(
                f"the model is right on {accuracy:.1%} of {self.parity.judged}, hardly better than always "
                f"{self.parity.constant} ({chance:.1%}): train it further, or --force to export it all the same."
            )

    # Words for people

    @abstractmethod
    def summary(self, metrics: Mapping[str, Any]) -> str:
        """The metrics that matter most, in a few words."""

    def evaluation(self, metrics: Mapping[str, Any]) -> str:
        """All metrics as text."""
        return f"{self.summary(metrics)}, {metrics['examples']:,} images"

    @abstractmethod
    def facts(self, metrics: Mapping[str, Any]) -> dict[str, str]:
        """The metrics of a report's summary, by what they are called."""

    @abstractmethod
    def answer(self, class_names: Sequence[str]) -> str:
        """What a model tells of an image, as an exported file describes itself."""
