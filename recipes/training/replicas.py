"""Training on several devices, of one machine or of many: what `keras.Model.fit` is for one.

Every batch is the one that a single device would take, split into equal parts; gradients are summed before they are
clipped and used. So the number of devices changes nothing but the order of additions, and what dropout draws.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from recipes.config.settings import Recipe
from recipes.data import Data
from recipes.distributed.team import Team
from recipes.tasks import TASKS, Task
from recipes.training.model import BatchPart, compile_model, evaluation_batches, training_batches
from recipes.training.statistics import norms_behind_noise, settle_statistics
from zoo.backend import keras, tf
from zoo.errors import RequestError
from zoo.keras_internals import all_layers, expect_sums


def check_shares(recipe: Recipe, data: Data, team: Team) -> None:
    """Raises a `RequestError` unless a batch can be split into equal parts."""
    size, parts = recipe.batch_of(len(data.train)), team.replicas
    if recipe.unknown and team.strategy:
        raise RequestError("unknown images are learnt against on one device: remove --unknown, or the further devices.")
    if recipe.distill and team.strategy:
        raise RequestError("teachers are learned from on one device: remove [distill], or the further devices.")
    if recipe.jit_compile and team.strategy:
        raise RequestError("jit_compile=true is for one device: leave it out, or the further devices.")
    if size % parts:
        near = max(round(size / parts), 1) * parts
        raise RequestError(
            f"batch_size={size} is not possible on {parts} devices, which take equal parts; the nearest is {near}."
        )


def twin(
    model: keras.Model,
    recipe: Recipe,
    data: Data,
    strategy: tf.distribute.Strategy,
    rates: Mapping[int, float] | None = None,
) -> keras.Model:
    """A copy that learns on all devices of a strategy. Its BatchNorms take their statistics from the whole batch.

    `rates` are those of the model, see `recipes.training.model.compile_model`.
    """
    with strategy.scope():
        copy = keras.models.clone_model(model)
        for layer in all_layers(copy):
            if isinstance(layer, keras.layers.BatchNormalization):
                layer.synchronized = True  # not in the model itself: what is handed over is as one device makes it
        pairs = zip(model.trainable_variables, copy.trainable_variables, strict=True)
        own = {id(mine): rates[id(its)] for its, mine in pairs if id(its) in rates} if rates else None
        compile_model(copy, recipe, data, rates=own)
        copy.set_weights(model.get_weights())
    expect_sums(copy.optimizer)  # Keras clips the gradients of each device and then adds them up; here they come added
    return copy


def fit(
    model: keras.Model,
    learner: keras.Model,
    data: Data,
    recipe: Recipe,
    team: Team,
    *,
    first_epoch: int,
    callbacks: Sequence[keras.callbacks.Callback],
    weights_now: Callable[[], list[np.ndarray]],
    class_weight: Mapping[int, float] | None = None,
) -> None:
    """Trains for the epochs from `first_epoch` on, or until a callback stops it.

    Args:
        model: the model as one device has it; it is what validation runs.
        learner: its `twin`, which learns.
        data, recipe, team: on what, how, and where.
        first_epoch: how many are trained already.
        callbacks: are called as `keras.Model.fit` calls them, with loss and metric of all devices.
        weights_now: the weights to validate.
        class_weight: how much the examples of each class count; all the same if None.

    Raises:
        FailureError: a worker is gone.
    """
    steps, at_once = recipe.steps_per_epoch(len(data.train)), model.steps_per_execution
    task, strategy = TASKS[data.task], learner.distribute_strategy
    with team.errors_joined():
        parts = _batches(data, recipe, team, first_epoch, class_weight)
        # Without an end nobody has to ask in every step whether all have one more.
        batches = iter(strategy.distribute_datasets_from_function(lambda _: parts.repeat()))
        train_steps = _train_steps(learner, task, at_once)
        validate = _validation(model, data, recipe, team)
    calls = keras.callbacks.CallbackList(list(callbacks), model=learner, epochs=recipe.epochs, steps=steps)
    learner.stop_training = False
    calls.on_train_begin()
    for epoch in range(first_epoch, recipe.epochs):
        calls.on_epoch_begin(epoch)
        sums = np.zeros(2)
        for end in range(at_once, steps + 1, at_once):
            with team.errors_joined():
                sums += train_steps(batches).numpy()
            logs = _named(sums / end, task)
            calls.on_train_batch_end(end - 1, logs)
        model.set_weights(weights_now())
        settle_statistics(model, data.train)
        _hand_statistics(model, learner)
        logs |= {f"val_{name}": value for name, value in validate().items()}
        calls.on_epoch_end(epoch, logs)
        if learner.stop_training:
            break
    calls.on_train_end()


def _hand_statistics(model: keras.Model, learner: keras.Model) -> None:
    """Gives the learner the statistics that the model has taken anew."""
    with learner.distribute_strategy.scope():
        for its, own in zip(norms_behind_noise(model), norms_behind_noise(learner), strict=True):
            own.moving_mean.assign(its.moving_mean)
            own.moving_variance.assign(its.moving_variance)


def _named(means: np.ndarray, task: Task) -> dict[str, float]:
    return {task.monitor: float(means[1]), "loss": float(means[0])}


def _batches(
    data: Data, recipe: Recipe, team: Team, first_epoch: int, class_weight: Mapping[int, float] | None
) -> tf.data.Dataset:
    """This worker's parts of the batches."""
    here = team.replicas // team.size
    part, task = BatchPart(team.rank * here, here, team.replicas), TASKS[data.task]
    classes = len(data.class_names)
    batches = training_batches(data.train, recipe, classes, task=task, first_epoch=first_epoch, part=part)
    if class_weight:

        def weighted(images: tf.Tensor, labels: tf.Tensor) -> tuple[tf.Tensor, ...]:
            return images, labels, task.example_weights(labels, class_weight)

        batches = batches.map(weighted)
    return batches


