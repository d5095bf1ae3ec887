"""Each layer against what NumPy or SciPy makes of the same numbers."""

import subprocess
import sys
from itertools import product
from pathlib import Path
from typing import get_args

import keras
import numpy as np
import pytest
import scipy.ndimage
import scipy.signal
import tensorflow as tf
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from reference import PRECISION, margins, nearly, positive, windows, with_weights

from zoo import layers
from zoo.errors import RequestError

ROOT = Path(__file__).parents[1]
FEW = settings(max_examples=25, deadline=None, derandomize=True)


@st.composite
def cases(draw):
    size, pool, strides = (draw(st.tuples(st.integers(1, n), st.integers(1, n))) for n in (9, 4, 3))
    padding = draw(st.sampled_from(["valid", "same"]))
    assume(padding == "same" or (size[0] >= pool[0] and size[1] >= pool[1]))
    dtype = draw(st.sampled_from(list(PRECISION)))
    x = positive((draw(st.integers(1, 2)), *size, draw(st.integers(1, 3))), draw(st.integers(0, 99)))
    signed = draw(st.booleans())
    x = x - 0.5 if signed else x
    return (
        keras.ops.convert_to_numpy(keras.ops.cast(keras.ops.cast(x, dtype), "float64")),
        pool,
        strides,
        padding,
        dtype,
    )


@FEW
@given(cases())
def test_weighted_average_against_numpy(case):
    x, pool, strides, padding, dtype = case
    layer = with_weights(layers.WeightedAveragePooling2D(pool, strides, padding, dtype=dtype), x.shape)
    logits = keras.ops.convert_to_numpy(keras.ops.cast(layer.logits, "float64"))
    weights = (np.exp(logits) / np.exp(logits).sum(0)).T.reshape(-1, *pool)
    inside = windows(x, pool, strides, padding)
    there = np.where(np.isnan(inside), 0, weights)
    nearly(layer(x), (there * np.nan_to_num(inside)).sum((-1, -2)) / there.sum((-1, -2)), dtype)


@FEW
@given(cases())
def test_weighted_average_starts_as_the_average(case):
    x, pool, strides, padding, _ = case
    expected = keras.layers.AveragePooling2D(pool, strides, padding)(x)
    nearly(layers.WeightedAveragePooling2D(pool, strides, padding)(x), expected.numpy())


@FEW
@given(cases(), st.sampled_from([1.0, 2.0, 3.0, 4.5, 12.0]))
def test_lp_against_numpy(case, p):
    x, pool, strides, padding, dtype = case
    expected = np.nansum(np.abs(windows(x, pool, strides, padding)) ** p, (-1, -2)) ** (1 / p)
    nearly(layers.LpPooling2D(pool, strides, padding, p, dtype=dtype)(x), expected, dtype)


@FEW
@given(cases(), st.data())
def test_order_statistic_against_numpy(case, data):
    x, pool, strides, padding, dtype = case
    assume(all(max(margins(n, p, s)) <= n for n, p, s in zip(x.shape[1:3], pool, strides, strict=True)))
    count = pool[0] * pool[1]
    rank = data.draw(st.one_of(st.just("median"), st.integers(-count, count - 1)))
    inside = windows(x, pool, strides, padding, mode="symmetric")
    ordered = np.sort(inside.reshape(*inside.shape[:4], count))
    expected = np.median(ordered, -1) if rank == "median" else ordered[..., rank]
    nearly(layers.OrderStatisticPooling2D(pool, strides, padding, rank, dtype=dtype)(x), expected, dtype)


def test_the_median_is_scipys():
    x = positive((1, 7, 8, 1))
    expected = scipy.ndimage.median_filter(x[0, :, :, 0], 3, mode="reflect")[None, ..., None]
    nearly(layers.OrderStatisticPooling2D(3, strides=1, padding="same")(x), expected)


@FEW
@given(cases())
def test_the_largest_rank_is_the_maximum(case):
    x, pool, strides, _, _ = case
    assume(x.shape[1] >= pool[0] and x.shape[2] >= pool[1])
    expected = keras.layers.MaxPooling2D(pool, strides)(x)
    nearly(layers.OrderStatisticPooling2D(pool, strides, rank=-1)(x), expected.numpy())


