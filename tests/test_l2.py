"""L2 as papers have it: inside the gradient, and so as strong as they say."""

import keras
import numpy as np
import pytest

from recipes.config.presets import load_recipe
from recipes.config.settings import Recipe
from recipes.training.model import _optimizer

RATE, L2, MOMENTUM, STEPS = 0.1, 0.01, 0.9, 30


def weights_after(gradients, **settings):
    """A kernel and a bias that begin at one, after steps of SGD with these gradients."""
    recipe = Recipe(
        optimizer={"name": "sgd", "learning_rate": RATE, "momentum": MOMENTUM, **settings},
        schedule={"name": "constant"},
    )
    kernel, bias = (keras.Variable(np.ones(3, np.float32), name=name) for name in ("kernel", "bias"))
    optimizer = _optimizer(recipe, 1, [])
    optimizer.build([kernel, bias])
    for gradient in gradients:
        optimizer.apply([keras.ops.convert_to_tensor(gradient), keras.ops.convert_to_tensor(gradient)], [kernel, bias])
    return np.asarray(kernel), np.asarray(bias)


def reference(gradients, l2):
    """SGD with momentum in Nesterov's form on loss + l2 / 2 |w|^2, in NumPy."""
    weights, velocity = np.ones(3), np.zeros(3)
    for gradient in gradients:
        gradient = gradient + l2 * weights
        velocity = MOMENTUM * velocity - RATE * gradient
        weights = weights + MOMENTUM * velocity - RATE * gradient
    return weights


def test_l2_is_in_the_gradient_of_kernels_before_momentum():
    gradients = np.random.default_rng(0).normal(size=(STEPS, 3)).astype(np.float32)
    kernel, bias = weights_after(gradients, l2=L2)
    np.testing.assert_allclose(kernel, reference(gradients, L2), rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(bias, reference(gradients, 0.0), rtol=1e-5, atol=1e-5)


@pytest.mark.slow
def test_without_a_loss_l2_shrinks_weights_as_many_times_faster_as_momentum_says():
    nothing = np.zeros((300, 3), np.float32)
    by_l2, by_decay = (-np.log(weights_after(nothing, **one)[0][0]) for one in ({"l2": 1e-3}, {"weight_decay": 1e-3}))
    assert by_l2 / by_decay == pytest.approx(1 / (1 - MOMENTUM), rel=0.05)


@pytest.mark.parametrize(("name", "decay"), [("resnet-cifar", 1e-4), ("vgg-2014", 5e-4), ("all-cnn-2014", 1e-3)])
def test_recipes_of_papers_have_their_decay_as_l2(name, decay):
    recipe = load_recipe(name)
    assert (recipe.optimizer.l2, recipe.optimizer.weight_decay) == (decay, 0.0)
    for declared in ("L2", "Nesterov", "no decay of biases"):
        assert declared in recipe.about.source


def test_the_residual_networks_take_as_many_steps_as_the_paper():
    recipe = load_recipe("resnet-cifar").in_epochs(45_000)
    steps = recipe.epochs * recipe.steps_per_epoch(45_000)
    assert (steps, [round(share * steps) for share in recipe.schedule.drops]) == (64_064, [32_032, 48_048])
