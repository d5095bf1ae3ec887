"""Each private part of Keras and TensorFlow that is used, held against what is installed: a new release tells."""

import contextlib

import forked
import keras
import numpy as np
import pytest
import tensorflow as tf

from recipes.tflite.graph import read_graph
from zoo.keras_internals import (
    CALIBRATE_ONLY,
    all_layers,
    average_by,
    averages,
    expect_sums,
    graph_that_is_not_run,
    index_of,
    nodes,
    random_states,
    round_calibrated,
    with_constants,
)


@contextlib.contextmanager
def relying_on(touch):
    """Fails with the name of what is relied on, whatever goes wrong in the block."""
    try:
        yield
    except Exception as error:
        pytest.fail(f"Keras {keras.__version__}, TensorFlow {tf.__version__}: {touch} is gone or other: {error!r}")


class Residual(keras.layers.Layer):
    """A layer that has layers, which `Model.layers` does not look into."""

    def __init__(self, **options):
        super().__init__(**options)
        self.inside = [keras.layers.BatchNormalization(name="inside"), keras.layers.Dropout(0.5)]

    def build(self, shape):
        for layer in self.inside:
            layer.build(shape)

    def call(self, x, training=None):
        normed, dropout = self.inside
        return x + dropout(normed(x, training=training), training=training)


def nested():
    image = keras.Input((4, 4, 2), name="image")
    shared = keras.layers.Conv2D(2, 1, name="shared")
    inner = keras.Sequential([keras.Input((4, 4, 2)), keras.layers.ReLU(name="relu"), Residual(name="residual")])
    x = inner(shared(shared(image)))
    return keras.Model(image, keras.layers.Add(name="add")([x, image]))


def learner(**options):
    """A model of one layer, with two variables, and its optimizer."""
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(3)])
    optimizer = keras.optimizers.SGD(0.5, **options)
    optimizer.build(model.trainable_variables)
    return model.trainable_variables, optimizer


def step(optimizer, variables):
    """One step against gradients of one, compiled as a training's is."""
    run = tf.function(lambda: optimizer.apply_gradients([(tf.ones(v.shape), v) for v in variables]))
    run()


def test_nodes_are_the_calls_of_a_model_in_an_order_in_which_they_can_be_made():
    with relying_on("Functional._nodes_by_depth"):
        model = nested()
        calls = nodes(model)
        assert [call.is_input for call in calls] == [True, False, False, False, False]
        assert [call.operation.name for call in calls[1:3]] == ["shared", "shared"]
        assert [call.operation.name for call in calls[-1:]] == ["add"]
        assert calls[0].output_tensors[0] is model.inputs[0]
        assert calls[-1].output_tensors[0] is model.outputs[0]
        made = set()
        for call in calls:
            assert {id(tensor) for tensor in call.input_tensors} <= made
            made |= {id(tensor) for tensor in call.output_tensors}
    with relying_on("Sequential._functional"):
        inner = calls[-2].operation
        assert [call.operation.name for call in nodes(inner)][1:] == ["relu", "residual"]
        assert nodes(inner)[0].output_tensors[0] is inner.inputs[0]
    assert nodes(keras.Model()) == []


def test_all_layers_are_found_inside_of_models_and_layers():
    with relying_on("Layer._flatten_layers"):
        model = nested()
        names = [layer.name for layer in all_layers(model)]
        assert {"shared", "relu", "residual", "inside", "add"} <= set(names)
        assert len(names) == len(set(names))
        assert all(layer is not model for layer in all_layers(model))


def test_random_states_decide_what_is_drawn():
    with relying_on("the name `seed_generator_state`"):
        inner = keras.Sequential([keras.Input((64,)), keras.layers.Dropout(0.5)])
        model = keras.Sequential([keras.Input((64,)), inner])
        (state,) = random_states(model)
        x, drawn = np.ones((1, 64), np.float32), []
        for seed in (1, 1, 2):
            state.assign(keras.ops.full(state.shape, seed, state.dtype))
            drawn.append(np.array(model(x, training=True)))
        assert np.array_equal(drawn[0], drawn[1])
        assert not np.array_equal(drawn[0], drawn[2])


def test_averages_are_in_the_order_of_the_variables():
    with relying_on("Optimizer._model_variables_moving_average"):
        variables, optimizer = learner(use_ema=True, ema_momentum=0.75)
        step(optimizer, variables)
        first = [np.array(average) for average in averages(optimizer)]
        step(optimizer, variables)
        assert [average.shape for average in first] == [(2, 3), (3,)]
        for one, average, value in zip(first, averages(optimizer), variables, strict=True):
            assert np.allclose(np.array(average), 0.75 * one + 0.25 * np.array(value), atol=1e-6)


def test_an_average_of_our_own_takes_the_place_of_the_optimizers():
    with relying_on("Optimizer._update_model_variables_moving_average"):
        variables, optimizer = learner(use_ema=True)

        def update(given):
            for variable, average in zip(given, averages(optimizer), strict=True):
                average.assign(variable + 7)

        average_by(optimizer, update)
        step(optimizer, variables)
        for variable, average in zip(variables, averages(optimizer), strict=True):
            assert np.allclose(np.array(average), np.array(variable) + 7)


