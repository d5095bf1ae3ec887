"""Equivariance: measured right on layers whose behaviour under a shift is known."""

import keras
import numpy as np
import pytest

from recipes.evaluate.equivariance import equivariance_errors, shifted
from zoo import create_model


@pytest.fixture(scope="module")
def images():
    return np.random.default_rng(0).integers(0, 256, (6, 32, 32, 1), np.uint8)


def network(build):
    """The frame that `zoo.create_model` puts around a backbone."""
    keras.utils.set_random_seed(0)
    image, inner = keras.Input((32, 32, 1)), keras.Input((32, 32, 1))
    backbone = keras.Model(inner, build(inner), name="backbone")
    features = backbone(keras.layers.Rescaling(1 / 255, name="rescaling")(image))
    logits = keras.layers.Dense(2)(keras.layers.GlobalAveragePooling2D()(features))
    return keras.Model(image, keras.layers.Activation("softmax", name="scores")(logits))


def errors_of(build, images):
    return {row["layer"]: row["error"] for row in equivariance_errors(network(build), images)}


def test_a_convolution_follows_a_shift_exactly(images):
    layers = keras.layers
    errors = errors_of(lambda x: layers.Conv2D(4, 3, name="b")(layers.Conv2D(4, 5, name="a")(x)), images)
    assert list(errors) == ["a", "b"]
    assert max(errors.values()) < 1e-5


def test_a_layer_with_weights_of_its_own_everywhere_does_not(images):
    from zoo.layers import register_layers

    register_layers()
    own = create_model("locally_connected", input_shape=(32, 32, 1))
    first = equivariance_errors(own, images)[0]
    assert first["stride"][0] >= 1
    assert 0.8 < first["error"] < 1.2


def test_a_stride_loses_shifts_between_its_steps(images):
    def thinned(x):
        return keras.layers.Conv2D(4, 3, strides=2, name="thinned")(x)

    def smoothed(x):
        return keras.layers.AveragePooling2D(8, strides=2, name="smoothed")(x)

    model = network(thinned)
    assert equivariance_errors(model, images)[0]["stride"] == [2, 2]
    assert errors_of(thinned, images)["thinned"] > 0.3  # noise between two units cannot be known
    assert errors_of(smoothed, images)["smoothed"] < 0.5 * errors_of(thinned, images)["thinned"]


def test_layers_behind_squeeze_and_excitation_are_followed_too():
    model = create_model("keras_mobilenet_v3_small", input_shape=(64, 64, 3), classes=2, hidden=())
    photographs = np.random.default_rng(0).integers(0, 256, (2, 64, 64, 3), np.uint8)
    rows = equivariance_errors(model, photographs)
    convolutions = [
        layer
        for layer in model.get_layer("backbone").layers
        if isinstance(layer, keras.layers.Conv2D | keras.layers.DepthwiseConv2D) and min(layer.output.shape[1:3]) > 1
    ]
    assert {layer.name for layer in convolutions} <= {row["layer"] for row in rows}


def test_padding_is_felt_at_the_border_only(images):
    valid = errors_of(lambda x: keras.layers.Conv2D(4, 5, name="c")(x), images)["c"]
    same = errors_of(lambda x: keras.layers.Conv2D(4, 5, padding="same", name="c")(x), images)["c"]
    assert valid < 1e-5 < same < 0.5


def test_a_model_without_feature_maps_has_nothing_to_follow(images):
    assert equivariance_errors(create_model("mlp", input_shape=(32, 32, 1)), images) == []


def test_a_shift_moves_what_is_there_and_repeats_the_edge():
    image = np.arange(9, dtype=np.uint8).reshape(1, 3, 3, 1)
    assert shifted(image, 1, 1)[0, :, :, 0].tolist() == [[0, 0, 1], [3, 3, 4], [6, 6, 7]]
    assert shifted(image, 2, 0)[0, :, :, 0].tolist() == [[0, 1, 2], [0, 1, 2], [0, 1, 2]]