@FEW
@given(cases())
def test_stochastic_expectation_against_numpy(case):
    x, pool, strides, padding, dtype = case
    values = np.maximum(np.nan_to_num(windows(x, pool, strides, padding)), 0)
    total = values.sum((-1, -2))
    expected = (values**2).sum((-1, -2)) / np.where(total > 0, total, 1)
    nearly(layers.StochasticPooling2D(pool, strides, padding, dtype=dtype)(x), expected, dtype)


def test_stochastic_draws_in_proportion_to_the_values():
    values = np.array([[0.5, 1.5], [3.0, -2.0]])
    x = np.tile(values[None, :, :, None], (8000, 1, 1, 1)).astype("float32")
    layer = layers.StochasticPooling2D(2, seed=3)
    drawn = layer(x, training=True).numpy().ravel()
    assert set(drawn) == {0.5, 1.5, 3.0}
    np.testing.assert_allclose([(drawn == v).mean() for v in (0.5, 1.5, 3.0)], [0.1, 0.3, 0.6], atol=0.02)
    assert (layer(x, training=True).numpy().ravel() != drawn).any()
    np.testing.assert_array_equal(layers.StochasticPooling2D(2, seed=3)(x, training=True).numpy().ravel(), drawn)


def test_stochastic_gradient_goes_to_what_was_drawn():
    x = tf.constant(positive((2, 4, 4, 3)), "float32")
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = layers.StochasticPooling2D(2, seed=1)(x, training=True)
    gradient = tape.gradient(y, x).numpy()
    assert set(gradient.ravel()) == {0, 1}
    np.testing.assert_array_equal(windows(gradient, (2, 2), (2, 2), "valid").sum((-1, -2)), 1)
    nearly(windows(gradient * x.numpy(), (2, 2), (2, 2), "valid").sum((-1, -2)), y.numpy().astype("float64"))


def test_stochastic_pooling_without_a_positive_value_gives_zero():
    x = -positive((1, 4, 4, 1))
    for training in (True, False):
        np.testing.assert_array_equal(layers.StochasticPooling2D(2)(x, training=training), np.zeros((1, 2, 2, 1)))


@FEW
@given(cases(), st.sampled_from(["max", "average"]), st.integers(1, 5))
def test_blur_against_numpy(case, statistic, filter_size):
    x, pool, strides, padding, dtype = case
    row = np.array([1.0])
    for _ in range(filter_size - 1):
        row = np.convolve(row, [0.5, 0.5])
    pooled = {"max": np.nanmax, "average": np.nanmean}[statistic](windows(x, pool, (1, 1), padding), (-1, -2))
    around = windows(pooled, (filter_size, filter_size), strides, "same")
    weights = np.where(np.isnan(around), 0, np.outer(row, row))
    expected = (weights * np.nan_to_num(around)).sum((-1, -2)) / weights.sum((-1, -2))
    nearly(layers.BlurPooling2D(pool, strides, padding, statistic, filter_size, dtype=dtype)(x), expected, dtype)


def test_blur_pooling_changes_less_when_the_image_is_shifted():
    x = np.random.default_rng(0).normal(size=(8, 33, 33, 4))

    def change(layer):
        return float(np.abs(layer(x[:, 1:, 1:]).numpy() - layer(x[:, :-1, :-1]).numpy()).mean())

    assert change(layers.BlurPooling2D(2)) < 0.6 * change(keras.layers.MaxPooling2D(2))


@FEW
@given(cases())
def test_every_pooling_gives_a_map_of_the_size_that_maximum_gives(case):
    x, pool, strides, padding, _ = case
    expected = keras.layers.MaxPooling2D(pool, strides, padding).compute_output_shape(x.shape)
    for kind in get_args(layers.Pooling):
        assert layers.pooling_layer(kind, pool, strides, padding).compute_output_shape(x.shape) == expected


