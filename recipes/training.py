"""The training loop: batches that are a function of the seed, and what happens after each epoch."""

import math
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from recipes.data import Data, Split
from recipes.data.batches import gather_rows
from recipes.preset import Recipe
from recipes.progress import ProgressBar
from recipes.run import Run
from zoo import create_model

STREAMS = {"order": 0, "augment": 1}  # independent random streams under one seed
EVALUATION_BATCH = 250


def train(
    model: keras.Model, data: Data, recipe: Recipe, run: Run, *, quiet: bool
) -> tuple[int, list[dict[str, float]]]:
    """Trains a compiled model, leaving its best weights in it; returns the best epoch, from 1, and the history."""
    batch_size = _batch_size(recipe, data.train)
    steps = math.ceil(len(data.train) / batch_size)
    best, history = _BestWeights(), _History(run)
    model.fit(
        training_batches(data.train, recipe),
        epochs=recipe.epochs,
        steps_per_epoch=steps,
        validation_data=_evaluation_batches(data.validation),
        validation_steps=math.ceil(len(data.validation) / EVALUATION_BATCH),
        callbacks=[best, history, *([] if quiet else [ProgressBar(recipe.epochs, steps, batch_size)])],
        shuffle=False,  # the batches are shuffled already
        verbose=0,
    )
    best.restore(model)
    return best.epoch, history.rows


def predict(model: keras.Model, images: np.ndarray) -> np.ndarray:
    """Scores (N, classes) of pictures (N, H, W, C)."""
    return model.predict(images, batch_size=EVALUATION_BATCH, verbose=0)


def training_batches(train: Split, recipe: Recipe) -> tf.data.Dataset:
    """Batches (uint8 (B, H, W, C), labels (B,)) for all epochs, one after the other.

    Every epoch has its own order and its own augmentation, both a function of (seed, epoch, index of the example)
    alone. An epoch's last batch is filled up from its first pictures, so that all batches have one shape (another
    shape is another compilation) and every picture is seen in every epoch.
    """
    count, batch_size = len(train), _batch_size(recipe, train)
    steps = math.ceil(count / batch_size)
    pictures, labels = gather_rows(train.images), tf.constant(train.labels)
    augment = recipe.augment

    def epoch_rows(epoch: tf.Tensor) -> tf.data.Dataset:
        order = tf.random.experimental.stateless_shuffle(tf.range(count), _stream("order", recipe.seed, epoch))
        order = tf.concat([order, order[: steps * batch_size - count]], axis=0)
        draws = augment.draw(count, _stream("augment", recipe.seed, epoch))
        return tf.data.Dataset.from_tensor_slices((order, tf.gather(draws, order))).batch(
            batch_size, drop_remainder=True
        )

    def batch(rows: tf.Tensor, draws: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        return augment(pictures(rows), draws), tf.gather(labels, rows)

    batches = tf.data.Dataset.range(recipe.epochs).flat_map(epoch_rows)
    batches = batches.map(batch, num_parallel_calls=2, deterministic=True).prefetch(4)
    options = tf.data.Options()
    options.autotune.enabled = False  # autotuning stalls for seconds when an iterator ends
    return batches.with_options(options)


def _evaluation_batches(split: Split) -> tf.data.Dataset:
    """All pictures once, in order, unchanged."""
    return split.batches(EVALUATION_BATCH).repeat()


def _stream(name: str, seed: int, epoch: tf.Tensor) -> tf.Tensor:
    root = tf.constant([seed, STREAMS[name]], tf.int64)
    return tf.random.experimental.stateless_fold_in(root, epoch)


def _batch_size(recipe: Recipe, train: Split) -> int:
    return min(recipe.batch_size, len(train))


def compiled_model(recipe: Recipe, data: Data) -> keras.Model:
    """The recipe's model with new weights, ready to train on `data`."""
    chosen = recipe.model
    model = create_model(
        chosen.name,
        input_shape=chosen.input_shape,
        classes=len(data.class_names),
        pooling=chosen.pooling,
        hidden=chosen.hidden,
        dropout=chosen.dropout,
        **chosen.options,
    )
    steps = math.ceil(len(data.train) / _batch_size(recipe, data.train))
    model.compile(
        optimizer=_optimizer(recipe, steps),
        loss=keras.losses.SparseCategoricalCrossentropy(),
        metrics=["accuracy"],
        jit_compile=False,  # XLA slows the training step down on a CPU
    )
    return model


def _optimizer(recipe: Recipe, steps_per_epoch: int) -> keras.optimizers.Optimizer:
    settings, schedule = recipe.optimizer, recipe.schedule
    rate: Any = settings.learning_rate
    warmup = round(schedule.warmup_epochs * steps_per_epoch)
    if schedule.name == "cosine":
        total = recipe.epochs * steps_per_epoch
        rate = keras.optimizers.schedules.CosineDecay(
            0.0 if warmup else rate,
            max(total - warmup, 1),
            warmup_target=rate if warmup else None,
            warmup_steps=warmup,
        )
    extra = {"momentum": settings.momentum, "nesterov": True} if settings.name == "sgd" else {}
    optimizer = keras.optimizers.get({"class_name": settings.name, "config": {"learning_rate": rate, **extra}})
    if settings.weight_decay:
        optimizer.weight_decay = settings.weight_decay
        optimizer.exclude_from_weight_decay(var_names=["bias", "gamma", "beta"])
    return optimizer


class _BestWeights(keras.callbacks.Callback):
    """Keeps the weights of the epoch with the best validation accuracy; of equals, the lowest validation loss."""

    def __init__(self) -> None:
        super().__init__()
        self.epoch = 0
        self._score = (-math.inf, -math.inf)
        self._weights: list[np.ndarray] = []

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        score = (logs["val_accuracy"], -logs["val_loss"])
        if score > self._score:
            self._score, self.epoch, self._weights = score, epoch + 1, self.model.get_weights()

    def restore(self, model: keras.Model) -> None:
        model.set_weights(self._weights)


class _History(keras.callbacks.Callback):
    """Writes `history.csv` after every epoch."""

    def __init__(self, run: Run) -> None:
        super().__init__()
        self.rows: list[dict[str, float]] = []
        self._run = run

    def on_epoch_begin(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        self._began = tf.timestamp()

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        seconds = float(tf.timestamp() - self._began)
        rate = float(self.model.optimizer.learning_rate)
        self.rows.append({"epoch": epoch + 1, **logs, "learning_rate": rate, "seconds": round(seconds, 3)})
        self._run.write_rows("history.csv", self.rows)
