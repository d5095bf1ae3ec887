"""BatchNorm behind dropout validates, and is kept, with statistics that are right without the dropout."""

import forked
import keras
import numpy as np
import pytest
from sklearn.datasets import load_digits
from test_devices import TWO_CPUS

import zoo
from recipes.data import Split
from recipes.fit import fit, resume
from recipes.run.folder import Run
from recipes.training import loop
from recipes.training.statistics import IMAGES, SettledStatistics, norms_behind_noise, settle_statistics

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy:DeprecationWarning")

NOISES = [
    keras.layers.Dropout(0.3, seed=0),
    keras.layers.SpatialDropout2D(0.3, seed=0),
    keras.layers.GaussianDropout(0.3, seed=0),
    keras.layers.AlphaDropout(0.3, seed=0),
    keras.layers.GaussianNoise(0.3, seed=0),
]


def noisy(noise):
    """Two convolutions with BatchNorm behind noise, the second one in a model of its own, and ten scores."""
    inner = keras.Input((6, 6, 4))
    y = keras.layers.Conv2D(4, 3, name="second")(inner)
    inner = keras.Model(inner, keras.layers.BatchNormalization(momentum=0.9, name="second_bn")(y))
    x = keras.Input((8, 8, 1))
    y = keras.layers.Conv2D(4, 3, name="first")(noise(keras.layers.Rescaling(1 / 127.5, -1)(x)))
    y = keras.layers.ReLU()(keras.layers.BatchNormalization(momentum=0.9, name="first_bn")(y))
    y = keras.layers.Flatten()(keras.layers.ReLU()(inner(y)))
    return keras.Model(x, keras.layers.Dense(10, "softmax")(y))


def digits():
    found = load_digits()
    return (found.images[..., None] * (255 / 16)).astype("uint8"), found.target


def moments(x):
    return x.mean((0, 1, 2)), x.var((0, 1, 2))


def convolved(layer, x):
    """A valid 3x3 convolution, by NumPy."""
    windows = np.lib.stride_tricks.sliding_window_view(x, (3, 3), (1, 2))
    return np.einsum("bhwcij,ijco->bhwo", windows, np.asarray(layer.kernel)) + np.asarray(layer.bias)


