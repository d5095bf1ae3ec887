"""Invariance: measured right on models whose answers under a transformation are known."""

import keras
import numpy as np
import pytest

from recipes.data import Split
from recipes.evaluate.invariance import measure_invariance


@pytest.fixture(scope="module")
def bright_spots():
    """Images with one bright spot, left or right of the middle; the label says which."""
    images, labels = np.zeros((40, 16, 16, 1), np.uint8), np.arange(40) % 2
    for i, label in enumerate(labels):
        column = 12 if label else 2
        images[i, 6:10, column : column + 2] = 255
    return Split(images, labels)


def model_of(function):
    image = keras.Input((16, 16, 1))
    return keras.Model(image, function(image / 255.0))


@pytest.fixture(scope="module")
def which_side(bright_spots):
    """Right as long as the spot stays on its side."""
    return model_of(
        lambda x: keras.ops.softmax(
            keras.ops.stack([keras.ops.sum(x[:, :, :8], (1, 2, 3)), keras.ops.sum(x[:, :, 8:], (1, 2, 3))], axis=1)
        )
    )


def test_a_model_that_sees_only_the_mean_is_perfectly_consistent(bright_spots):
    blind = model_of(lambda x: keras.ops.softmax(keras.ops.concatenate([0 * x[:, 0, 0] + 1, 0 * x[:, 0, 0]], axis=1)))
    measured = measure_invariance(blind, bright_spots)
    for name in ("rotation", "translation", "scale", "mirror", "affine"):
        assert measured[name]["consistency"] == [1.0] * len(measured[name]["values"])
        assert measured[name]["accuracy"] == [0.5] * len(measured[name]["values"])
        assert measured[name]["score"] == pytest.approx(1.0)
    assert measured["shift_consistency"] == 1.0
    assert measured["overall"] == pytest.approx(1.0)


def test_a_model_that_tells_sides_is_wrong_in_the_mirror_and_upside_down(bright_spots, which_side):
    measured = measure_invariance(which_side, bright_spots)
    assert measured["mirror"]["values"] == ["horizontal", "vertical"]
    assert measured["mirror"]["accuracy"] == [0.0, 1.0]
    assert measured["mirror"]["consistency"] == [0.0, 1.0]
    assert measured["mirror"]["score"] == 0.5
    assert measured["mirror"]["score_drop"][0] > 0.9
    rotation = dict(zip(measured["rotation"]["values"], measured["rotation"]["accuracy"], strict=True))
    assert (rotation[0], rotation[30], rotation[-45], rotation[180]) == (1.0, 1.0, 1.0, 0.0)
    assert measured["rotation"]["score"] == pytest.approx(1.0)  # the half turn does not count
    scale = dict(zip(measured["scale"]["values"], measured["scale"]["accuracy"], strict=True))
    assert scale[0.5] == scale[1.0] == 1.0


def test_a_shift_over_the_middle_changes_the_answer(bright_spots, which_side):
    far = Split(np.roll(bright_spots.images, 4, axis=2), bright_spots.labels)[bright_spots.labels == 0]
    measured = measure_invariance(which_side, far)["translation"]
    assert measured["values"][0] == 0.0
    assert measured["accuracy"][0] == 1.0
    # Spots at columns 6 and 7: three of the eight directions lead over the middle, three away from it.
    assert measured["accuracy"][-1] == pytest.approx(5 / 8)


def test_the_same_seed_measures_the_same(bright_spots, which_side):
    assert measure_invariance(which_side, bright_spots) == measure_invariance(which_side, bright_spots)
