"""Corrected biases: each channel of an int8 file has the mean that it has in float32, and the file is no larger."""

import numpy as np
import pytest

from recipes.data import Split
from recipes.export import convert
from recipes.export.biases import corrected
from recipes.tflite.file import TFLiteFile
from zoo.backend import keras

layers = keras.layers
IMAGES = np.random.default_rng(0).integers(0, 256, (60, 10, 10, 3), np.uint8)
LAYERS = ("first", "across", "second", "scores")


@pytest.fixture(scope="module")
def model():
    """One weight of each kernel is forty times as large as the others, which int8 rounds to a few levels therefore."""
    keras.utils.set_random_seed(0)
    image = keras.Input((10, 10, 3))
    x = layers.Rescaling(1 / 255)(image)
    x = layers.Conv2D(8, 3, activation="relu", name="first")(x)
    x = layers.DepthwiseConv2D(3, padding="same", activation="relu6", name="across")(x)
    x = layers.Conv2D(8, 1, activation="relu", name="second")(x)
    x = layers.Dense(5, name="scores")(layers.GlobalAveragePooling2D()(x))
    made = keras.Model(image, layers.Softmax()(x))
    draw = np.random.default_rng(1)
    for name in LAYERS:
        kernel, bias = made.get_layer(name).get_weights()
        kernel = np.abs(draw.normal(0.02, 0.02, kernel.shape))
        kernel.reshape(-1, kernel.shape[-1])[0] = -0.4 if name == "across" else 0.8
        if name == "across":
            kernel = np.abs(kernel)
        made.get_layer(name).set_weights([kernel, np.full_like(bias, 0.01)])
    return made


@pytest.fixture
def opened(tmp_path):
    def of(content):
        (tmp_path / "one.tflite").write_bytes(content)
        return TFLiteFile(tmp_path / "one.tflite", keep_all=True)

    return of


def means(file, images):
    """Of what each of `LAYERS` makes, (C,) by name."""
    found = {}
    for name in LAYERS:
        made = next(
            operator.outputs[0]
            for operator in file.graph.operators
            if f"{name}_1/" in file.graph.tensors[operator.outputs[0]].name or operator.layer == name
        )
        rows = []
        for image in images:
            file.set_input(image)
            file.invoke()
            values = file.tensor(made)
            rows.append(values.reshape(-1, values.shape[-1]).mean(axis=0))
        found[name] = np.mean(rows, axis=0)
    return found


def test_each_channel_has_its_mean_again(model, opened):
    split = Split(IMAGES, np.zeros(len(IMAGES), int))
    exact, plain = (opened(convert(model, kind, split)) for kind in ("float32", "int8"))
    content = corrected(plain, exact, opened, IMAGES[:30])
    assert len(content) <= len(plain.content) + 2048
    expected = means(exact, IMAGES[30:])
    before, after = means(plain, IMAGES[30:]), means(opened(content), IMAGES[30:])
    for name in LAYERS:
        shift, left = (np.abs(found[name] - expected[name]).mean() for found in (before, after))
        assert left < 0.35 * shift, name


def test_what_is_right_already_stays(model, opened):
    split = Split(IMAGES, np.zeros(len(IMAGES), int))
    exact = opened(convert(model, "float32", split))
    same = opened(corrected(exact, exact, opened, IMAGES[:5]))
    np.testing.assert_array_equal(same.predict(IMAGES), exact.predict(IMAGES))


def test_a_channel_at_its_limit_is_left_alone(opened):
    """ReLU6 gives 6 everywhere in it: no bias would bring the mean back, and a very large one would be tried."""
    image = keras.Input((10, 10, 3))
    conv = layers.Conv2D(4, 3, activation="relu6", name="first")
    made = keras.Model(image, layers.Softmax()(layers.GlobalAveragePooling2D()(conv(image))))
    kernel, _ = conv.get_weights()
    conv.set_weights([np.abs(kernel) * 0.01, np.array([50.0, 0.0, 0.5, -0.5])])
    split = Split(IMAGES, np.zeros(len(IMAGES), int))
    exact, plain = (opened(convert(made, kind, split)) for kind in ("float32", "int8"))
    biases = []
    for file in (plain, opened(corrected(plain, exact, opened, IMAGES[:10]))):
        operator = next(operator for operator in file.graph.operators if operator.kind == "CONV_2D")
        biases.append(file.tensor(operator.inputs[2]).ravel())
    assert biases[1][0] == biases[0][0]
    assert (biases[1][1:] != biases[0][1:]).any()
