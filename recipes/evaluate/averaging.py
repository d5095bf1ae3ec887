"""Scores averaged over several views of each image, at test time: of any model and any file, however it was trained."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from recipes.data import Split
from recipes.data.dataset import EVALUATION_BATCH
from recipes.tasks import Task
from recipes.tasks.metrics import mcnemar
from zoo.errors import RequestError, unknown
from zoo.groups import EXACT, check_square, find_group, together

SHIFTED = "6"
AVERAGES = (*EXACT, SHIFTED)
Scores = Callable[[np.ndarray], np.ndarray]


def check_average(average: str, shape: Sequence[int], built_in: str = "") -> None:
    """Raises a `RequestError` for an average that there is not, or that images or a model cannot gain by.

    Args:
        average: a name in `AVERAGES`.
        shape: (H, W, C) of the images.
        built_in: the group under which the model's scores are the same already; empty for none.
    """
    if average not in AVERAGES:
        raise unknown("average", average, AVERAGES)
    if average == SHIFTED:
        return
    check_square(average, shape, f"average {average!r}")
    if built_in and together(built_in, average) == built_in:
        left = [name for name in AVERAGES if name == SHIFTED or together(built_in, name) != built_in]
        raise RequestError(
            f"average {average!r} changes nothing: the model's scores are the same under {built_in} already; allowed: "
            f"{', '.join(left)}."
        )


def views(images: np.ndarray, average: str) -> Iterator[tuple[float, np.ndarray]]:
    """Views (N, H, W, C) of images (N, H, W, C), each with its weight; all weights together are 1.

    `mirror`, `c4` and `d4` are the elements of the group, of equal weight. `6` are those of the multi-crop evaluation
    of airbench (Jordan 2024, https://arxiv.org/abs/2404.00498), which averages logits over them: the image, the image
    moved by a pixel down and right, and up and left, with its edge reflected, and each of them mirrored. The image in
    its place counts half.
    """
    if average != SHIFTED:
        group = find_group(average)
        for element in range(group.order):
            yield 1 / group.order, np.ascontiguousarray(group.applied(element, images))
        return
    height, width = images.shape[1:3]
    padded = np.pad(images, ((0, 0), (1, 1), (1, 1), (0, 0)), "reflect")
    for corner, weight in ((1, 0.25), (0, 0.125), (2, 0.125)):
        view = np.ascontiguousarray(padded[:, corner : corner + height, corner : corner + width])
        yield weight, view
        yield weight, np.ascontiguousarray(view[:, :, ::-1])


def passes(average: str) -> int:
    """How many times the model is run for an image."""
    return 6 if average == SHIFTED else find_group(average).order


def averaged(score: Scores, images: np.ndarray, average: str) -> np.ndarray:
    """The weighted mean of the scores float (N, classes) over all views of images (N, H, W, C)."""
    total: np.ndarray = sum(weight * score(view) for weight, view in views(images, average))  # type: ignore[assignment]
    return total


def measure_average(
    score: Scores,
    test: Split,
    average: str,
    task: Task,
    alone: Mapping[str, Any],
    class_names: Sequence[str],
) -> dict[str, Any]:
    """What averaging brings and costs.

    Args:
        score: from images uint8 (N, H, W, C) to scores float (N, classes).
        test: images uint8 (N, H, W, C) with labels.
        average: a name in `AVERAGES`.
        task: what the scores are.
        alone: `task.metrics` of the scores of the images alone.
        class_names: in the order of the scores.

    Returns:
        `over` (the average), `passes` (runs of the model for an image, in place of one), `metric` (what is compared,
        `recipes.tasks.Task.score`), `value` (of the mean scores) and `without` (of the images alone); for one class an
        image also `interval` and `interval_without` (95 %), and `mcnemar`, the test of
        `recipes.tasks.metrics.mcnemar` of the mean scores and the image alone.
    """
    starts = range(0, len(test), EVALUATION_BATCH)
    parts = [averaged(score, test.images[i : i + EVALUATION_BATCH], average) for i in starts]
    found = task.metrics(test, np.concatenate(parts), class_names)
    result = {
        "over": average,
        "passes": passes(average),
        "metric": task.score,
        "value": found[task.score],
        "without": alone[task.score],
    }
    if "wrong" in found and "accuracy_interval" in found:
        result["interval"], result["interval_without"] = found["accuracy_interval"], alone["accuracy_interval"]
        result["mcnemar"] = mcnemar(found["wrong"], alone["wrong"])
    return result