@FEW
@given(st.integers(1, 4), st.integers(1, 3), st.sampled_from(list(PRECISION)), st.booleans())
def test_pooling_across_maps_against_numpy(pieces, groups, dtype, vector):
    x = positive((2, pieces * groups) if vector else (2, 3, 4, pieces * groups)) - 0.5
    x = keras.ops.convert_to_numpy(keras.ops.cast(keras.ops.cast(x, dtype), "float64"))
    by_group = x.reshape(*x.shape[:-1], groups, pieces)
    nearly(layers.Maxout(pieces, dtype=dtype)(x), by_group.max(-1), dtype)
    nearly(layers.ChannelAverage(pieces, dtype=dtype)(x), by_group.mean(-1), dtype)
    expected = (np.abs(by_group) ** 3).sum(-1) ** (1 / 3)
    nearly(layers.ChannelLp(pieces, 3.0, dtype=dtype)(x), expected, dtype)


@FEW
@given(cases(), st.sampled_from([1.0, 2.0, 5.0]))
def test_pooling_of_whole_maps_against_numpy(case, p):
    x, _, _, _, dtype = case
    nearly(layers.GlobalLpPooling2D(p, dtype=dtype)(x), (np.abs(x) ** p).mean((1, 2)) ** (1 / p), dtype)
    gem = layers.GlobalGeneralizedMeanPooling2D(p, epsilon=0.01, dtype=dtype)
    nearly(gem(x), (np.maximum(x, 0.01) ** p).mean((1, 2)) ** (1 / p), dtype)
    attention = with_weights(layers.GlobalAttentionPooling2D(dtype=dtype), x.shape)
    relevance = np.exp(x @ keras.ops.convert_to_numpy(keras.ops.cast(attention.direction, "float64")))
    nearly(attention(x), (relevance * x).sum((1, 2)) / relevance.sum((1, 2)), dtype)


@FEW
@given(cases(), st.tuples(st.integers(1, 5), st.integers(1, 5)))
def test_regions_against_numpy(case, grid):
    x, _, _, _, dtype = case

    def spans(size, n):
        return [slice(int(np.floor(i * size / n)), int(np.ceil((i + 1) * size / n))) for i in range(n)]

    cells = [x[:, a, b] for a, b in product(spans(x.shape[1], grid[0]), spans(x.shape[2], grid[1]))]
    for statistic, reduce in (("average", np.mean), ("max", np.max)):
        expected = np.stack([reduce(cell, (1, 2)) for cell in cells], 1).reshape(len(x), *grid, -1)
        nearly(layers.RegionPooling2D(grid, statistic, dtype=dtype)(x), expected, dtype)


@pytest.mark.parametrize("size", [(4, 4), (7, 5), (8, 12), (13, 11)])
def test_regions_are_those_of_keras_adaptive_layers(size):
    x = positive((2, *size, 3))
    for grid in ((2, 3), (4, 4), (3, 2)):
        average, largest = (keras.layers.AdaptiveAveragePooling2D(grid)(x), keras.layers.AdaptiveMaxPooling2D(grid)(x))
        nearly(layers.RegionPooling2D(grid)(x), average.numpy())
        nearly(layers.RegionPooling2D(grid, "max")(x), largest.numpy())


@FEW
@given(
    st.tuples(st.integers(5, 9), st.integers(5, 9)),
    st.tuples(st.integers(1, 5), st.integers(1, 5)),
    st.integers(1, 3),
    st.sampled_from(["valid", "same"]),
)
def test_convolution_and_cross_correlation_against_scipy(size, kernel_size, strides, padding):
    if padding == "same":  # where kernels are even or strides not 1, the two libraries centre differently
        strides, kernel_size = 1, tuple(n | 1 for n in kernel_size)
    x, rng = positive((2, *size, 3)), np.random.default_rng(0)
    for operation, by_scipy in (
        ("convolution", scipy.signal.convolve2d),
        ("cross_correlation", scipy.signal.correlate2d),
    ):
        layer = layers.Conv2D(2, kernel_size, strides, padding, operation=operation, dtype="float64")
        layer.build(x.shape)
        layer.set_weights([rng.normal(size=w.shape) for w in layer.get_weights()])
        kernel, bias = layer.get_weights()
        sums = [
            [sum(by_scipy(image[..., c], kernel[..., c, f], padding) for c in range(3)) + bias[f] for f in range(2)]
            for image in x
        ]
        nearly(layer(x), np.moveaxis(sums, 1, -1)[:, ::strides, ::strides], "float64")


