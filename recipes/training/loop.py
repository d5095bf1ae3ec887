"""The training loop: what happens around each epoch, and how a stopped training goes on."""

import contextlib
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np

from recipes.config.settings import Recipe
from recipes.data import Data
from recipes.distributed.devices import visible_gpus
from recipes.distributed.team import ALONE, LostWorkerError, Team
from recipes.run.folder import Run
from recipes.tasks import TASKS
from recipes.training import checkpoint, replicas, tensorboard
from recipes.training.accelerated import DeviceBatches, made_in_step
from recipes.training.checkpoint import State
from recipes.training.distill import Teachers
from recipes.training.model import evaluation_batches, training_batches
from recipes.training.progress import ProgressBar
from recipes.training.statistics import SettledStatistics
from recipes.training.unknown import with_unknown
from zoo.backend import keras, tf
from zoo.errors import FailureError
from zoo.keras_internals import averages, random_states, without_loss_scaling

CHECKPOINT_SECONDS = 5.0  # at least so much training between two checkpoints: what a kill can cost
EXPLODED = 1e4  # times the loss at chance


def train(
    model: keras.Model,
    data: Data,
    recipe: Recipe,
    run: Run | None,
    *,
    quiet: bool,
    phase: str = "state",
    before: Sequence[Mapping[str, float]] = (),
    callbacks: Sequence[keras.callbacks.Callback] = (),
    team: Team = ALONE,
    teachers: Teachers | None = None,
    rates: Mapping[int, float] | None = None,
) -> State:
    """Trains a compiled model for the epochs that the run still lacks, and leaves its best weights in it.

    Args:
        model, data, recipe: what is trained, on what, and how.
        run: where history and checkpoints go; None to keep nothing.
        quiet: no progress on stderr.
        phase: what the checkpoint is called, where a run has several trainings.
        before: rows of the history that stand before this training's.
        callbacks: are told of every epoch, and may end the training by raising.
        team: what else it is trained on; its chief alone has a run, whose checkpoint is where all go on.
        teachers: what is learned from beside the labels, where the recipe says so.
        rates: that the model was compiled with, see `recipes.training.model.compile_model`.

    A run that was killed at any moment ends in the same weights and history, bit for bit on a CPU, as one that was
    not: an epoch is a function of the state before it and of (seed, epoch), and the state after it is kept whole.

    Raises:
        FailureError: the loss is no longer a number or has exploded, the disk is full, or the user interrupted; a
            worker is gone.
    """
    task = TASKS[data.task]
    learner = replicas.twin(model, recipe, data, team.strategy, rates) if team.strategy else model
    keeper = _Keeper(learner, data, recipe, team, run=run, phase=phase, before=before)
    with learner.distribute_strategy.scope():
        keeper.take_up()
    if not keeper.is_done:
        images = len(data.train)
        bar = ProgressBar(recipe.epochs, recipe.steps_per_epoch(images), recipe.batch_of(images), task)
        written = tensorboard.writers(run, phase) if run else []
        callbacks = [*written, *([] if quiet else [bar]), *callbacks]
        try:
            with keeper.kept_when_stopped():
                if team.strategy:
                    replicas.fit(
                        model,
                        learner,
                        data,
                        recipe,
                        team,
                        first_epoch=keeper.state.epoch,
                        callbacks=[keeper, *callbacks],
                        weights_now=lambda: _weights_to_hand_over(learner),
                        class_weight=task.class_weight(data, recipe),
                    )
                else:
                    _fit_on_one_device(model, data, recipe, keeper, callbacks, teachers)
        finally:
            bar.stop()
    if learner is not model:
        model.optimizer.build(model.trainable_variables)  # or the file of the model would lack what it announces
    model.set_weights(keeper.state.best_weights)
    return keeper.state


def _fit_on_one_device(
    model: keras.Model,
    data: Data,
    recipe: Recipe,
    keeper: "_Keeper",
    callbacks: Sequence[keras.callbacks.Callback],
    teachers: Teachers | None,
) -> None:
    classes, task = len(data.class_names), TASKS[data.task]
    averaged = without_loss_scaling(model.optimizer).use_ema
    averages = [keras.callbacks.SwapEMAWeights(swap_on_epoch=False)] if averaged else []
    first = keeper.state.epoch
    class_weight = task.class_weight(data, recipe)
    made: contextlib.AbstractContextManager[None] = contextlib.nullcontext()
    if visible_gpus() and data.unknown is None and not teachers:
        on_device = DeviceBatches(data.train, recipe, classes, task, class_weight)
        batches, made, class_weight = on_device.given(first), made_in_step(model, on_device), None
        for callback in (keeper, *callbacks):
            if isinstance(callback, _Keeper | ProgressBar):
                callback.async_safe = True  # Keras: a look at the loss does not hold up the next steps
    else:
        batches = training_batches(data.train, recipe, classes, task=task, first_epoch=first)
        if data.unknown is not None:
            batches = with_unknown(batches, data.unknown, recipe, len(data.train), classes, first_epoch=first)
        if teachers:
            batches = teachers.joined(batches)
    with made:
        model.fit(
            batches,
            initial_epoch=first,
            epochs=recipe.epochs,
            steps_per_epoch=recipe.steps_per_epoch(len(data.train)),
            validation_data=evaluation_batches(data.validation, recipe, classes, task),
            # Statistics are those of averaged weights, so these are swapped in first.
            callbacks=[keeper, *averages, SettledStatistics(data.train), *callbacks],
            class_weight=class_weight,
            shuffle=False,  # the batches are shuffled already
            verbose=0,
        )


