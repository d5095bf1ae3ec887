"""What a training will take, from its first steps: time, memory, disk and the device."""

import contextlib
import os
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from recipes.config.settings import ResolvedRecipe
from recipes.data import Data
from recipes.data.dataset import at_once
from recipes.training.distill import Teachers
from recipes.training.loop import train
from recipes.training.statistics import images_settled
from zoo.backend import keras, tf
from zoo.groups import copies_in

SECONDS = 10.0  # of steps that are measured, the first one not counted
STEPS = 5  # at least


@dataclass(frozen=True)
class Estimate:
    """What a training will take, if it goes to its end.

    Attributes:
        model, data: what is trained, on what.
        images: to train on.
        epochs: of the training; `early_stopping` and `until` may end it earlier.
        steps: batches an epoch.
        batch_size: images a batch.
        begin: seconds before the second epoch can be expected, less one epoch: reading images, tracing.
        epoch: seconds an epoch, with its validation.
        end: seconds for the test images and the model's file.
        memory: bytes that this process held at most while it was measured; None where that is not known.
        disk: bytes of the run folder at most, without what TensorBoard is given.
        kept: bytes that stay in it.
        device: what it was measured on.
    """

    model: str
    data: str
    images: int
    epochs: int
    steps: int
    batch_size: int
    begin: float
    epoch: float
    end: float
    memory: int | None
    disk: int
    kept: int
    device: str

    @property
    def seconds(self) -> float:
        """In all."""
        return self.seconds_of(self.epochs)

    def seconds_of(self, epochs: int) -> float:
        """With so many epochs in place of its own."""
        return self.begin + epochs * self.epoch + self.end

    def epochs_in(self, seconds: float) -> int:
        """How many epochs so many seconds are enough for."""
        return max(int((seconds - self.begin - self.end) / self.epoch), 0)


def measured(
    model: keras.Model, data: Data, recipe: ResolvedRecipe, prepared: float, teachers: Teachers | None = None
) -> Estimate:
    """Trains a compiled model for some seconds, as `train` does, and keeps nothing; its weights are not what they were.

    Args:
        model, data, recipe: what is to be trained.
        prepared: seconds that it took to come here.
        teachers: what is learned from beside the labels, where the recipe says so.
    """
    images = len(data.train)
    steps = recipe.steps_per_epoch(images)
    watch = _Watch()
    with contextlib.suppress(_EnoughError):
        train(model, data, recipe, None, quiet=True, callbacks=[watch], teachers=teachers)
    scored, traced = _scoring(model, data)
    weights, optimizer = _bytes(model.weights), _bytes(model.optimizer.variables)
    return Estimate(
        model=recipe.model.name,
        data=recipe.data.source,
        images=images,
        epochs=recipe.epochs,
        steps=steps,
        batch_size=recipe.batch_of(images),
        begin=prepared + watch.begin_seconds() + traced,
        epoch=watch.epoch_seconds(steps, scored * (len(data.validation) + images_settled(model, data.train))),
        end=2 * traced + scored * (len(data.validation) + len(data.test)),
        memory=_most_memory(),
        disk=2 * (2 * weights + optimizer),  # a checkpoint has the best weights too, and is written beside the last one
        kept=weights,
        device=_device(),
    )


class _EnoughError(Exception):
    """The training was measured for long enough."""


class _Watch(keras.callbacks.Callback):
    """Notes when epochs begin and steps end, and stops the training after some seconds."""

    def __init__(self) -> None:
        super().__init__()
        self._epochs: list[float] = []
        self._steps: list[tuple[int, float]] = []  # steps done in the first epoch, and when

    def on_train_begin(self, logs: dict[str, float] | None = None) -> None:
        self._began = time.perf_counter()

    def on_epoch_begin(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        self._epochs.append(time.perf_counter())
        if len(self._epochs) > 2 and self._epochs[-1] - self._epochs[1] >= SECONDS:
            raise _EnoughError

    def on_train_batch_end(self, batch: int, logs: dict[str, float] | None = None) -> None:
        if len(self._epochs) > 1:
            return
        self._steps.append((batch + 1, time.perf_counter()))
        (first, then), (last, now) = self._steps[0], self._steps[-1]
        if now - then >= SECONDS and last - first >= STEPS:
            raise _EnoughError

    def on_train_end(self, logs: dict[str, float] | None = None) -> None:
        self._epochs.append(time.perf_counter())

    @property
    def _step(self) -> float | None:
        """Seconds a step of the first epoch, the first ones not counted; None where there were no others."""
        (first, then), (last, now) = self._steps[0], self._steps[-1]
        return (now - then) / (last - first) if last > first else None

    def epoch_seconds(self, steps: int, validating: float) -> float:
        """Seconds an epoch, by whole epochs where there are some behind the first one."""
        if len(self._epochs) > 2:
            return (self._epochs[-1] - self._epochs[1]) / (len(self._epochs) - 2)
        step = self._step
        return (self._steps[-1][1] - self._began if step is None else step * steps) + validating

    def begin_seconds(self) -> float:
        """What came before the first step was done, less what such a step takes."""
        done, when = self._steps[0]
        return max(when - self._began - (self._step or 0.0) * done, 0.0)


def _scoring(model: keras.Model, data: Data) -> tuple[float, float]:
    """Seconds an image, and seconds that it takes to trace a prediction once more."""
    batch, _ = next(iter(data.validation.batches(at_once(copies_in(model)))))
    times = [time.perf_counter()]
    for _ in range(3):
        model.predict(batch, verbose=0)
        times.append(time.perf_counter())
    second = min(times[2] - times[1], times[3] - times[2])
    return second / len(batch), max(times[1] - times[0] - second, 0.0)


def _bytes(variables: Sequence[Any]) -> int:
    return sum(int(tf.size(variable)) * tf.as_dtype(variable.dtype).size for variable in variables)


def _most_memory() -> int | None:
    try:
        import resource
    except ImportError:  # Windows
        return None
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def _device() -> str:
    gpus = tf.config.list_physical_devices("GPU")
    if gpus:
        return str(tf.config.experimental.get_device_details(gpus[0]).get("device_name", "a GPU"))
    return f"CPU, {os.cpu_count()} cores"
