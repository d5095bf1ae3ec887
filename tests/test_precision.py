"""Half precision: what a recipe asks for is what layers compute in, from scratch or not, and nothing is lost by it."""

from dataclasses import replace

import numpy as np
import pytest
from images import digit_folders

from recipes.config.presets import load_recipe
from recipes.config.settings import DataSettings, Model, ResolvedRecipe
from recipes.data import load
from recipes.export import export
from recipes.finetune import finetune
from recipes.fit import resume
from recipes.training.loop import train
from recipes.training.model import compiled_model, seed_all
from zoo.backend import keras
from zoo.errors import FailureError
from zoo.keras_internals import all_layers, without_loss_scaling
from zoo.precision import computing_in, in_precision

HALVES = ("mixed_float16", "mixed_bfloat16")


@pytest.fixture(scope="module")
def digits():
    data = load("digits", image_shape=(16, 16, 1), quiet=True)
    return replace(data, **{part: getattr(data, part)[np.arange(160)] for part in ("train", "validation", "test")})


def recipe_of(*overrides):
    settings = load_recipe("quick", ["batch_size=32", "epochs=2", *overrides])
    about = {
        "model": Model(name="lenet1", input_shape=(16, 16, 1)),
        "data": DataSettings(source="digits", image_shape=(16, 16, 1)),
    }
    return ResolvedRecipe(**dict(settings) | about)


def computed_in(model):
    """What its layers with weights compute in."""
    return {layer.compute_dtype for layer in all_layers(model) if layer.weights and not isinstance(layer, keras.Model)}


@pytest.mark.parametrize("precision", ["float32", *HALVES])
def test_moving_averages_are_what_is_handed_over_in_every_precision(digits, precision):
    recipe = recipe_of("optimizer.ema=0.999", f"precision={precision}", "schedule.name=constant")
    seed_all(recipe)
    model = compiled_model(recipe, digits)
    assert isinstance(model.optimizer, keras.optimizers.LossScaleOptimizer) == (precision == "mixed_float16")
    assert without_loss_scaling(model.optimizer).use_ema
    state = train(model, digits, recipe, None, quiet=True)
    assert state.best_epoch == 2
    # An average of ten steps and more is not where the last of them ended.
    apart = [np.abs(best - last).max() for best, last in zip(state.best_weights, state.weights, strict=True)]
    assert max(apart) > 1e-3
    averages = [array for array in state.optimizer if array.shape == state.best_weights[0].shape]
    assert any(np.array_equal(array, state.best_weights[0]) for array in averages)
    validation = model.evaluate(digits.validation.batches(64), verbose=0, return_dict=True)
    assert validation["loss"] == pytest.approx(state.history[-1]["val_loss"], rel=1e-3)  # they are what was validated


@pytest.mark.parametrize("precision", HALVES)
def test_fine_tuning_computes_in_what_the_recipe_says(digits_run, tmp_path, precision):
    folder = digit_folders(tmp_path / "images", "013", 60)
    short = ["epochs=2", "finetune.epochs=2", "optimizer.ema=0.9", f"precision={precision}"]
    given = {"data": str(folder), "recipe": "last-stage", "quiet": True}
    run = finetune(digits_run.path, out=tmp_path / "half", overrides=short, **given).run
    assert computed_in(run.load_model()) == {precision.removeprefix("mixed_")}
    assert all(np.isfinite(row["loss"]) for row in run.history)
    for kind in ("float32", "int8"):
        exported = export(run, to=kind, out=tmp_path / f"{kind}.tflite", force=True)
        assert exported.agreement >= 0.9
    # A file's backbone has a precision of its own, in which the recipe has the last word.
    whole = finetune(run.path / "model.keras", out=tmp_path / "whole", overrides=short[:2], **given).run
    assert computed_in(whole.load_model()) == {"float32"}
    assert all(layer.compute_dtype in ("float32", None) for layer in all_layers(whole.load_model()))


@pytest.mark.slow
def test_a_fine_tuning_in_float16_that_was_interrupted_ends_in_the_same_bits(digits_run, tmp_path, monkeypatch):
    class Impatient(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            if epoch == 1:
                raise KeyboardInterrupt

        def stop(self):
            pass

    folder = digit_folders(tmp_path / "images", "013", 60)
    settings = ["epochs=4", "finetune.epochs=4", "early_stopping=0", "optimizer.ema=0.9", "precision=mixed_float16"]
    given = {"data": str(folder), "recipe": "last-stage", "overrides": settings}
    whole = finetune(digits_run.path, out=tmp_path / "whole", quiet=True, **given).run
    monkeypatch.setattr("recipes.training.loop.ProgressBar", lambda *_: Impatient())
    with pytest.raises(FailureError, match="interrupted"):
        finetune(digits_run.path, out=tmp_path / "run", **given)
    monkeypatch.undo()
    again = resume(tmp_path / "run", quiet=True).run
    assert again.history == whole.history
    for one, other in zip(again.load_model().get_weights(), whole.load_model().get_weights(), strict=True):
        assert np.array_equal(one, other)


def test_a_backbone_is_brought_into_another_precision_with_its_weights():
    with computing_in("float32"):
        image = keras.Input((8, 8, 1))
        x = keras.layers.BatchNormalization()(keras.layers.Conv2D(4, 3)(image))
        model = keras.Model(image, keras.layers.ReLU()(x), name="backbone")
    assert in_precision(model, "float32") is model
    half = in_precision(model, "mixed_bfloat16")
    assert computed_in(half) == {"bfloat16"}
    assert {weight.dtype for weight in half.weights} == {"float32"}
    images = np.random.default_rng(0).normal(size=(3, 8, 8, 1)).astype(np.float32)
    seen = np.asarray(half.predict(images, verbose=0), np.float32)
    np.testing.assert_allclose(seen, model.predict(images, verbose=0), atol=0.05)
    back = in_precision(half, "float32")
    np.testing.assert_array_equal(back.predict(images, verbose=0), model.predict(images, verbose=0))
