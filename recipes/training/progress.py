"""What a training shows while it goes on: on stderr, live on a terminal, a line an epoch anywhere."""

import sys
import time

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from recipes.support.numbers import span
from recipes.tasks import Task
from zoo.backend import keras
from zoo.terminal import unescaped

LONG = 120.0  # seconds of which a training says in advance that it will take them


class ProgressBar(keras.callbacks.Callback):
    """A bar over the whole training with loss, metric, images/s and time left, and a line for every epoch; behind the
    first, one that says how long a long training will go on.

    Args:
        epochs: how many epochs the training has.
        steps: batches an epoch.
        batch_size: images a batch.
        task: it has the metric that is shown beside the loss.
    """

    def __init__(self, epochs: int, steps: int, batch_size: int, task: Task) -> None:
        super().__init__()
        self._task = task
        self._epochs, self._steps, self._batch_size = epochs, steps, batch_size
        self._console = Console(file=unescaped(sys.stderr), highlight=False, soft_wrap=True)
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.fields[state]}"),
            TimeRemainingColumn(),
            console=self._console,
            transient=True,
            refresh_per_second=4,
        )
        self._row = self._bar.add_task("starting", total=epochs * steps, state="")
        self._told = False

    def on_train_begin(self, logs: dict[str, float] | None = None) -> None:
        self._bar.start()

    def stop(self) -> None:
        """Takes the bar off the terminal, however the training ended."""
        if self._bar.live.is_started:
            self._bar.stop()

    def on_epoch_begin(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        self._began, self._epoch = time.perf_counter(), epoch
        self._bar.update(self._row, description=f"epoch {epoch + 1}/{self._epochs}")

    def on_train_batch_end(self, batch: int, logs: dict[str, float]) -> None:
        rate = (batch + 1) * self._batch_size / (time.perf_counter() - self._began)
        state = f"{self._metrics(logs)}  {rate:,.0f} images/s"
        self._bar.update(self._row, completed=self._epoch * self._steps + batch + 1, state=state)

    def on_epoch_end(self, epoch: int, logs: dict[str, float]) -> None:
        seconds = time.perf_counter() - self._began
        rate = self._steps * self._batch_size / seconds
        self._console.print(
            f"epoch {epoch + 1:>{len(str(self._epochs))}}/{self._epochs}  "
            f"{self._metrics(logs)}  validation {self._metrics(logs, 'val_')}  {rate:,.0f} images/s"
        )
        left = self._epochs - epoch - 1
        if not self._told and left * seconds >= LONG:
            self._console.print(f"about {span(left * seconds)} for the other {left:,} epochs")
        self._told = True

    def _metrics(self, logs: dict[str, float], part: str = "") -> str:
        monitored = self._task.monitor_format.format(logs[part + self._task.monitor])
        return f"loss {logs[f'{part}loss']:.4f}  {monitored}"
