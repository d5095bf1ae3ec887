"""What a recipe makes of a model and of images: batches that are a function of the seed, loss and optimizer."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from recipes.config.settings import Recipe, ResolvedRecipe
from recipes.data import Data, Split
from recipes.data.batches import gather_rows, untuned
from recipes.data.dataset import at_once
from recipes.tasks import TASKS, Task
from recipes.training.distill import LabelMean, distillation_loss
from recipes.training.muon import Muon
from zoo import create_model
from zoo.backend import keras, tf
from zoo.groups import check_group, find_group
from zoo.keras_internals import average_by, averages, index_of
from zoo.precision import computing_in

STREAMS = {"order": 0, "augment": 1, "unknown": 2, "augment unknown": 3}  # independent random streams under one seed
MOST_STEPS_AT_ONCE = 12
UNDECAYED = ("bias", "gamma", "beta")  # names of weights that neither weight decay nor L2 makes smaller


@dataclass(frozen=True)
class BatchPart:
    """Which of `parts` equal parts of every batch are wanted: `count` from `first` on, each as a batch of its own."""

    first: int = 0
    count: int = 1
    parts: int = 1


def training_batches(
    train: Split,
    recipe: Recipe,
    classes: int,
    *,
    task: Task = TASKS["classification"],
    first_epoch: int = 0,
    part: BatchPart = BatchPart(),
) -> tf.data.Dataset:
    """Batches (uint8 (B, H, W, C), labels) for the epochs from `first_epoch` on, one after the other.

    Labels are what `Task.targets` makes of them.

    Every epoch has its own order and its own augmentation, both a function of (seed, epoch, index of the example)
    alone. An epoch's last batch is filled up from its first images, so that all batches have one shape (another
    shape is another compilation) and every image is seen in every epoch.

    With a `part`, only those parts of each batch; together the parts are the batches, image by image.
    """
    images, labels = gather_rows(train.images), tf.constant(task.targets(train.labels, recipe, classes))
    augment = recipe.augment

    def varied(rows: tf.Tensor, draws: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        return augment(images(rows), draws), tf.gather(labels, rows)

    def batch(
        example: tuple[tf.Tensor, tf.Tensor], partner: tuple[tf.Tensor, tf.Tensor] | None = None
    ) -> tuple[tf.Tensor, tf.Tensor]:
        if partner is None:
            return varied(*example)
        return augment.mix(*varied(*example), *varied(*partner), example[1])

    batches = drawn_batches(len(train), recipe, first_epoch=first_epoch, part=part)
    return untuned(batches.map(batch, num_parallel_calls=2, deterministic=True).prefetch(4))


def drawn_batches(
    count: int, recipe: Recipe, *, first_epoch: int = 0, part: BatchPart = BatchPart()
) -> tf.data.Dataset:
    """Of the batches of `training_batches`, of so many images, which rows are in them and what is drawn for each.

    Returns:
        ((rows (B,), draws float32 (B, columns)),), with a mixing augmentation also those of the partners.
    """
    batch_size, steps, augment = recipe.batch_of(count), recipe.steps_per_epoch(count), recipe.augment

    def epoch_rows(epoch: tf.Tensor) -> tf.data.Dataset:
        order = tf.random.experimental.stateless_shuffle(tf.range(count), stream("order", recipe.seed, epoch))
        order = tf.concat([order, order[: steps * batch_size - count]], axis=0)
        mine = tf.reshape(order, (steps, part.parts, -1))[:, part.first : part.first + part.count]
        order = tf.reshape(mine, (-1,))
        draws = augment.draw(count, stream("augment", recipe.seed, epoch))
        rows = [order]
        if augment.mixes:  # an image's partner is any other of the set, changed by the partner's own draws
            rows.append(tf.gather(augment.partners(draws, count), order))
        slices = tuple((row, tf.gather(draws, row)) for row in rows)
        return tf.data.Dataset.from_tensor_slices(slices).batch(batch_size // part.parts, drop_remainder=True)

    return tf.data.Dataset.range(first_epoch, recipe.epochs).flat_map(epoch_rows)


def evaluation_batches(split: Split, recipe: Recipe, classes: int, task: Task) -> tf.data.Dataset:
    """All images once, in order, unchanged."""
    labels = task.targets(split.labels, recipe, classes)
    group = check_group(recipe.model.symmetry) if recipe.model else ""
    copies = find_group(group).order if group else 1
    return replace(split, labels=labels).batches(at_once(copies))


def stream(name: str, seed: int, epoch: tf.Tensor) -> tf.Tensor:
    root = tf.constant([seed, STREAMS[name]], tf.int64)
    return tf.random.experimental.stateless_fold_in(root, epoch)


def seed_all(recipe: Recipe) -> None:
    """Seeds what draws the first weights, and has operations keep to one order if the recipe asks for it."""
    keras.utils.set_random_seed(recipe.seed)
    if recipe.deterministic:
        tf.config.experimental.enable_op_determinism()


def compiled_model(recipe: ResolvedRecipe, data: Data) -> keras.Model:
    """The recipe's model with new weights, ready to train on `data`."""
    model = new_model(recipe, data)
    compile_model(model, recipe, data)
    return model


