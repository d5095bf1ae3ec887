"""Anatomy: receptive fields against gradients, multiply-adds against published figures, sharing against its twin."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import zoo
from zoo.anatomy import dissect
from zoo.errors import RequestError
from zoo.keras_internals import with_constants


def layers_of(anatomy):
    return {layer.name: layer for layer in anatomy.layers}


def test_lenet5_is_as_the_paper_says():
    layers = layers_of(zoo.describe("lenet5"))
    assert layers["C1"].output_shape == (28, 28, 6)
    # 1998, section II.B: C1 has 156 parameters and 122,304 connections, one more than its multiply-adds at each unit.
    assert layers["C1"].parameters == 156
    assert layers["C1"].parameters_unshared == 122_304
    assert layers["C1"].macs == 28 * 28 * 6 * 25
    assert layers["C1"].receptive_field == (5, 5)
    assert layers["S2"].stride == (2, 2)
    assert layers["S2"].receptive_field == (6, 6)
    assert layers["C3"].receptive_field == (14, 14)
    assert layers["S4"].receptive_field == (16, 16)
    assert layers["S4"].stride == (4, 4)
    assert layers["hidden_1"].receptive_field is None
    assert layers["C1"].parameters_dense == (32 * 32 + 1) * 28 * 28 * 6


def test_a_described_model_has_as_many_parameters_as_it_says():
    for name in ("mlp", "lenet5", "all_cnn_c"):
        assert zoo.describe(name).parameters == zoo.create_model(name).count_params() == zoo.get_card(name).parameters


def seen_by(model, layer, row, column):
    """The box of pixels that a unit of a layer depends on, by gradients with random weights."""
    inner = model.get_layer("backbone") if "backbone" in [part.name for part in model.layers] else model
    probe = keras.Model(inner.inputs, inner.get_layer(layer).output)
    touched = False
    for seed in range(6):
        image = tf.constant(np.random.default_rng(seed).normal(size=(1, *probe.input_shape[1:])).astype(np.float32))
        with tf.GradientTape() as tape:
            tape.watch(image)
            unit = tf.reduce_sum(probe(image, training=False)[0, row, column])
        touched |= np.abs(tape.gradient(unit, image).numpy()[0]).sum(axis=-1) > 0
    rows, columns = np.nonzero(touched)
    return (rows.min(), rows.max()), (columns.min(), columns.max())


@pytest.mark.parametrize(
    ("name", "layer", "unit", "settings"),
    [
        ("lenet5", "C3", (4, 5), {}),
        ("lenet5", "S4", (1, 3), {}),
        ("all_cnn_c", "conv2", (9, 20), {"nonlinearity": "tanh"}),
        ("all_cnn_c", "conv3", (7, 8), {"nonlinearity": "tanh"}),
        ("all_cnn_c", "conv6", (3, 4), {"nonlinearity": "tanh"}),
        ("all_cnn_c", "conv6", (4, 3), {"nonlinearity": "tanh", "input_shape": (37, 30, 3)}),
    ],
)
def test_receptive_fields_are_where_the_gradients_are(name, layer, unit, settings):
    model = zoo.create_model(name, **settings)
    described = layers_of(dissect(model))[layer]
    for axis, (low, high) in enumerate(seen_by(model, layer, *unit)):
        middle = described.offset[axis] + unit[axis] * described.stride[axis]
        reach = (described.receptive_field[axis] - 1) / 2
        limit = model.input_shape[1 + axis] - 1
        assert (low, high) == (max(middle - reach, 0), min(middle + reach, limit))


def test_branches_are_merged_to_all_that_any_of_them_sees():
    image = keras.Input((20, 20, 1))
    near = keras.layers.Conv2D(2, 1, 2, name="near")(image)
    far = keras.layers.Conv2D(2, 7, 2, padding="same", dilation_rate=1, name="far")(image)
    both = keras.layers.Add(name="both")([near, far])
    padded = keras.layers.Conv2D(2, 3, name="last")(keras.layers.ZeroPadding2D(1)(both))
    layers = layers_of(dissect(keras.Model(image, padded)))
    assert layers["near"].receptive_field == (1, 1)
    assert layers["both"].receptive_field == layers["far"].receptive_field == (7, 7)
    assert layers["last"].receptive_field == (11, 11)
    assert layers["last"].offset == layers["both"].offset == (1.0, 1.0)


def test_grouped_separable_and_depthwise_convolutions_are_counted_once_a_weight():
    image = keras.Input((8, 8, 4))
    grouped = keras.layers.Conv2D(8, 3, groups=2, name="grouped")(image)
    depthwise = keras.layers.DepthwiseConv2D(3, name="depthwise")(grouped)
    separable = keras.layers.SeparableConv2D(5, 3, name="separable")(depthwise)
    layers = layers_of(dissect(keras.Model(image, separable)))
    assert layers["grouped"].macs == 6 * 6 * 8 * 9 * 2
    assert layers["depthwise"].macs == 4 * 4 * 8 * 9
    assert layers["separable"].macs == 2 * 2 * 8 * (9 + 5)


def test_a_model_of_any_size_must_be_given_one():
    with pytest.raises(RequestError, match="fixed image size"):
        zoo.describe("all_cnn_c", input_shape=(None, None, 3))
    assert zoo.describe("all_cnn_c", input_shape=(64, 64, 3)).macs == 4 * zoo.describe("all_cnn_c").macs


# Multiply-adds as published, in millions. torchvision's documentation calls the same count GFLOPS.
PUBLISHED_MACS = {
    "alexnet": 714,  # torchvision 0.71 GFLOPS
    "vgg11": 7_609,  # torchvision 7.61
    "vgg16": 15_470,  # torchvision 15.47
    "resnet18": 1_814,  # torchvision 1.81; He et al. 2016, table 1: 1.8e9
    "resnet50": 3_858,  # He et al. 2016, table 1: 3.8e9 (the stride is in the first 1x1; 4.09 where it is in the 3x3)
    "mobilenet_v1": 569,  # Howard et al. 2017, table 4
    "mobilenet_v2": 300,  # Sandler et al. 2018, table 4
    "resnet8": 12.5,  # Banbury et al. 2021, MLPerf Tiny
}


@pytest.mark.parametrize("name", PUBLISHED_MACS)
def test_multiply_adds_are_as_published(name):
    assert zoo.describe(name).macs / 1e6 == pytest.approx(PUBLISHED_MACS[name], rel=0.005)


@pytest.mark.parametrize("name", ["lenet5", "resnet8"])
def test_multiply_adds_are_half_the_floating_point_operations_that_tensorflow_counts(name):
    model = zoo.create_model(name)
    call = tf.function(lambda x: model(x, training=False)).get_concrete_function(
        tf.TensorSpec((1, *model.input_shape[1:]), tf.float32)
    )
    graph = with_constants(call).graph
    options = tf.compat.v1.profiler.ProfileOptionBuilder.float_operation()
    options["output"] = "none"
    counted = tf.compat.v1.profiler.profile(graph, options=options).total_float_ops
    assert counted / 2 == pytest.approx(zoo.describe(name).macs, rel=0.03)  # TensorFlow adds biases and pooling


def test_a_net_without_weight_sharing_has_the_weights_that_its_twin_is_said_to_save():
    twin = {layer.name: layer.parameters for layer in zoo.describe("locally_connected").layers}
    for layer in zoo.describe("lenet5").layers:
        if layer.name in ("C1", "C3"):
            assert layer.parameters_unshared == twin[layer.name]
    assert zoo.describe("locally_connected").parameters == zoo.describe("lenet5").parameters_unshared == 423_038