def test_a_step_can_tell_which_variable_it_is_for():
    with relying_on("Optimizer._get_variable_index"):
        variables, optimizer = learner()
        update, seen = optimizer.update_step, {}

        def note(gradient, variable, learning_rate):
            seen[index_of(optimizer, variable)] = tuple(variable.shape)
            update(gradient, variable, learning_rate)

        optimizer.update_step = note
        step(optimizer, variables)
        assert seen == {0: (2, 3), 1: (3,)}


ON_TWO_DEVICES = """
import keras, numpy as np, tensorflow as tf
from zoo.keras_internals import expect_sums
cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
given = iter(strategy.distribute_datasets_from_function(
    lambda _: tf.data.Dataset.from_tensor_slices([[[1.0]], [[5.0]]])
))
with strategy.scope():
    variable = keras.Variable(np.zeros(1, np.float32))
    optimizer = keras.optimizers.SGD(1.0)
    optimizer.build([variable])
    norm = keras.layers.BatchNormalization(momentum=0.0)
    norm.build((None, 1))
norm.synchronized = True
expect_sums(optimizer)
@tf.function
def run(batches):
    def step(x):
        norm(x, training=True)
        optimizer.apply_gradients([(tf.ones(1), variable)])
    strategy.run(step, args=(next(batches),))
run(given)
print("moved by", float(np.array(variable)[0]))
print("mean", float(np.array(norm.moving_mean)[0]))
"""


@pytest.mark.slow
def test_devices_take_sums_as_they_come_and_share_statistics():
    done = forked.run(ON_TWO_DEVICES)
    with relying_on("BaseOptimizer._all_reduce_sum_gradients on TensorFlow"):
        assert "moved by -1.0" in done.stdout, done.stderr[-500:]
    with relying_on("BatchNormalization.synchronized, set on a layer that is there"):
        assert "mean 3.0" in done.stdout, done.stderr[-500:]


def test_the_optimizer_in_one_that_scales_losses_is_the_one_that_adds_up():
    with relying_on("LossScaleOptimizer.inner_optimizer"):
        variables, inner = learner()
        outer = keras.optimizers.LossScaleOptimizer(inner)
        assert outer.inner_optimizer is inner
    with relying_on("_all_reduce_sum_gradients of Keras' optimizer on TensorFlow"):
        expect_sums(outer)
        pairs = [(tf.ones(v.shape), v) for v in variables]
        assert inner._all_reduce_sum_gradients(pairs) is pairs
        calls = []
        inner._all_reduce_sum_gradients = lambda given: calls.append(len(given)) or given
        with tf.distribute.MirroredStrategy(["CPU:0"]).scope():
            owned, optimizer = learner()
        optimizer._all_reduce_sum_gradients = inner._all_reduce_sum_gradients
        step(optimizer, owned)
        assert calls == [2]


def test_a_function_with_constants_has_no_variables():
    with relying_on("tensorflow.python.framework.convert_to_constants"):
        weight = tf.Variable([2.0])
        function = tf.function(lambda x: x * weight).get_concrete_function(tf.TensorSpec((1,)))
        frozen = with_constants(function)
        assert not frozen.variables
        assert "ReadVariableOp" not in {operation.type for operation in frozen.graph.get_operations()}
        weight.assign([3.0])
        assert frozen(tf.constant([5.0]))[0].numpy().tolist() == [10.0]


def test_a_graph_with_ranges_is_rounded_but_for_what_is_named():
    with relying_on(f"mlir_quantize of tensorflow.lite.python.convert, or TFLiteConverter.{CALIBRATE_ONLY}"):
        kernel = tf.reshape(tf.range(18.0) - 7, (3, 3, 1, 2))
        function = tf.function(
            lambda images: tf.nn.softmax(tf.reshape(tf.nn.conv2d(images, kernel, 1, "VALID"), (1, 8)))
        )
        traced = function.get_concrete_function(tf.TensorSpec((1, 4, 4, 1), tf.float32))
        converter = tf.lite.TFLiteConverter.from_concrete_functions([traced], tf.Module())
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.representative_dataset = lambda: ([np.eye(4, dtype=np.float32)[None, :, :, None]] for _ in range(2))
        setattr(converter, CALIBRATE_ONLY, True)
        graph = converter.convert()
        (conv,) = (operator for operator in read_graph(graph).operators if operator.kind == "CONV_2D")
        name = read_graph(graph).tensors[conv.outputs[0]].name
        for floats, dtype in (([], "int8"), ([name], "float32")):
            made = read_graph(round_calibrated(graph, floats, "uint8"))
            (conv,) = (operator for operator in made.operators if operator.kind == "CONV_2D")
            assert made.tensors[conv.outputs[0]].dtype == dtype
            assert made.tensors[made.outputs[0]].dtype == "uint8"


def test_a_graph_that_is_not_run_may_read_a_variable_and_changes_nothing():
    with relying_on("FuncGraph of tensorflow.python.framework.func_graph"):
        variable = tf.Variable(1.0)
        with graph_that_is_not_run():
            value = tf.convert_to_tensor(variable.assign_add(2.0) * tf.ones((3, 4)))
        assert (value.shape, value.dtype, float(variable)) == ((3, 4), tf.float32, 1.0)
