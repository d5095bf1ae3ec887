"""Every architecture becomes a TFLite file: builtin operations only, the same function, as large as its weights."""

import keras
import numpy as np
import pytest

import zoo
from recipes.data import Split
from recipes.data.decoding import to_array
from recipes.data.readers.digits import read_digits
from recipes.export import convert
from recipes.tflite.file import TFLiteFile
from zoo import create_model
from zoo.anatomy import dissect

QUICK = ("lenet5",)
LARGEST = 6e6  # parameters
# Sizes of the MLPerf Tiny reference model for image classification (mlcommons/tiny, ic), in bytes.
REFERENCE = {"float32": 318_144, "int8": 98_496}


def small_models():
    """The smallest of every family; its larger ones are made of the same layers."""
    cards = sorted(map(zoo.get_card, zoo.list_models()), key=lambda card: -card.parameters)
    smallest = {card.family: card.name for card in cards if not card.name.startswith("keras_")}
    for name in sorted({*QUICK, *smallest.values()} - {card.name for card in cards if card.parameters > LARGEST}):
        yield pytest.param(name, marks=() if name in QUICK else pytest.mark.slow)


@pytest.fixture(scope="module")
def digits():
    return read_digits()


def images(digits, shape):
    from PIL import Image

    images, labels = digits
    rows = np.linspace(0, len(labels) - 1, 60).astype(int)
    return Split(np.stack([to_array(Image.fromarray(images[i, :, :, 0]), shape) for i in rows]), labels[rows])


@pytest.mark.parametrize("name", list(small_models()))
def test_an_architecture_is_exported(name, digits, tmp_path):
    height, width, channels = zoo.get_card(name).input_shape
    shape = (min(height, 64), min(width, 64), channels)
    # Logits: the softmax of a net that learned nothing is flat, and hides what is wrong.
    keras.utils.set_random_seed(0)
    model = create_model(name, input_shape=shape, activation="linear")
    split = images(digits, shape)
    for _ in range(30):  # running statistics of real images: with those of a new net what comes out fades to nothing
        model(split.images[:32], training=True)
    expected = model.predict(split.images, verbose=0)
    for kind, bytes_each, error in (("float32", 4, 1e-4), ("int8", 1, 0.3)):
        content = convert(model, kind, split, output_type="float32")
        (tmp_path / "model.tflite").write_bytes(content)
        received = TFLiteFile(tmp_path / "model.tflite").predict(split.images)
        assert np.sqrt(np.square(received - expected).mean() / np.square(expected).mean()) < error, kind
        assert len(content) < bytes_each * 1.2 * dissect(model).parameters_expanded + 100_000


@pytest.mark.slow
def test_resnet8_is_no_larger_than_the_reference(digits):
    model = create_model("resnet8", classes=10)
    split = images(digits, (32, 32, 3))
    for kind, size in REFERENCE.items():
        assert len(convert(model, kind, split)) <= 1.02 * size