class _Keeper(keras.callbacks.Callback):
    """Seeds each epoch, keeps the best weights, and writes history and checkpoints."""

    def __init__(
        self,
        model: keras.Model,
        data: Data,
        recipe: Recipe,
        team: Team,
        *,
        run: Run | None,
        phase: str,
        before: Sequence[Mapping[str, float]],
    ) -> None:
        super().__init__()
        self._team = team
        self.state = State()
        self._learner, self._recipe, self._run = model, recipe, run
        self._file = run.path / "checkpoints" / f"{phase}.npz" if run else None
        self._before = list(before)
        self._task = TASKS[data.task]
        self._validated = len(data.validation)
        self._highest_loss = EXPLODED * self._task.loss_at_chance(data)
        self._written = time.monotonic()
        self._writing = threading.Lock()  # beside a GPU the looks at the loss are in threads of their own

    def take_up(self) -> None:
        """Puts the last checkpoint of the run, if there is one, into the model and its optimizer."""
        self._learner.optimizer.build(self._learner.trainable_variables)
        kept = checkpoint.load(self._file, self._team.from_chief)
        if kept is None:
            return
        columns = {"epoch", "loss", "val_loss", self._task.monitor, f"val_{self._task.monitor}", "learning_rate"}
        if not kept.is_of(self._learner.weights, self._learner.optimizer.variables, columns):
            raise FailureError(
                f"{self._file or 'the checkpoint'} is of another training. Remove it, and `zoo resume` begins again "
                "from the first epoch."
            )
        self.state = kept
        self._learner.set_weights(kept.weights)
        for variable, value in zip(self._learner.optimizer.variables, kept.optimizer, strict=True):
            variable.assign(value)

    @contextlib.contextmanager
    def kept_when_stopped(self) -> Iterator[None]:
        """Keeps the last whole epoch when the user or the loss of a worker stops the training in the block.

        Raises:
            FailureError: it was stopped; the message says how it goes on.
        """
        try:
            yield
        except KeyboardInterrupt:
            if self._run is None:
                raise
            self.write()
            raise FailureError(f"interrupted after {self._progress}; `zoo resume {self._run.path}` goes on.") from None
        except LostWorkerError as error:
            self.write()
            raise LostWorkerError(f"{error} {self._progress} are done.") from None

    @property
    def _progress(self) -> str:
        return f"{self.state.epoch} of {self._recipe.epochs} epochs"

    @property
    def is_done(self) -> bool:
        """Whether all epochs are trained, or validation is as good as the recipe asks for, or has not improved for as
        long as it waits."""
        patience, until = self._recipe.early_stopping, self._recipe.until
        waited = self.state.epoch - self.state.best_epoch
        monitor = f"val_{self._task.monitor}"
        reached = until is not None and any(row[monitor] >= until for row in self.state.history)
        return self.state.epoch >= self._recipe.epochs or reached or bool(patience and waited >= patience)

    def on_epoch_begin(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        reseed(self._learner, self._recipe.seed, epoch, self._team.rank)

    def on_train_batch_end(self, batch: int, logs: dict[str, float]) -> None:
        if not logs["loss"] <= self._highest_loss:  # not-a-number compares false
            self.write()
            kept = f"; the weights of epoch {self.state.epoch} are kept in {self._file}" if self._file else ""
            raise FailureError(
                f"the loss is {logs['loss']:g} at step {batch + 1} of epoch {self.state.epoch + 1}{kept}. "
                "Try a lower optimizer.learning_rate, or optimizer.clipnorm=1."
            )

    def on_epoch_end(self, epoch: int, logs: dict[str, float]) -> None:
        state, rate = self.state, float(self._learner.optimizer.learning_rate)
        state.history.append({"epoch": epoch + 1, **{k: float(v) for k, v in logs.items()}, "learning_rate": rate})
        state.weights = self._learner.get_weights()
        state.optimizer = [np.array(variable) for variable in self._learner.optimizer.variables]
        best = state.history[state.best_epoch - 1] if state.best_epoch else None
        merit = partial(self._task.merit, images=self._validated)
        if best is None or merit(state.history[-1]) > merit(best):
            state.best_epoch, state.best_weights = epoch + 1, _weights_to_hand_over(self._learner)
        if self.is_done or time.monotonic() - self._written >= CHECKPOINT_SECONDS:
            self.write()
        self._learner.stop_training = self.is_done

    def write(self) -> None:
        """Writes the state after the last whole epoch."""
        if self._run and self._file and self.state.history:
            with self._writing:
                checkpoint.save(self.state, self._file)
                own = [row | {"epoch": row["epoch"] + len(self._before)} for row in self.state.history]
                self._run.write_rows("history.csv", [*self._before, *own])
                self._written = time.monotonic()


def _weights_to_hand_over(model: keras.Model) -> list[np.ndarray]:
    """The model's weights, with moving averages in place of those that the optimizer averages."""
    weights = dict(zip((id(weight) for weight in model.weights), model.get_weights(), strict=True))
    if without_loss_scaling(model.optimizer).use_ema:
        pairs = zip(model.trainable_variables, averages(model.optimizer), strict=True)
        weights |= {id(variable): np.array(average) for variable, average in pairs}
    return [weights[id(weight)] for weight in model.weights]


def reseed(model: keras.Model, seed: int, epoch: int, worker: int = 0) -> None:
    """Makes what layers draw (dropout, noise) a function of (seed, epoch): their states are not in any file.

    Every worker draws for its own part of the batch, so each has a stream of its own.
    """
    for number, state in enumerate(random_states(model)):
        root = (seed, epoch, number, worker) if worker else (seed, epoch, number)
        draw: Any = np.random.SeedSequence(root).generate_state(state.shape[0])
        state.assign(tf.cast(draw, state.dtype))
