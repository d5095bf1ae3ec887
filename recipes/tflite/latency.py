"""How long a file takes for one image, and how that compares."""

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
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
        median_ms, p90_ms, p95_ms, p99_ms: milliseconds an image, of the given percentage of the runs at most.
        ratio: median relative to the first file with as many threads, or, for Keras, to the first file.
        bytes: of the file.
        arena_bytes: of all values that are alive at the busiest moment; 0 for Keras.
        load_ms, first_ms: in a process of its own: from the file's bytes to an interpreter, and on to the scores of
            the first image; None for Keras.
        memory_bytes: what the process grew by for it at most; None for Keras, and where the system does not tell.
        process_bytes: what the process held at most, with Python and LiteRT.
        xnnpack: whether XNNPACK might be used.
        delegated: operations that it ran, and how often each occurs; None for Keras, and where LiteRT does not tell.
        kernels: operations that LiteRT ran by kernels of its own; None where that is not known.
    """

    file: str
    kind: str
    threads: int
    median_ms: float
    p95_ms: float
    ratio: float
    bytes: int
    arena_bytes: int
    p90_ms: float
    p99_ms: float
    load_ms: float | None = None
    first_ms: float | None = None
    memory_bytes: int | None = None
    process_bytes: int | None = None
    xnnpack: bool = False
    delegated: dict[str, int] | None = None
    kernels: dict[str, int] | None = None

    @property
    def cold_ms(self) -> float | None:
        """From the file's bytes to the scores of the first image."""
        return None if self.load_ms is None or self.first_ms is None else self.load_ms + self.first_ms

    def to_dict(self) -> dict[str, Any]:
        """As JSON types; the median is there as `p50_ms`, too."""
        return asdict(self) | {"p50_ms": self.median_ms, "cold_ms": self.cold_ms}


@as_keras_ships
def benchmark(
    files: Sequence[str | Path],
    *,
    run: str | Path | None = None,
    threads: Sequence[int] | None = None,
    xnnpack: bool = True,
    repeats: int = 200,
) -> list[Timing]:
    """Times files in turn, a few runs at a time, batch 1. TensorFlow is imported only for a run.

    Each is tried out in a child process first, where its cold start and its memory are measured; the timed runs are in
    this one, without what a pipe would cost.

    Args:
        files: `.tflite` files.
        run: a run folder whose Keras model takes its turn, too (compiled by `tf.function`).
        threads: numbers of threads; 1 and as many as there are cores if None.
        xnnpack: whether LiteRT hands to XNNPACK what that can run, as it does by itself.
        repeats: timed runs of each.

    Raises:
        RequestError: a file that cannot be used, or a number that is not possible.
    """
    threads = sorted({1, os.cpu_count() or 1}) if threads is None else list(threads)
    if not files:
        raise RequestError("nothing to time: give at least one .tflite file.")
    if repeats < 1 or not threads or min(threads) < 1:
        raise RequestError(f"repeats={repeats}, threads={threads} is not possible; allowed: whole numbers from 1.")
    started = [_cold_start(file, count, xnnpack) for count in threads for file in files]
    opened = [(TFLiteFile(file, threads=count, xnnpack=xnnpack), count) for count in threads for file in files]
    for file, _ in opened:
        file.set_input(_random_image(file))
    steps: list[Callable[[], object]] = [file.invoke for file, _ in opened]
    if run is not None:
        steps.append(_keras_step(run))
    with native_output_hidden():
        seconds = _in_turn(steps, repeats)
    found = _timings(opened, run, 1000 * seconds, group=len(files))
    files_alone = zip(found, opened, started, strict=False)  # the run, if there is one, comes last
    measured = [replace(timing, **cold, **_who_ran(file, xnnpack)) for timing, (file, _), cold in files_alone]
    return measured + found[len(opened) :]


def _timings(
    opened: Sequence[tuple[TFLiteFile, int]], run: str | Path | None, times: np.ndarray, *, group: int
) -> list[Timing]:
    """What milliseconds (files, then the run if there is one; repeats) come to.

    The files are in groups of one number of threads; the first of each is what the others are compared with.
    """
    medians, p90s, p95s, p99s = np.percentile(times, (50, 90, 95, 99), axis=1).tolist()
    timings = []
    for i, (file, threads) in enumerate(opened):
        ratio = medians[i] / medians[i - i % group]
        size, arena = file.path.stat().st_size, file.settled.arena
        timings.append(
            Timing(str(file.path), "tflite", threads, medians[i], p95s[i], ratio, size, arena, p90s[i], p99s[i])
        )
    if run is not None:
        ratio = medians[-1] / medians[0]
        size = Path(run, "model.keras").stat().st_size
        timings.append(Timing(str(run), "keras", 0, medians[-1], p95s[-1], ratio, size, 0, p90s[-1], p99s[-1]))
    return timings


def _cold_start(file: str | Path, threads: int, xnnpack: bool) -> dict[str, Any]:
    """Runs a file once in a child process: what is timed runs in this one, which it must not take down."""
    tried = TFLiteFile(file, threads=threads, xnnpack=xnnpack, isolated=True)
    tried.predict(_random_image(tried)[None])
    facts = tried.child_facts()
    peak, before = facts["peak"], facts["before"]
    known = peak is not None and before is not None
    return {
        "load_ms": facts["load_ms"],
        "first_ms": facts["first_ms"],
        "memory_bytes": peak - before + tried.path.stat().st_size if known else None,
        "process_bytes": peak,
    }


def _who_ran(file: TFLiteFile, xnnpack: bool) -> dict[str, Any]:
    """What XNNPACK ran of a file that has run, and what LiteRT's own kernels did."""
    delegated = file.delegated()
    if delegated is None:
        return {"xnnpack": xnnpack}
    left = {name: count - delegated.get(name, 0) for name, count in file.settled.counts.items()}
    return {
        "xnnpack": xnnpack,
        "delegated": delegated,
        "kernels": {name: count for name, count in left.items() if count > 0},
    }


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
