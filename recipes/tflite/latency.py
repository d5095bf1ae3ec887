"""How long a file takes for one image, and how that compares."""

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from recipes.support.quiet import native_output_hidden
from recipes.tflite.file import TFLiteFile
from zoo.backend import as_keras_ships, tf
from zoo.errors import RequestError

WARM_UP = 10  # runs that are not timed
ROUND = 10  # runs before it is the next one's turn: a slow moment of the machine falls on all alike


@dataclass(frozen=True)
class Timing:
    """Latency of one image.

    Attributes:
        file: the `.tflite` file, or the run whose Keras model was timed.
        kind: `tflite` or `keras`.
        threads: of the interpreter; 0 for Keras, which takes what it finds.
        median_ms, p95_ms: milliseconds an image.
        ratio: median relative to the first file with as many threads, or, for Keras, to the first file.
        bytes: of the file.
        arena_bytes: of all values that are alive at the busiest moment; 0 for Keras.
    """

    file: str
    kind: str
    threads: int
    median_ms: float
    p95_ms: float
    ratio: float
    bytes: int
    arena_bytes: int

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


@as_keras_ships
def benchmark(
    files: Sequence[str | Path],
    *,
    run: str | Path | None = None,
    threads: Sequence[int] | None = None,
    repeats: int = 200,
) -> list[Timing]:
    """Times files in turn, a few runs at a time, batch 1. TensorFlow is imported only for a run.

    Each is tried out in a child process first; the timed runs are in this one, without what a pipe would cost.

    Args:
        files: `.tflite` files.
        run: a run folder whose Keras model takes its turn, too (compiled by `tf.function`).
        threads: numbers of threads; 1 and as many as there are cores if None.
        repeats: timed runs of each.

    Raises:
        RequestError: a file that cannot be used, or a number that is not possible.
    """
    threads = sorted({1, os.cpu_count() or 1}) if threads is None else list(threads)
    if not files:
        raise RequestError("nothing to time: give at least one .tflite file.")
    if repeats < 1 or not threads or min(threads) < 1:
        raise RequestError(f"repeats={repeats}, threads={threads} is not possible; allowed: whole numbers from 1.")
    for name in dict.fromkeys(files):
        _try_out(name)
    opened = [(TFLiteFile(file, threads=count), count) for count in threads for file in files]
    for file, _ in opened:
        file.set_input(_random_image(file))
    steps: list[Callable[[], object]] = [file.invoke for file, _ in opened]
    if run is not None:
        steps.append(_keras_step(run))
    with native_output_hidden():
        seconds = _in_turn(steps, repeats)
    return _timings(opened, run, 1000 * seconds, group=len(files))


def _timings(
    opened: Sequence[tuple[TFLiteFile, int]], run: str | Path | None, times: np.ndarray, *, group: int
) -> list[Timing]:
    """What milliseconds (files, then the run if there is one; repeats) come to.

    The files are in groups of one number of threads; the first of each is what the others are compared with.
    """
    medians = [float(median) for median in np.median(times, axis=1)]
    slowest = [float(p95) for p95 in np.percentile(times, 95, axis=1)]
    timings = []
    for i, (file, threads) in enumerate(opened):
        ratio = medians[i] / medians[i - i % group]
        size = file.path.stat().st_size
        timings.append(
            Timing(str(file.path), "tflite", threads, medians[i], slowest[i], ratio, size, file.settled.arena)
        )
    if run is not None:
        ratio = medians[-1] / medians[0]
        size = Path(run, "model.keras").stat().st_size
        timings.append(Timing(str(run), "keras", 0, medians[-1], slowest[-1], ratio, size, arena_bytes=0))
    return timings


def _try_out(file: str | Path) -> None:
    """Runs a file once in a child process: what is timed runs in this one, which it must not take down."""
    tried = TFLiteFile(file, isolated=True)
    tried.predict(_random_image(tried)[None])


def _random_image(file: TFLiteFile) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, file.input_shape, np.uint8)


def _in_turn(steps: Sequence[Callable[[], object]], repeats: int) -> np.ndarray:
    """Seconds (steps, repeats) of each call."""
    for step in steps:
        for _ in range(WARM_UP):
            step()
    seconds = np.zeros((len(steps), repeats))
    for start in range(0, repeats, ROUND):
        for i, step in enumerate(steps):
            for k in range(start, min(start + ROUND, repeats)):
                began = time.perf_counter()
                step()
                seconds[i, k] = time.perf_counter() - began
    return seconds


def _keras_step(run: str | Path) -> Callable[[], object]:
    from recipes.run.folder import Run

    opened = Run.open(run)

    model = opened.load_model()
    pixels = tf.zeros((1, *opened.recipe.data.image_shape))
    step = tf.function(lambda image: model(image, training=False))
    return lambda: step(pixels).numpy()
