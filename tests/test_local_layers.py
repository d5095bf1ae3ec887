"""Layers without full weight sharing, against the convolutions that they differ from."""

import keras
import numpy as np
import pytest

from zoo.errors import RequestError
from zoo.layers.local import LocallyConnected2D, TableConv2D


@pytest.mark.parametrize(("size", "kernel", "strides"), [((7, 6), 3, 1), ((8, 9), 3, 2), ((5, 5), 5, 1)])
def test_with_equal_weights_everywhere_it_is_a_convolution(size, kernel, strides):
    x = np.random.default_rng(0).normal(size=(2, *size, 3)).astype("float32")
    convolution = keras.layers.Conv2D(4, kernel, strides, activation="tanh", bias_initializer="random_normal")
    expected = convolution(x)
    local = LocallyConnected2D(4, kernel, strides, activation="tanh")
    assert local(x).shape == expected.shape == local.compute_output_shape(x.shape)
    places = expected.shape[1:3]
    shared, bias = (weight.numpy() for weight in (convolution.kernel, convolution.bias))
    local.set_weights(
        [np.broadcast_to(shared.reshape(-1, 4), (*places, kernel**2 * 3, 4)), np.broadcast_to(bias, (*places, 4))]
    )
    np.testing.assert_allclose(local(x), expected, atol=1e-5)


def test_a_table_convolution_is_a_convolution_with_zeros_where_nothing_is_connected():
    table = ((0, 2), (1,), (0, 1, 2))
    x = np.random.default_rng(0).normal(size=(2, 7, 6, 3)).astype("float32")
    layer = TableConv2D(table, 3)
    y = layer(x)
    assert y.shape == layer.compute_output_shape(x.shape) == (2, 5, 4, 3)
    assert layer.count_params() == 9 * 6 + 3
    layer.bias.assign([1.0, 2.0, 3.0])
    kernel, column = np.zeros((3, 3, 3, 3), "float32"), 0
    for target, sources in enumerate(table):
        for source in sources:
            kernel[:, :, source, target] = layer.kernel.numpy()[:, :, column]
            column += 1
    convolution = keras.layers.Conv2D(3, 3)
    convolution.build(x.shape)
    convolution.set_weights([kernel, np.array([1.0, 2.0, 3.0])])
    np.testing.assert_allclose(layer(x), convolution(x), atol=1e-5)


@pytest.mark.parametrize("layer", [LocallyConnected2D(4, 3, 2, activation="relu"), TableConv2D(((0, 1), (1,)), 3)])
def test_comes_back_from_its_config(layer):
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(layer))
    assert type(again) is type(layer)
    assert again.get_config() == layer.get_config()


def test_what_cannot_be_built_raises():
    with pytest.raises(RequestError, match="filters=0"):
        LocallyConnected2D(0, 3)
    with pytest.raises(RequestError, match="at least 5 a side"):
        LocallyConnected2D(2, 5).build((None, None, 8, 1))
    with pytest.raises(RequestError, match="beyond the 2"):
        TableConv2D(((0, 2),), 3).build((None, 8, 8, 2))
    with pytest.raises(RequestError, match="at least one input map"):
        TableConv2D(((0,), ()), 3)
