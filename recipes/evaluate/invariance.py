"""How a model's answers hold up when the image is rotated, shifted, scaled, mirrored, or all of it."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from recipes.augment.pipeline import Affine, affine_matrices
from recipes.augment.warp import warp
from recipes.data import Split
from recipes.data.dataset import at_once
from recipes.distributed.team import ALONE, Team
from zoo.backend import as_keras_ships, keras, tf
from zoo.groups import copies_in
from zoo.keras_internals import as_constants

ROTATIONS = (*range(-45, 50, 5), 90, 180, 270)  # degrees
TRANSLATIONS = (0.0, 0.05, 0.10, 0.15, 0.20, 0.25)  # of the image's size, in each of eight directions
SCALES = (0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 1.1, 1.2, 1.3, 1.4, 1.5, 1.6)
MIRRORS = ("horizontal", "vertical")
# From hardly to strongly: fractions of the widest mixture of all of them.
STRENGTHS = (0.25, 0.5, 0.75, 1.0)
WIDEST = Affine(scale=(0.6, 1.6), translation=0.2, rotation=45)


@as_keras_ships
def measure_invariance(
    model: keras.Model | Callable[[np.ndarray], np.ndarray],
    test: Split,
    *,
    fill: str = "constant",
    seed: int = 0,
    team: Team = ALONE,
) -> dict[str, Any]:
    """Scores images under known transformations.

    Args:
        model: a model, or a function from images uint8 (B, H, W, C) to scores (B, classes).
        test: images uint8 (N, H, W, C) and labels (N,).
        fill: what appears outside the image, see `recipes.augment.warp.warp`.
        seed: of the random mixtures.
        team: each of whose devices scores its share of the images; every worker is given the results for all.

    Returns:
        `rotation`, `translation`, `scale`, `mirror` and `affine`, each with `values` (degrees; fraction of the size;
        factor; axis; strength), for each value `accuracy`, `consistency` (fraction of images whose top-1 class is that
        of the image as it was) and `score_drop` (mean loss of the true class's score), and one `score`: mean
        accuracy over the values, by the trapezoid rule where they are numbers, over the accuracy of the images as
        they are. Rotations by 90 degrees do not count for the score of `rotation`: they change what many images mean.
        `shift_consistency` is how often two random shifts of one image agree (Zhang 2019, section 4.2); `overall`
        is the mean of the five scores.
    """
    measure = _Measure(model, test, fill, team)
    size = {"height": test.images.shape[1], "width": test.images.shape[2]}
    families = {
        "rotation": measure.family(ROTATIONS, _one_each(angle=ROTATIONS, **size), counts=_small_turn),
        "translation": measure.family(TRANSLATIONS, _shifts(**size)),
        "scale": measure.family(SCALES, _one_each(scale=SCALES, **size)),
        "mirror": measure.family(MIRRORS, _one_each(flip_x=(-1, 1), flip_y=(1, -1), **size)),
        "affine": measure.family(STRENGTHS, [[_mixture(v, len(test), seed, **size)] for v in STRENGTHS]),
    }
    overall = float(np.mean([family["score"] for family in families.values()]))
    return families | {"shift_consistency": measure.shift_consistency(seed, **size), "overall": overall}


def scores_of(model: keras.Model) -> Callable[[tf.Tensor], tf.Tensor]:
    """The model as a compiled function from images (B, H, W, C) to scores (B, classes)."""
    compiled: Callable[[tf.Tensor], tf.Tensor] = tf.function(
        lambda images: model(images, training=False), autograph=False, reduce_retracing=True
    )
    return compiled


def _compiled(model: keras.Model, test: Split, team: Team) -> Callable[[tf.Tensor], tf.Tensor]:
    """`scores_of`, on whichever device is in force where there are several."""
    if not team.devices:
        return scores_of(model)
    given = tf.TensorSpec((None, *test.images.shape[1:]), tf.uint8)
    return as_constants(lambda images: model(images, training=False), given)


class _Measure:
    """A model and the images it is measured on; their scores as they are, computed once."""

    def __init__(
        self, model: keras.Model | Callable[[np.ndarray], np.ndarray], test: Split, fill: str, team: Team
    ) -> None:
        self._images, self._labels, self._fill, self._team = test.images, test.labels, fill, team
        self._most = at_once(copies_in(model) if isinstance(model, keras.Model) else 1)
        self._given: dict[tuple[int, int], list[tuple[slice, tf.Tensor]]] = {}
        compiled = _compiled(model, test, team) if isinstance(model, keras.Model) else None
        self._scores: Callable[[tf.Tensor], np.ndarray] = (
            (lambda images: model(images.numpy())) if compiled is None else (lambda images: compiled(images).numpy())
        )
        self._plain = self._of_all(lambda batch, rows: batch)
        self._accuracy = self._right(self._plain)

    def family(
        self, values: Sequence[Any], matrices: Sequence[Sequence[tf.Tensor]], counts: Any = lambda value: True
    ) -> dict[str, Any]:
        """Metrics for each value, the mean over its matrices."""
        results = [np.mean([self._metrics(m) for m in of_value], axis=0) for of_value in matrices]
        accuracy, consistency, drop = (np.array(column) for column in zip(*results, strict=True))
        counted = [counts(value) for value in values]
        return {
            "values": list(values),
            "accuracy": accuracy.tolist(),
            "consistency": consistency.tolist(),
            "score_drop": drop.tolist(),
            "score": _mean(np.array(values)[counted], accuracy[counted]) / max(self._accuracy, 1e-9),
        }

    def shift_consistency(self, seed: int, height: int, width: int) -> float:
        """Fraction of images that two random shifts, of up to an eighth of the size, put into the same class."""
        random = np.random.default_rng(seed)
        predicted = []
        for _ in range(2):
            shifts = [random.integers(-(n // 8), n // 8 + 1, len(self._labels)) for n in (width, height)]
            shift_x, shift_y = (shift.astype(np.float32) for shift in shifts)
            matrices = affine_matrices(shift_x=shift_x, shift_y=shift_y, height=height, width=width)
            predicted.append(self._under(matrices).argmax(1))
        return float((predicted[0] == predicted[1]).mean())

    def _metrics(self, matrices: tf.Tensor) -> tuple[float, float, float]:
        scores = self._under(matrices)
        rows = np.arange(len(self._labels))
        return (
            self._right(scores),
            float((scores.argmax(1) == self._plain.argmax(1)).mean()),
            float((self._plain - scores)[rows, self._labels].mean()),
        )

    def _right(self, scores: np.ndarray) -> float:
        return float((scores.argmax(1) == self._labels).mean())

    def _under(self, matrices: tf.Tensor) -> np.ndarray:
        """Scores (N, classes) of all images under one matrix, or each under its own."""
        if np.array_equal(matrices, np.eye(2, 3)[None]):
            return self._plain

        def warped(batch: tf.Tensor, rows: slice) -> tf.Tensor:
            return warp(batch, matrices if len(matrices) == 1 else matrices[rows], fill=self._fill)

        return self._of_all(warped)

    def _of_all(self, shown: Callable[[tf.Tensor, slice], tf.Tensor]) -> np.ndarray:
        """Scores (N, classes) of all images, each batch as what `shown` makes of it and its rows."""

        def scores(rows: slice) -> np.ndarray:
            return np.concatenate([self._scores(shown(batch, part)) for part, batch in self._batches(rows)])

        return self._team.in_shares(len(self._labels), scores)

    def _batches(self, rows: slice) -> list[tuple[slice, tf.Tensor]]:
        """Images with their rows; they stay on the device that is in force, which asks for the same ones each time."""
        if (key := (rows.start, rows.stop)) not in self._given:
            starts = range(rows.start, rows.stop, self._most)
            parts = [slice(start, min(start + self._most, rows.stop)) for start in starts]
            self._given[key] = [(part, tf.constant(self._images[part])) for part in parts]
        return self._given[key]


def _mean(values: np.ndarray, accuracy: np.ndarray) -> float:
    """The mean of a curve over its range; over names, the plain mean."""
    if values.dtype.kind not in "fi" or len(values) < 2:
        return float(accuracy.mean())
    return float(np.trapezoid(accuracy, values) / (values[-1] - values[0]))


def _small_turn(degrees: float) -> bool:
    return abs(degrees) <= 45


def _one_each(height: int, width: int, **parameters: Sequence[float] | np.ndarray) -> list[list[tf.Tensor]]:
    """A matrix (1, 2, 3) for each value of the parameters, made in one go: one at a time costs as much as a batch."""
    arrays = {name: np.asarray(values, np.float32) for name, values in parameters.items()}
    matrices = affine_matrices(**arrays, height=height, width=width)
    return [[matrix[None]] for matrix in tf.unstack(matrices)]


def _shifts(height: int, width: int) -> list[list[tf.Tensor]]:
    """For each fraction of the size, the shifts by it in the eight directions of the compass."""
    compass = [(x, y) for x in (-1, 0, 1) for y in (-1, 0, 1) if x or y]
    matrices = []
    for fraction in TRANSLATIONS:
        steps = [(fraction * x, fraction * y) for x, y in (compass if fraction else [(0, 0)])]
        along = np.array(steps, np.float32) * (width, height)
        each = _one_each(height, width, shift_x=along[:, 0], shift_y=along[:, 1])
        matrices.append([matrix for (matrix,) in each])
    return matrices


def _mixture(strength: float, count: int, seed: int, height: int, width: int) -> tf.Tensor:
    """A matrix an image, drawn from `strength` times the widest ranges."""
    low, high = (limit**strength for limit in WIDEST.scale)
    ranges = Affine(scale=(low, high), translation=strength * WIDEST.translation, rotation=strength * WIDEST.rotation)
    return ranges.matrices(ranges.draw(count, tf.constant([seed, 0])), height, width)