def new_model(recipe: ResolvedRecipe, data: Data) -> keras.Model:
    """The recipe's model for the kind of answers that `data` has."""
    chosen, task = recipe.model, TASKS[data.task]
    with computing_in(recipe.precision or "float32"):
        model = create_model(
            chosen.name,
            input_shape=chosen.input_shape,
            classes=len(data.class_names),
            pooling=chosen.pooling,
            hidden=chosen.hidden,
            dropout=chosen.dropout,
            weights=chosen.weights,
            activation=task.activation,
            symmetry=chosen.symmetry,
            **chosen.options,
        )
    return task.in_units(model, data)


def compile_model(model: keras.Model, recipe: Recipe, data: Data, *, rates: Mapping[int, float] | None = None) -> None:
    """Prepares a model to train on `data` by a recipe.

    Args:
        model: its scores are probabilities, or for regression a number.
        recipe: optimizer, schedule and loss.
        data: how many steps an epoch has.
        rates: factors of the learning rate by the `id` of a variable; 1 for variables that it does not have.
    """
    factors = [rates.get(id(variable), 1.0) for variable in model.trainable_variables] if rates else []
    steps, task = recipe.steps_per_epoch(len(data.train)), TASKS[data.task]
    optimizer = _optimizer(recipe, steps, factors)
    if recipe.precision == "mixed_float16":
        # Small gradients would be 0 in float16. Keras does it by itself, but not for models that were put together of
        # others, whose own policy is float32.
        optimizer = keras.optimizers.LossScaleOptimizer(optimizer)
    model.compile(
        optimizer=optimizer,
        loss=distillation_loss(recipe, recipe.distill) if recipe.distill else task.loss(recipe, data),
        loss_weights=task.loss_weight(data),
        metrics=[_metric(task, recipe)],
        jit_compile=bool(recipe.jit_compile),  # XLA slows the training step down on a CPU
        steps_per_execution=_steps_at_once(steps),
    )


def _metric(task: Task, recipe: Recipe) -> "str | keras.metrics.Metric":
    if recipe.distill:
        return LabelMean(task)
    return task.monitor if recipe.unknown is None else KnownMean(task)


class KnownMean(keras.metrics.Mean):
    """The mean of a task's monitored metric over the images that have a class: of the others, all probabilities that
    are wanted are equal."""

    def __init__(self, task: Task) -> None:
        super().__init__(name=task.monitor)
        self._task = task

    def update_state(self, y_true: tf.Tensor, y_pred: tf.Tensor, sample_weight: tf.Tensor | None = None) -> None:
        known = tf.reduce_any(y_true != y_true[:, :1], axis=1)
        super().update_state(self._task.monitored(y_true, y_pred), tf.cast(known, tf.float32))


def _steps_at_once(steps: int) -> int:
    """How many steps are run between two looks at the loss: small nets spend much of their time between steps.

    It must divide the epoch, or Keras would run beyond its end.
    """
    return max(count for count in range(1, MOST_STEPS_AT_ONCE + 1) if steps % count == 0)


