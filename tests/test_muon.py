"""Orthogonal momentum, held against a singular value decomposition in NumPy."""

import keras
import numpy as np
import pytest

import zoo
from recipes.config.settings import Recipe
from recipes.fit import fit, resume
from recipes.training.loop import _Keeper
from recipes.training.model import _optimizer
from recipes.training.muon import MOMENTUM, RMS, orthogonalized
from zoo.errors import FailureError

RATE = 0.01


def optimizer_of(**settings):
    recipe = Recipe(optimizer={"learning_rate": RATE, **settings}, schedule={"name": "constant"})
    return _optimizer(recipe, 1, [])


def polar(matrix):
    left, _, right = np.linalg.svd(matrix, full_matrices=False)
    return left @ right


@pytest.mark.parametrize("shape", [(9, 32), (288, 32), (16, 16)])
def test_singular_values_come_near_one_and_singular_vectors_stay(shape):
    matrix = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    made = np.asarray(orthogonalized(keras.ops.convert_to_tensor(matrix)))
    left, values, right = np.linalg.svd(matrix, full_matrices=False)
    inside = left.T @ made @ right.T
    kept = values > 0.05 * values[0]
    assert (np.abs(np.diag(inside)[kept] - 1) < 0.4).all()
    np.testing.assert_allclose(inside - np.diag(np.diag(inside)), 0, atol=2e-3)


def test_a_kernel_of_a_convolution_steps_as_the_polar_factor_of_its_momentum():
    gradients = np.random.default_rng(1).normal(size=(2, 3, 3, 4, 8)).astype(np.float32)
    kernel, head = keras.Variable(np.zeros((3, 3, 4, 8), np.float32)), keras.Variable(np.zeros((8, 10), np.float32))
    optimizer = optimizer_of(name="muon")
    optimizer.build([kernel, head])
    momentum = 0
    for gradient in gradients:
        before = np.array(kernel)
        optimizer.apply([keras.ops.convert_to_tensor(gradient), keras.ops.zeros((8, 10))], [kernel, head])
        momentum = MOMENTUM * momentum + gradient
        wanted = polar((gradient + MOMENTUM * momentum).reshape(36, 8)) * RMS * np.sqrt(36)
        step = ((before - np.array(kernel)) / RATE).reshape(36, 8)
        assert np.sum(step * wanted) / np.linalg.norm(step) / np.linalg.norm(wanted) > 0.97
        assert np.linalg.norm(step) == pytest.approx(np.linalg.norm(wanted), rel=0.3)


def learner(name):
    model = zoo.create_model(name, classes=10, input_shape=(28, 28, 1))
    optimizer = optimizer_of(name="muon")
    optimizer.build(model.trainable_variables)
    return model.trainable_variables, [velocity is None for velocity in optimizer.velocities]


def test_every_kernel_of_a_convolution_steps_so_and_nothing_else_does():
    variables, orthogonal = learner("vgg_small")
    assert orthogonal[-2:] == [False, False]  # of the head
    assert [len(one.shape) == 4 for one in variables] == orthogonal
    assert sum(orthogonal) == 6


def test_hidden_layers_step_so_and_kernels_of_single_maps_do_not():
    variables, orthogonal = learner("pebble")
    of = dict(zip((one.path for one in variables), orthogonal, strict=True))
    assert not any(flag for path, flag in of.items() if "depthwise" in path)
    assert sum(of.values()) == 5  # the first, and four of 1x1
    variables, orthogonal = learner("lenet5")
    assert [tuple(one.shape) for one, flag in zip(variables, orthogonal, strict=True) if flag][-1] == (120, 84)


def test_biases_and_the_last_layer_step_as_adamw_has_them():
    random = np.random.default_rng(2)
    shapes = [(3, 3, 4, 8), (8,), (8, 10), (10,)]
    start = [random.normal(size=shape).astype(np.float32) for shape in shapes]
    both = {}
    for name in ("muon", "adamw"):
        variables = [
            keras.Variable(value, name=part)
            for value, part in zip(start, ("kernel", "bias", "kernel", "bias"), strict=True)
        ]
        optimizer = optimizer_of(name=name, weight_decay=0.1)
        optimizer.build(variables)
        draws = np.random.default_rng(3)
        for _ in range(3):
            gradients = [keras.ops.convert_to_tensor(draws.normal(size=s).astype(np.float32)) for s in shapes]
            optimizer.apply(gradients, variables)
        both[name] = [np.array(one) for one in variables]
    for mine, theirs in zip(both["muon"][1:], both["adamw"][1:], strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=1e-5, atol=1e-6)
    assert np.abs(both["muon"][0] - both["adamw"][0]).max() > 1e-3


@pytest.mark.slow
def test_a_stopped_training_ends_in_the_same_bits(tmp_path, monkeypatch):
    given = {
        "recipe": "quick",
        "overrides": ["epochs=3", "optimizer.name=muon", "optimizer.ema=0.9", "augment=digits"],
        "quiet": True,
    }
    whole = fit("lenet5", data="digits", out=tmp_path / "whole", **given).run
    ended = _Keeper.on_epoch_end

    def interrupted(keeper, epoch, logs):
        ended(keeper, epoch, logs)
        if epoch == 1:
            raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(_Keeper, "on_epoch_end", interrupted)
        with pytest.raises(FailureError, match="2 of 3 epochs"):
            fit("lenet5", data="digits", out=tmp_path / "stopped", **given)
    resumed = resume(tmp_path / "stopped", quiet=True).run
    for mine, theirs in zip(resumed.load_model().get_weights(), whole.load_model().get_weights(), strict=True):
        np.testing.assert_array_equal(mine, theirs)
    assert (resumed.path / "history.csv").read_text() == (whole.path / "history.csv").read_text()
