"""Names for images, from a run, or from a file alone."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from recipes.data.decoding import Resize, check_is_file, decode_to, pillow_warnings
from recipes.evaluate.averaging import averaged, check_average
from recipes.scorers import open_scorer
from zoo.backend import as_keras_ships
from zoo.errors import RequestError

__all__ = ["Prediction", "predict"]

BATCH = 32  # images at a time, as many as Keras takes by itself


@dataclass(frozen=True)
class Prediction:
    """The best predictions for one image: (name, score) pairs, best first.

    Attributes:
        named: whether names are names; numbers if the file carries no labels.
        shares: whether scores are probabilities, 0 to 1; else they are in the unit that the model was trained on.
        threshold: the best score from which on the prediction is sure, of a run or a file that has one.
    """

    image: str
    guesses: tuple[tuple[str, float], ...]
    named: bool = True
    shares: bool = True
    threshold: float | None = None

    @property
    def sure(self) -> bool:
        """Whether the best score reaches the threshold, if there is one."""
        return self.threshold is None or self.guesses[0][1] >= self.threshold


@as_keras_ships
def predict(
    source: str | Path,
    images: Sequence[str | Path],
    *,
    top_k: int = 3,
    average: str | None = None,
    explain: str | Path | None = None,
) -> list[Prediction]:
    """Classifies image files of any size and mode.

    A `.tflite` file is run by LiteRT and needs nothing but itself: labels and the resize rule are inside. So are those
    of an `.onnx` file that was exported here. TensorFlow is imported only for a run folder and a `.keras` file.

    Args:
        source: a run folder, or a `.tflite`, `.keras` or `.onnx` file.
        images: image files; the memory that is needed does not depend on how many.
        top_k: how many predictions for each image, at most the number of classes.
        average: scores are the mean over so many views of each image, a name in
            `recipes.evaluate.averaging.AVERAGES`; the image alone if None.
        explain: a folder, made if need be, for a PNG beside each prediction: the image as the model sees it, and what
            spoke for its best class (Grad-CAM, then LayerCAM). Of a run, which Keras can go back through.

    Raises:
        RequestError: a file that cannot be read, as a model or as an image, or an average that its images cannot have;
            no prediction is returned then; `explain` of something else than a run, or of a model without maps.
        FailureError: a PNG cannot be written.
    """
    if top_k < 1:
        raise RequestError(f"top_k={top_k} is not possible; allowed: whole numbers from 1.")
    for image in images:
        check_is_file(image)
    scorer = open_scorer(source)
    labels, task = scorer.class_names, scorer.task
    score = scorer.scores
    if average is not None:
        check_average(average, scorer.image_shape, scorer.symmetry[0])
        score = partial(averaged, score, average=average)
    explainer = None
    if explain is not None:
        from recipes.report.explained import Explainer  # which needs more than a file does

        explainer = Explainer(scorer, Path(explain), images)
    scores: list[np.ndarray] = []
    for batch in _batches(images, scorer.image_shape, scorer.resize):
        rows = score(batch)
        if explainer is not None:
            for image, pixels, row in zip(images[len(scores) :], batch, rows, strict=False):
                explainer.write(image, pixels, int(row.argmax()))
        scores.extend(rows)
    names = labels or [str(number) for number in range(len(scores[0]) if scores else 0)]
    return [
        Prediction(
            str(image),
            tuple((names[i], float(row[i])) for i in np.argsort(-row, kind="stable")[:top_k]),
            named=bool(labels),
            shares=task is None or task.probabilities,
            threshold=scorer.threshold,
        )
        for image, row in zip(images, scores, strict=True)
    ]


def _batches(images: Sequence[str | Path], shape: tuple[int, int, int], resize: Resize) -> Iterator[np.ndarray]:
    """Images uint8 (B, H, W, C); each is brought to the model's size before the next is opened."""
    for start in range(0, len(images), BATCH):
        with pillow_warnings():
            batch = np.stack([decode_to(image, shape, resize) for image in images[start : start + BATCH]])
        yield batch