@pytest.mark.parametrize("noise", NOISES, ids=lambda layer: type(layer).__name__)
@pytest.mark.parametrize("count", [1, 100, 1797])
def test_statistics_are_means_over_batches_of_images_without_noise(noise, count):
    noise = type(noise).from_config(noise.get_config())
    model, (images, labels) = noisy(noise), digits()
    before = noise.get_config()
    settle_statistics(model, Split(images[:count], labels[:count]))
    assert noise.get_config() == before
    first, inner = model.get_layer("first_bn"), next(layer for layer in model.layers if isinstance(layer, keras.Model))
    second = inner.get_layer("second_bn")
    assert first.momentum == second.momentum == 0.9
    rows = np.linspace(0, count - 1, min(count, IMAGES)).astype(int)
    parts = max(len(rows) // 64, 1)
    found = []
    for part in range(parts):
        y = convolved(model.get_layer("first"), images[rows[part::parts]].astype("float32") / 127.5 - 1)
        one = moments(y)
        y = np.maximum((y - one[0]) / np.sqrt(one[1] + 1e-3), 0)
        found.append((*one, *moments(convolved(inner.get_layer("second"), y))))
    for own, expected in zip(
        (first.moving_mean, first.moving_variance, second.moving_mean, second.moving_variance),
        (np.mean([batch[place] for batch in found], axis=0) for place in range(4)),
        strict=True,
    ):
        np.testing.assert_allclose(np.asarray(own), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    "settled", [True, pytest.param(False, marks=pytest.mark.xfail(strict=True, raises=AssertionError))]
)
def test_behind_noise_on_a_dark_background_it_validates_better_than_it_trains(settled):
    """Training, with dropout, 50 %; validation, without, 74 %, and 40 % with the statistics of training."""
    images, labels = digits()
    images = np.pad(images, ((0, 0), (4, 4), (4, 4), (0, 0)))
    keras.utils.set_random_seed(0)
    x = keras.Input((16, 16, 1))
    y = keras.layers.Dropout(0.2)(keras.layers.Rescaling(1 / 127.5, -1)(x))
    for strides in (1, 1, 2, 1):
        y = keras.layers.Conv2D(16, 3, strides, "same", kernel_initializer="he_normal")(y)
        y = keras.layers.ReLU()(keras.layers.BatchNormalization(momentum=0.9)(y))
    model = keras.Model(x, keras.layers.Dense(10, "softmax")(keras.layers.GlobalAveragePooling2D()(y)))
    model.compile(
        keras.optimizers.Adam(5e-3), "sparse_categorical_crossentropy", metrics=["accuracy"], jit_compile=False
    )
    train, validation = Split(images[:1472], labels[:1472]), (images[1472:], labels[1472:])
    callbacks = [SettledStatistics(train)] if settled else []
    given = {"batch_size": 32, "epochs": 2, "validation_data": validation, "callbacks": callbacks, "verbose": 0}
    history = model.fit(train.images, train.labels, **given).history
    assert history["val_accuracy"][-1] > history["accuracy"][-1]


@pytest.mark.parametrize(
    ("name", "options", "behind"),
    [
        ("z2_cnn", {}, True),
        ("z2_cnn", {"symmetry": "c4"}, True),
        ("z2_cnn", {"layer_dropout": 0.0}, False),
        ("p4_all_cnn_c", {}, True),
        ("p4m_all_cnn_c", {}, True),
        ("p4_cnn", {"dropout": 0.5}, False),  # in the head, behind the last BatchNorm
        ("all_cnn_c", {}, False),  # has no BatchNorm
        ("resnet8", {}, False),
        ("scale_cnn", {}, False),
        ("mobilenet_v2", {}, False),
        ("keras_efficientnet_b0", {"weights": None}, True),  # stochastic depth
        ("keras_mobilenet_v3_small", {"weights": None}, False),
    ],
)
def test_models_behind_whose_noise_a_norm_learns(name, options, behind):
    model = zoo.create_model(name, classes=10, **options)
    assert bool(norms_behind_noise(model)) == behind
    for layer in model.layers:
        layer.trainable = False
    assert norms_behind_noise(model) == []


def test_without_noise_nothing_is_changed():
    images, labels = digits()
    model = noisy(keras.layers.Dropout(0.0))
    before = model.get_weights()
    settle_statistics(model, Split(images, labels))
    for mine, theirs in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(mine, theirs)


# ---- in a run ----------------------------------------------------------------------------------------------------


def assert_settled(run, tolerance):
    """The statistics that a run keeps are those of the weights that it keeps."""
    model, train = run.load_model(), run.load_data().train
    norms = norms_behind_noise(model)
    kept = [np.array(value) for norm in norms for value in (norm.moving_mean, norm.moving_variance)]
    settle_statistics(model, train)
    own = [np.array(value) for norm in norms for value in (norm.moving_mean, norm.moving_variance)]
    assert kept
    for mine, theirs in zip(kept, own, strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=tolerance, atol=tolerance)


@pytest.mark.slow
@pytest.mark.parametrize("ema", [0.0, 0.9])
def test_a_run_keeps_the_statistics_of_its_weights(ema, tmp_path):
    given = {"data": "digits", "recipe": "quick", "quiet": True}
    run = fit("z2_cnn", out=tmp_path / "run", overrides=["epochs=2", f"optimizer.ema={ema}"], **given).run
    assert_settled(run, 1e-6)


@pytest.mark.slow
def test_two_devices_keep_the_statistics_of_their_weights(tmp_path):
    command = ["fit", "z2_cnn", "--data", "digits", "--recipe", "quick", "--epochs", "2", "--devices", "all"]
    forked.run(TWO_CPUS, *command, "--out", str(tmp_path / "run"), "--quiet", check=True)
    assert_settled(Run.open(tmp_path / "run"), 1e-5)


@pytest.mark.slow
def test_a_stopped_training_goes_on_to_the_same_bits(tmp_path, monkeypatch, interrupted):
    given = {"data": "digits", "recipe": "quick", "quiet": True, "overrides": ["epochs=3"]}
    whole = fit("z2_cnn", out=tmp_path / "whole", **given).run
    monkeypatch.setattr(loop, "CHECKPOINT_SECONDS", 0)
    with interrupted(2):
        fit("z2_cnn", out=tmp_path / "part", **given)
    part = resume(tmp_path / "part", quiet=True).run
    for mine, theirs in zip(part.load_model().get_weights(), whole.load_model().get_weights(), strict=True):
        np.testing.assert_array_equal(mine, theirs)
