"""A symmetry that is built in is looked at in evaluation and export, and one that does not hold is refused."""

import json

import keras
import numpy as np
import pytest

from recipes.evaluate import evaluate
from recipes.evaluate.symmetry import measure_symmetry, symmetry_of_model
from recipes.export import export
from recipes.tasks.words import symmetry, unchanged
from recipes.text.files import exported
from zoo import layers
from zoo.errors import FailureError

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy:DeprecationWarning")


def network(*, broken=False, size=10, classes=10):
    """A small network under quarter turns; a plain convolution in its midst makes it one no more."""
    keras.utils.set_random_seed(3)
    x = image = keras.Input((size, size, 1))
    x = layers.LiftingConv2D(3, 3, activation="relu")(keras.layers.Rescaling(1 / 255)(x))
    if broken:
        x = keras.layers.Conv2D(12, 3, padding="same", activation="relu")(x)
    x = layers.GroupConv2D(4, 3, activation="relu")(layers.FieldPooling2D(2)(x))
    x = keras.layers.GlobalMaxPooling2D()(layers.GroupPooling()(x))
    return keras.Model(image, keras.layers.Dense(classes, activation="softmax")(x), name="four_ways")


@pytest.fixture
def images():
    return np.random.default_rng(0).integers(0, 256, (30, 10, 10, 1)).astype("uint8")


def test_every_element_is_measured(images):
    found = measure_symmetry(lambda x: x[:, 0, :2, 0].astype("float32"), images, "d4", most=20)
    assert list(found.differences) == [
        *("90 degrees", "180 degrees", "270 degrees", "mirrored"),
        *("mirrored, 90 degrees", "mirrored, 180 degrees", "mirrored, 270 degrees"),
    ]
    assert found.images == 20
    corners = images[np.linspace(0, 29, 20).round().astype(int)][:, :, ::-1].astype(int)
    before = images[np.linspace(0, 29, 20).round().astype(int)].astype(int)
    assert found.differences["mirrored"] == np.abs(corners - before)[:, 0, :2].max()


def test_a_symmetry_that_holds_is_told_and_one_that_does_not_is_an_error_of_the_model(images):
    assert symmetry_of_model(network(), images).largest < 1e-6
    assert symmetry_of_model(keras.Sequential([keras.Input((10, 10, 1)), keras.layers.Flatten()]), images) is None
    with pytest.raises(
        FailureError, match=r"four_ways is built .* under c4, and a score changes by .* rotated by"
    ) as told:
        symmetry_of_model(network(broken=True), images)
    assert "\n" not in str(told.value)


def test_a_model_of_half_precision_is_held_to_what_that_rounds(images):
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        model = network()
    finally:
        keras.config.set_dtype_policy(before)
    assert symmetry_of_model(model, images).largest < 0.05


@pytest.mark.slow
def test_an_export_is_refused_where_the_model_is_broken(tmp_path):
    network(broken=True).save(tmp_path / "broken.keras")
    with pytest.raises(FailureError, match="four_ways is built to give the same scores under c4"):
        export(tmp_path / "broken.keras", to="int8", data="digits", force=True)
    assert [file.name for file in tmp_path.iterdir()] == ["broken.keras"]


def test_an_export_says_that_scores_are_the_same_to_the_last_bit(tmp_path):
    network().save(tmp_path / "net.keras")
    result = export(tmp_path / "net.keras", to="int8", data="digits", force=True, budget={"agreement": 0, "drop": 1})
    assert result.symmetry["group"] == "c4"
    assert result.symmetry["differences"] == {"90 degrees": 0.0, "180 degrees": 0.0, "270 degrees": 0.0}
    assert result.symmetry["images"] == 1000
    assert json.dumps(result.to_dict())
    assert "c4. Scores of 1,000 images under 3 elements: the same to the last bit" in exported(result)


def test_what_changed_is_said_in_words():
    measured = {"group": "d4", "differences": dict.fromkeys("abcdefg", 0.0), "largest": 2.5e-7, "images": 40}
    assert unchanged(measured) == "Scores of 40 images under 7 elements: changed by at most 2.5e-07"
    assert symmetry(measured).startswith("Symmetry built in: d4. Scores of")


@pytest.mark.slow
def test_evaluation_puts_it_beside_what_is_measured(trained, tmp_path):
    run = trained("rosette_d4", "epochs=1", "model.input_shape=[15,15,1]")
    metrics = evaluate(run, invariance=True)
    assert metrics["symmetry"]["group"] == "d4"
    assert metrics["symmetry"]["largest"] < 1e-4
    rotation = metrics["invariance"]["rotation"]
    at_quarters = [c for angle, c in zip(rotation["values"], rotation["consistency"], strict=True) if angle >= 90]
    assert min(at_quarters + metrics["invariance"]["mirror"]["consistency"]) == 1.0
    assert json.loads((run.path / "metrics.json").read_text("utf-8"))["symmetry"] == metrics["symmetry"]
