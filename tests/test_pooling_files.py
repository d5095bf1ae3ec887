"""Average pooling in an int8 file is a convolution, which a CPU runs in one piece with its neighbours."""

import numpy as np
import pytest

from recipes.data import Split
from recipes.export import convert
from recipes.export.pooling import MOST, pooling_as_convolution
from recipes.tflite.file import TFLiteFile
from zoo.backend import keras

layers = keras.layers
IMAGES = np.random.default_rng(0).integers(0, 256, (50, 12, 12, 3), np.uint8)
SPLIT = Split(IMAGES, np.zeros(len(IMAGES), int))


def files(pooling, tmp_path):
    image = keras.Input((12, 12, 3))
    keras.utils.set_random_seed(0)
    x = pooling(layers.Conv2D(5, 3, activation="tanh")(layers.Rescaling(1 / 255)(image)))
    x = layers.Dense(4)(layers.Flatten()(x))
    plain = convert(keras.Model(image, layers.Softmax()(x)), "int8", SPLIT)
    made = []
    for name, content in (("plain", plain), ("made", pooling_as_convolution(plain))):
        (tmp_path / f"{name}.tflite").write_bytes(content)
        made.append(TFLiteFile(tmp_path / f"{name}.tflite", keep_all=True))
    return made


@pytest.mark.parametrize(("size", "strides"), [(2, 2), (3, 2), (3, 1), ((1, 2), (2, 1)), (4, 4)])
def test_the_mean_is_that_of_numpy_to_half_a_level(size, strides, tmp_path):
    _, file = files(layers.AveragePooling2D(size, strides), tmp_path)
    assert "AVERAGE_POOL_2D" not in file.operators
    operator = next(operator for operator in file.graph.operators if operator.kind == "DEPTHWISE_CONV_2D")
    step = file.graph.tensors[operator.outputs[0]].scales[0]
    (high, wide), (down, right) = ((value, value) if isinstance(value, int) else value for value in (size, strides))
    for image in IMAGES[:10]:
        file.set_input(image)
        file.invoke()
        given, made = file.tensor(operator.inputs[0])[0], file.tensor(operator.outputs[0])[0]
        windows = np.lib.stride_tricks.sliding_window_view(given, (high, wide), (0, 1))[::down, ::right]
        np.testing.assert_allclose(made, windows.mean((-1, -2)), atol=0.51 * step)


def test_scores_are_those_of_pooling_to_two_levels(tmp_path):
    plain, made = files(layers.AveragePooling2D(2), tmp_path)
    np.testing.assert_allclose(made.predict(IMAGES), plain.predict(IMAGES), atol=2.01 / 256)
    assert len(made.content) < len(plain.content) + 2000


@pytest.mark.parametrize(
    "pooling",
    [layers.AveragePooling2D(3, padding="same"), layers.AveragePooling2D(MOST // 2 - 1), layers.MaxPooling2D(2)],
    ids=["counts fewer places at the borders", "of many places", "not a mean"],
)
def test_other_pooling_stays(pooling, tmp_path):
    plain, made = files(pooling, tmp_path)
    assert made.content == plain.content


def test_a_run_is_exported_so(digits_run, tmp_path):
    from recipes.export.handover import export

    result = export(digits_run, to="int8", out=tmp_path / "one.tflite")
    assert "AVERAGE_POOL_2D" not in result.operators
    assert "AVERAGE_POOL_2D" in export(digits_run, to="c-array", out=tmp_path / "one.cc").operators