@pytest.mark.slow
def test_training_gives_the_same_model_with_the_kernels_rotated():
    rng = np.random.default_rng(0)
    images, labels = rng.normal(size=(64, 12, 12, 1)).astype("float32"), rng.integers(0, 3, 64)
    models = []
    for operation in ("convolution", "cross_correlation"):
        keras.utils.set_random_seed(1)
        model = keras.Sequential(
            [
                keras.Input((12, 12, 1)),
                layers.Conv2D(4, 3, activation="relu", operation=operation),
                layers.Conv2D(6, 3, strides=2, activation="relu", operation=operation),
                keras.layers.Flatten(),
                keras.layers.Dense(3),
            ]
        )
        if operation == "convolution":
            turn(model)
        model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
        before = model.get_weights()
        model.fit(images, labels, epochs=3, batch_size=16, shuffle=False, verbose=0)
        assert all(np.abs(a - b).max() > 1e-4 for a, b in zip(before, model.get_weights(), strict=True))
        models.append(model)
    turn(models[0])
    for convolved, correlated in zip(models[0].get_weights(), models[1].get_weights(), strict=True):
        np.testing.assert_allclose(convolved, correlated, atol=1e-6)


@pytest.mark.slow
def test_the_page_on_convolution_says_what_happens(capsys):
    page = ROOT.joinpath("docs", "convolution.md").read_text("utf-8")
    exec(page.split("```python\n")[1].split("```")[0], {"__name__": "__main__"})
    printed = capsys.readouterr().out.splitlines()
    assert float(printed[-2].split(":")[1]) > 0.1
    assert float(printed[-1].split(":")[1]) < 1e-4


def turn(model):
    """Turns the kernels of a model's convolutions by 180 degrees."""
    model.set_weights([w[::-1, ::-1] if w.ndim == 4 else w for w in model.get_weights()])


@pytest.mark.parametrize("kind", get_args(layers.Pooling))
def test_pooling_by_name(kind):
    layer = layers.pooling_layer(kind, 3, 2, "same", name="S2")
    assert layer.name == "S2"
    assert layer(positive((2, 7, 6, 3))).shape == (2, 4, 3, 3)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: layers.pooling_layer("medain"), "did you mean 'median'"),
        (lambda: layers.LpPooling2D(2, p=0.5), "p=0.5 is not possible"),
        (lambda: layers.LpPooling2D(0), "pool_size=0"),
        (lambda: layers.LpPooling2D(2, strides=(1, 2, 3)), "strides"),
        (lambda: layers.LpPooling2D(2, padding="sane"), "did you mean 'same'"),
        (lambda: layers.OrderStatisticPooling2D(2, rank=4), "-4 to 3"),
        (lambda: layers.OrderStatisticPooling2D(2, rank="mean"), "'median'"),
        (lambda: layers.BlurPooling2D(statistic="maximum"), "did you mean 'max'"),
        (lambda: layers.BlurPooling2D(filter_size=9), "1 to 7"),
        (lambda: layers.Maxout(0), "pieces=0"),
        (lambda: layers.RegionPooling2D(2, "median"), "statistic"),
        (lambda: layers.Conv2D(2, 3, operation="correlation"), "cross_correlation"),
    ],
)
def test_what_is_refused(make, words):
    with pytest.raises(RequestError, match=words):
        make()


def test_a_window_that_does_not_fit_is_refused():
    with pytest.raises(ValueError, match="does not fit"):
        layers.LpPooling2D(3)(keras.Input((2, 2, 1)))
    with pytest.raises(ValueError, match="groups of 3"):
        layers.Maxout(3)(keras.Input((2, 2, 4)))


def test_the_names_are_there_without_keras():
    program = "import sys, zoo, zoo.layers; zoo.list_models(); zoo.layers.Pooling; print('tensorflow' in sys.modules)"
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=ROOT)
    assert ran.stdout.strip() == "False"
