"""Running statistics are right when a small data set has been trained on, and were not with Keras' momentum."""

import keras
import numpy as np
import pytest
from sklearn.datasets import load_digits

import zoo
from zoo.normalization import MOMENTUM

KERAS_DEFAULT = keras.layers.BatchNormalization().momentum


def test_ready_made_models_get_our_momentum_and_keep_a_quicker_one():
    from zoo.normalization import quicken_statistics

    x = keras.Input((4, 4, 2))
    y = keras.layers.BatchNormalization(momentum=0.999, name="slow")(x)
    model = keras.Model(x, keras.layers.BatchNormalization(momentum=0.5, name="quick")(y))
    quicken_statistics(model)
    assert (model.get_layer("slow").momentum, model.get_layer("quick").momentum) == (MOMENTUM, 0.5)
    again = keras.Model.from_config(model.get_config())
    assert again.get_layer("slow").momentum == MOMENTUM


@pytest.mark.slow
@pytest.mark.parametrize(
    "momentum",
    [
        pytest.param(None, id="ours"),
        pytest.param(KERAS_DEFAULT, id="keras", marks=pytest.mark.xfail(strict=True, raises=AssertionError)),
    ],
)
def test_after_ninety_steps_it_validates_nearly_as_it_trains(momentum):
    """Training 94 % either way; validation 92 % with 0.9, and 14 % with Keras' 0.99."""
    digits = load_digits()
    images = np.repeat(np.repeat(digits.images[..., None] * (255 / 16), 2, axis=1), 2, axis=2)
    keras.utils.set_random_seed(0)
    model = zoo.create_model("resnet8", input_shape=(16, 16, 1))
    for layer in model.get_layer("backbone").layers:
        if momentum and isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = momentum
    model.compile(
        keras.optimizers.Adam(1e-3), "sparse_categorical_crossentropy", metrics=["accuracy"], jit_compile=False
    )
    seen = model.fit(images[:1472], digits.target[:1472], batch_size=32, epochs=2, verbose=0).history["accuracy"][-1]
    _, unseen = model.evaluate(images[1472:], digits.target[1472:], verbose=0)
    assert seen > 0.85
    assert unseen > seen - 0.15