def _optimizer(recipe: Recipe, steps: int, factors: Sequence[float]) -> keras.optimizers.Optimizer:
    settings = recipe.optimizer
    rate = _learning_rate(recipe, steps)
    own = {"momentum": settings.momentum, "nesterov": settings.momentum > 0} if settings.name == "sgd" else {}
    shared = {
        "learning_rate": rate,
        # Keras' AdamW takes no None; in the other optimizers a decay of 0 would be computed in every step.
        "weight_decay": settings.weight_decay or (0.0 if settings.name == "adamw" else None),
        "global_clipnorm": settings.clipnorm,
        "use_ema": settings.ema > 0,
        "ema_momentum": settings.ema or 0.99,
    }
    optimizer: Any
    if settings.name == "muon":  # Keras' own leaves convolutions to AdamW
        optimizer = Muon(**shared)
    else:
        optimizer = keras.optimizers.get({"class_name": settings.name, "config": shared | own})
    if settings.weight_decay:
        optimizer.exclude_from_weight_decay(var_names=[*UNDECAYED])
    if settings.ema:
        average_by(optimizer, lambda variables: _average(optimizer, variables))
    if factors or settings.l2:
        step = optimizer.update_step

        def own_step(gradient: Any, variable: Any, learning_rate: Any) -> None:
            # The variable comes as TensorFlow's own, which only the optimizer can tell the number of.
            if settings.l2 and not any(part in variable.name.split("/")[-1] for part in UNDECAYED):
                gradient = gradient + settings.l2 * variable
            step(
                gradient, variable, learning_rate * factors[index_of(optimizer, variable)] if factors else learning_rate
            )

        optimizer.update_step = own_step  # Keras has neither learning rates by layer nor L2 inside the gradient
    return optimizer


def _average(optimizer: keras.optimizers.Optimizer, variables: Sequence[Any]) -> None:
    """Keras' moving average, but over no more steps than there have been: it would remember the first weights for
    thousands of steps, and be of no use in a short training."""
    steps = keras.ops.cast(optimizer.iterations, "float32")
    momentum = keras.ops.minimum(optimizer.ema_momentum, steps / (steps + 10))
    for variable, average in zip(variables, averages(optimizer), strict=True):
        average.assign(momentum * average + (1 - momentum) * variable)


def _learning_rate(recipe: Recipe, steps: int) -> Any:
    """The rate as a function of the step; warm-up is linear from zero."""
    schedules, peak, schedule = keras.optimizers.schedules, recipe.optimizer.learning_rate, recipe.schedule
    total, warmup = recipe.epochs * steps, round(schedule.warmup_epochs * steps)
    if schedule.name == "cosine":
        start, target = (0.0, peak) if warmup else (peak, None)
        return schedules.CosineDecay(start, max(total - warmup, 1), warmup_target=target, warmup_steps=warmup)
    if schedule.name == "one-cycle":
        return OneCycle(peak, total)
    if schedule.name == "step":
        ends = [round(drop * total) for drop in schedule.drops]
        values = [peak * schedule.factor**number for number in range(len(ends) + 1)]
        return schedules.PiecewiseConstantDecay(ends, values)
    return peak


@keras.saving.register_keras_serializable(package="recipes")
class OneCycle(keras.optimizers.schedules.LearningRateSchedule):
    """Up from a 25th of the peak in the first 30 % of the steps, down to nothing in the rest (Smith 2018, section 4).

    Args:
        peak: the highest rate.
        steps: of the whole training.

    >>> rate = OneCycle(0.5, steps=100)
    >>> [round(float(rate(step)), 4) for step in (0, 15, 30, 65, 100)]
    [0.02, 0.26, 0.5, 0.25, 0.0]
    """

    def __init__(self, peak: float, steps: int) -> None:
        self.peak, self.steps = peak, steps

    def __call__(self, step: Any) -> tf.Tensor:
        rise = 0.3 * self.steps
        step = tf.cast(step, tf.float32)
        up = _half_cosine(self.peak / 25, self.peak, step / rise)
        down = _half_cosine(self.peak, self.peak / 25e4, (step - rise) / (self.steps - rise))
        return tf.where(step < rise, up, down)

    def get_config(self) -> dict[str, Any]:
        return {"peak": self.peak, "steps": self.steps}


def _half_cosine(start: float, end: float, progress: tf.Tensor) -> tf.Tensor:
    progress = tf.clip_by_value(progress, 0.0, 1.0)
    return end + (start - end) * (1 + tf.cos(math.pi * progress)) / 2