def _train_steps(learner: keras.Model, task: Task, at_once: int) -> Callable[[Any], tf.Tensor]:
    """A function that takes `at_once` steps and returns the sums over them of loss and metric, of the whole batch."""
    strategy, optimizer = learner.distribute_strategy, learner.optimizer
    parts = strategy.num_replicas_in_sync

    def step(images: tf.Tensor, labels: tf.Tensor, weights: tf.Tensor | None = None) -> tf.Tensor:
        context = tf.distribute.get_replica_context()
        with tf.GradientTape() as tape:
            scores = learner(images, training=True)
            loss = learner.compute_loss(images, labels, scores, weights)  # Keras has divided it by the devices
            scaled = optimizer.scale_loss(loss)
        gradients = tape.gradient(scaled, learner.trainable_variables)
        gradients = context.all_reduce(tf.distribute.ReduceOp.SUM, gradients)
        optimizer.apply_gradients(zip(gradients, learner.trainable_variables, strict=True))
        metric = tf.reduce_mean(tf.cast(task.monitored(labels, scores), tf.float32))
        return tf.stack([loss, metric / parts])

    def steps(batches: Any) -> tf.Tensor:
        sums = tf.zeros(2)
        for _ in tf.range(at_once):
            means = strategy.run(step, args=next(batches))
            sums += strategy.reduce(tf.distribute.ReduceOp.SUM, means, axis=None)
        return sums

    compiled: Callable[[Any], tf.Tensor] = tf.function(steps)
    return compiled


def _validation(model: keras.Model, data: Data, recipe: Recipe, team: Team) -> Callable[[], dict[str, float]]:
    """A function that scores the model on the validation images, of which every worker takes its part."""
    rows = np.array_split(np.arange(len(data.validation)), team.size)[team.rank]
    part = data.validation[rows[0] : rows[-1] + 1] if len(rows) else None
    task = TASKS[data.task]
    batches = evaluation_batches(part, recipe, len(data.class_names), task) if part else None

    def validate() -> dict[str, float]:
        sums = np.zeros(3, np.float32)
        if part and batches:
            means = model.evaluate(batches, verbose=0, return_dict=True)
            sums[:] = [means["loss"] * len(part), means[task.monitor] * len(part), len(part)]
        sums = team.sum(sums)
        return _named(sums[:2] / sums[2], task)

    return validate
