"""Something that scores images: what prediction, evaluation, comparison and the verification of exports share."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from recipes.data.decoded import Images
from recipes.data.decoding import Resize
from recipes.run.folder import Run
from recipes.tasks import Task, task_of
from recipes.tasks.calibration import COLDEST, HOTTEST
from zoo.errors import RequestError
from zoo.groups import EXACT, SHIFT
from zoo.registry import get_card, list_models

if TYPE_CHECKING:
    from zoo.backend import keras

Shape = tuple[int, int, int]


class Scorer(ABC):
    """Something that scores images. It is verified when it is opened; what runs it is loaded with the first image.

    Attributes:
        path: the run's folder, or the file.
        runtime: what runs it, in words.
        image_shape: (H, W, C) of an image.
        resize: how images of another size are brought to it.
        class_names: in the order of the scores; empty where that is not known.
        task: what its scores are; None where that is not known.
        score_step: the least difference of two scores; 0 where they are not quantised.
        remarks: what was taken for granted where the file does not tell, a sentence each.
    """

    path: Path
    runtime: str
    image_shape: Shape
    resize: Resize = "fill"
    class_names: tuple[str, ...] = ()
    task: Task | None = None
    score_step: float = 0.0
    remarks: tuple[str, ...] = ()

    @abstractmethod
    def scores(self, images: Images) -> np.ndarray:
        """Scores float32 (N, classes) of images uint8 (N, H, W, C), at least one.

        Raises:
            RequestError: a file cannot be run, or does not give scores.
        """

    @property
    def on_any_device(self) -> Callable[[Images], np.ndarray] | None:
        """As `scores`, but computed on the TensorFlow device that is in force, by several threads at once if need be;
        None where another runtime computes, which has a device of its own."""
        return None

    @property
    def temperature(self) -> float | None:
        """What its logits were divided by to make probabilities honest; None where that is not known."""
        return None

    @property
    def threshold(self) -> float | None:
        """The score from which on a prediction is sure, a probability; None where there is none."""
        return None

    @property
    def model_name(self) -> str:
        """What the model is called."""
        return self.path.stem

    @property
    def keras_model(self) -> "keras.Model | None":
        """The model, where Keras runs it."""
        return None

    @property
    def symmetry(self) -> tuple[str, float]:
        """The group that is built in, a name in `zoo.groups.EXACT` or `shift` (empty if none is known to be), and
        how far apart scores may be that it makes the same."""
        return "", 0.0

    @property
    def facts(self) -> Mapping[str, Any]:
        """Size and cost, where they are known: `parameters`, `macs` and `bytes`."""
        return {}

    @cached_property
    def run(self) -> Run | None:
        """The run that it is of, where that is known: a file that was exported from it lies in its folder still."""
        folder = Run(self.path.absolute().parent)
        try:
            mine = folder.is_run and folder.recipe.model.name == self.model_name
            return folder if mine and self.class_names and folder.class_names == self.class_names else None
        except RequestError:  # a run that is damaged is no reason to refuse the file
            return None


def symmetry_told(facts: Mapping[str, Any], *, whole: bool) -> tuple[str, float]:
    """The symmetry that a file says that its model has, and how far apart the scores may be that it makes the same.

    Files of earlier versions say which model they hold, whose card tells.

    Args:
        facts: what export wrote about a file.
        whole: whether its scores are integers, which are added to the same sum in any order.
    """
    group, within, model = (facts.get(key) for key in ("symmetry", "symmetric_to", "model"))
    if group is None and model in list_models():
        group = get_card(str(model)).symmetry
    if group not in (*EXACT, SHIFT):
        return "", 0.0
    usual = 0.0 if whole else 0.05
    return group, float(within) if isinstance(within, int | float) and 0 <= within <= 1 else usual


def temperature_told(facts: Mapping[str, Any]) -> float | None:
    """The temperature that a file says its logits were divided by; None where it says nothing that could be one."""
    told = facts.get("temperature")
    return float(told) if isinstance(told, int | float) and COLDEST <= told <= HOTTEST else None


def threshold_told(facts: Mapping[str, Any]) -> float | None:
    """The threshold that a file says its scores have; None where it says nothing that could be one."""
    told = facts.get("threshold")
    return float(told) if isinstance(told, int | float) and 0 <= told <= 1 else None


def task_told(facts: Mapping[str, Any]) -> Task | None:
    """The task that a file is for; None of a file that says nothing of itself."""
    return task_of(facts) if facts else None
