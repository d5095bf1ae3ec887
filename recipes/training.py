"""What a recipe makes of a model and of pictures: batches that are a function of the seed, loss and optimizer."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from recipes.data import Data, Split
from recipes.data.batches import gather_rows
from recipes.preset import Recipe
from zoo import create_model

STREAMS = {"order": 0, "augment": 1}  # independent random streams under one seed
EVALUATION_BATCH = 250


def predict(model: keras.Model, images: np.ndarray) -> np.ndarray:
    """Scores (N, classes) of pictures (N, H, W, C)."""
    return model.predict(images, batch_size=EVALUATION_BATCH, verbose=0)


def training_batches(train: Split, recipe: Recipe, classes: int, *, first_epoch: int = 0) -> tf.data.Dataset:
    """Batches (uint8 (B, H, W, C), labels) for the epochs from `first_epoch` on, one after the other.

    Labels are whole numbers (B,), or shares (B, classes) where the recipe mixes pictures or smooths labels.

    Every epoch has its own order and its own augmentation, both a function of (seed, epoch, index of the example)
    alone. An epoch's last batch is filled up from its first pictures, so that all batches have one shape (another
    shape is another compilation) and every picture is seen in every epoch.
    """
    count, batch_size = len(train), _batch_size(recipe, train)
    steps = steps_per_epoch(train, recipe)
    pictures, labels = gather_rows(train.images), tf.constant(_targets(train.labels, recipe, classes))
    augment = recipe.augment

    def epoch_rows(epoch: tf.Tensor) -> tf.data.Dataset:
        order = tf.random.experimental.stateless_shuffle(tf.range(count), stream("order", recipe.seed, epoch))
        order = tf.concat([order, order[: steps * batch_size - count]], axis=0)
        draws = augment.draw(count, stream("augment", recipe.seed, epoch))
        rows = [order]
        if augment.mixes:  # a picture's partner is any other of the set, changed by the partner's own draws
            rows.append(tf.gather(augment.partners(draws, count), order))
        slices = tuple((row, tf.gather(draws, row)) for row in rows)
        return tf.data.Dataset.from_tensor_slices(slices).batch(batch_size, drop_remainder=True)

    def varied(rows: tf.Tensor, draws: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        return augment(pictures(rows), draws), tf.gather(labels, rows)

    def batch(
        example: tuple[tf.Tensor, tf.Tensor], partner: tuple[tf.Tensor, tf.Tensor] | None = None
    ) -> tuple[tf.Tensor, tf.Tensor]:
        if partner is None:
            return varied(*example)
        return augment.mix(*varied(*example), *varied(*partner), example[1])

    batches = tf.data.Dataset.range(first_epoch, recipe.epochs).flat_map(epoch_rows)
    batches = batches.map(batch, num_parallel_calls=2, deterministic=True).prefetch(4)
    options = tf.data.Options()
    options.autotune.enabled = False  # autotuning stalls for seconds when an iterator ends
    return batches.with_options(options)


def evaluation_batches(split: Split, recipe: Recipe, classes: int) -> tf.data.Dataset:
    """All pictures once, in order, unchanged."""
    labels = _targets(split.labels, recipe, classes)
    return replace(split, labels=labels).batches(EVALUATION_BATCH).repeat()


def _targets(labels: np.ndarray, recipe: Recipe, classes: int) -> np.ndarray:
    """Labels (N,) as they are, or float32 (N, classes) with 1 at the label where the loss takes shares."""
    return np.eye(classes, dtype=np.float32)[labels] if recipe.soft_labels else labels


def _loss(recipe: Recipe) -> keras.losses.Loss:
    if recipe.soft_labels:
        return keras.losses.CategoricalCrossentropy(label_smoothing=recipe.label_smoothing)
    return keras.losses.SparseCategoricalCrossentropy()


def stream(name: str, seed: int, epoch: tf.Tensor) -> tf.Tensor:
    root = tf.constant([seed, STREAMS[name]], tf.int64)
    return tf.random.experimental.stateless_fold_in(root, epoch)


def steps_per_epoch(train: Split, recipe: Recipe) -> int:
    """Batches that it takes to see every picture."""
    return math.ceil(len(train) / _batch_size(recipe, train))


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
        weights=chosen.weights,
        **chosen.options,
    )
    compile_model(model, recipe, data)
    return model


def compile_model(model: keras.Model, recipe: Recipe, data: Data, *, rates: Mapping[int, float] | None = None) -> None:
    """Prepares a model to train on `data` by a recipe.

    Args:
        model: its scores are probabilities.
        recipe: optimizer, schedule and loss.
        data: how many steps an epoch has.
        rates: factors of the learning rate by the `id` of a variable; 1 for variables that it does not have.
    """
    factors = [rates.get(id(variable), 1.0) for variable in model.trainable_variables] if rates else []
    model.compile(
        optimizer=_optimizer(recipe, steps_per_epoch(data.train, recipe), factors),
        loss=_loss(recipe),
        metrics=["accuracy"],
        jit_compile=False,  # XLA slows the training step down on a CPU
    )


def _optimizer(recipe: Recipe, steps: int, factors: Sequence[float]) -> keras.optimizers.Optimizer:
    settings = recipe.optimizer
    rate = _learning_rate(recipe, steps)
    own = {"momentum": settings.momentum, "nesterov": settings.momentum > 0} if settings.name == "sgd" else {}
    shared = {
        "learning_rate": rate,
        "weight_decay": settings.weight_decay or None,
        "global_clipnorm": settings.clipnorm,
        "use_ema": settings.ema > 0,
        "ema_momentum": settings.ema or 0.99,
    }
    optimizer = keras.optimizers.get({"class_name": settings.name, "config": shared | own})
    if settings.weight_decay:
        optimizer.exclude_from_weight_decay(var_names=["bias", "gamma", "beta"])
    if factors:
        step = optimizer.update_step

        def scaled_step(gradient: Any, variable: Any, learning_rate: Any) -> None:
            # The variable comes as TensorFlow's own, which only the optimizer can tell the number of.
            step(gradient, variable, learning_rate * factors[optimizer._get_variable_index(variable)])

        optimizer.update_step = scaled_step  # Keras has no learning rates by layer
    return optimizer


def _learning_rate(recipe: Recipe, steps: int) -> Any:
    """The rate as a function of the step; warm-up is linear from zero."""
    schedules, peak, schedule = keras.optimizers.schedules, recipe.optimizer.learning_rate, recipe.schedule
    total, warmup = recipe.epochs * steps, round(schedule.warmup_epochs * steps)
    if schedule.name == "cosine":
        start, target = (0.0, peak) if warmup else (peak, None)
        return schedules.CosineDecay(start, max(total - warmup, 1), warmup_target=target, warmup_steps=warmup)
    if schedule.name == "step":
        ends = [round(share * total) for share in schedule.drops]
        values = [peak * schedule.factor**number for number in range(len(ends) + 1)]
        return schedules.PiecewiseConstantDecay(ends, values)
    return peak
