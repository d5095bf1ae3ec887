"""Models from elsewhere: their scores are looked at, and their format is named."""

import keras
import numpy as np
import pytest

from recipes.export.scores import with_shares
from recipes.export.source import open_export_source
from recipes.run.keras_file import check_archive
from zoo.errors import RequestError


def model_of(units, activation=None):
    image = keras.Input((4, 4, 1))
    scores = keras.layers.Dense(units, activation, kernel_initializer="random_normal")(keras.layers.Flatten()(image))
    return keras.Model(image, scores, name="mine")


IMAGES = np.random.default_rng(0).integers(0, 256, (20, 4, 4, 1)).astype(np.float32)


def made(model, task="classification", classes=3):
    return with_shares(model, model(IMAGES).numpy(), task, classes)


def test_logits_get_a_softmax_and_a_line(capsys):
    model = model_of(3)
    fixed = made(model)
    np.testing.assert_allclose(fixed(IMAGES).numpy(), keras.ops.softmax(model(IMAGES)), atol=1e-6)
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert "a softmax is added" in err


@pytest.mark.parametrize(
    ("activation", "task"), [("softmax", "classification"), ("sigmoid", "multilabel"), (None, "regression")]
)
def test_what_is_right_stays(activation, task, capsys):
    model = model_of(1 if task == "regression" else 3, activation)
    assert made(model, task) is model
    assert capsys.readouterr().err == ""


def test_logits_of_several_labels_get_a_sigmoid(capsys):
    model = model_of(3)
    np.testing.assert_allclose(made(model, "multilabel")(IMAGES).numpy(), keras.ops.sigmoid(model(IMAGES)), atol=1e-6)
    assert "a sigmoid is added" in capsys.readouterr().err


@pytest.mark.parametrize("activation", ["sigmoid", None])
def test_one_sigmoid_for_two_classes_becomes_both(activation):
    model = model_of(1, activation)
    second = model(IMAGES).numpy()[:, 0] if activation else keras.ops.sigmoid(model(IMAGES)).numpy()[:, 0]
    np.testing.assert_allclose(made(model, classes=2)(IMAGES).numpy(), np.stack([1 - second, second], 1), atol=1e-6)


def test_a_probability_of_its_own_for_each_class_is_refused():
    with pytest.raises(RequestError, match="mine gives each class a probability of its own"):
        made(model_of(3, "sigmoid"))


@pytest.mark.parametrize(
    ("name", "way"), [("old.h5", "save it anew"), ("old.weights.h5", "load_weights"), ("x.keras", "anew")]
)
def test_hdf5_is_named_with_the_way_on(tmp_path, name, way):
    path = tmp_path / name
    path.write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(100))
    for call in (lambda: open_export_source(path, "digits"), lambda: check_archive(path)):
        with pytest.raises(RequestError, match=f"is an HDF5 file.*{way}") as caught:
            call()
        assert "\n" not in str(caught.value)
