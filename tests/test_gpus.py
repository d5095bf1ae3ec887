"""What a training does on a GPU, by a list that stands in for GPUs: the same path runs here on the CPU."""

import importlib.util
import json
import sys
from dataclasses import replace
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from recipes.config.presets import load_recipe
from recipes.data import load
from recipes.data.pixels import memory_limit
from recipes.distributed import devices, team
from recipes.distributed.devices import Gpu, chosen
from recipes.fit import fit, resume
from recipes.run.folder import Run
from recipes.tasks import TASKS
from recipes.training import loop
from recipes.training.accelerated import DeviceBatches, made_in_step
from recipes.training.device import in_words, precision_for, settled
from recipes.training.model import training_batches
from zoo.errors import FailureError, RequestError

ROOT = Path(__file__).parents[1]
H100, T4, P100 = Gpu(0, "NVIDIA H100", (9, 0)), Gpu(1, "Tesla T4", (7, 5)), Gpu(2, "Tesla P100", (6, 0))
VARIED = ["augment=cifar", "augment.rotation=10", "augment.colour.brightness=0.3", "augment.erasing.probability=0.5"]
MIXED = ["augment.mixup.alpha=0.4", "augment.cutmix.alpha=1.0"]
SHORT = ["epochs=3", "batch_size=128", "augment=digits", "optimizer.ema=0.9"]


@pytest.fixture
def one_gpu(monkeypatch):
    """TensorFlow seems to have an H100."""
    for module in (loop, team):
        monkeypatch.setattr(module, "visible_gpus", lambda: (H100,))
    monkeypatch.setattr(team, "use_only", lambda gpus, devices: None)


@pytest.fixture(scope="module")
def digits():
    data = load("digits", image_shape=(20, 20, 1), quiet=True)
    return replace(data, train=data.train[np.arange(200)], validation=data.validation[np.arange(100)])


@pytest.mark.parametrize(
    ("text", "numbers"),
    [("1", [0]), ("2", [0, 1]), ("all", [0, 1, 2]), ("gpu:2", [2]), ("gpu:2,gpu:0", [2, 0]), ("GPU:1", [1])],
)
def test_gpus_are_chosen_by_number_or_by_name(text, numbers):
    assert [gpu.number for gpu in chosen(text, [H100, T4, P100], 1)] == numbers


def test_a_cpu_is_chosen_beside_gpus_and_alone():
    assert chosen("cpu", [H100], 1) == chosen("cpu", [], 4) == chosen("1", [], 4) == 1
    assert chosen("all", [], 4) == 4


@pytest.mark.parametrize("text", ["0", "4", "gpu:3", "gpu:0,gpu:0", "gpu:0,cpu", "two", "", "-1"])
def test_what_is_not_there_is_refused_with_what_is(text):
    with pytest.raises(RequestError, match=r"allowed: all, or 1 to 3 \(GPU\), cpu, or some of gpu:0 \(NVIDIA H100\), "):
        chosen(text, [H100, T4, P100], 1)
    with pytest.raises(RequestError, match=r"allowed: all, or 1 to 1 \(CPU\), or cpu; there is no GPU"):
        chosen(text, [], 1)


def test_gpus_are_chosen_before_tensorflow_begins():
    tf.config.list_logical_devices()
    assert devices.visible_gpus() == () or tf.config.list_physical_devices("GPU")
    devices.use_only(devices.visible_gpus(), "all")  # what is so already is possible at any time
    if devices.visible_gpus():
        with pytest.raises(RequestError, match="TensorFlow has begun with other devices"):
            team.join("cpu")
    else:
        assert team.join("cpu").strategy is None


def test_precision_and_xla_are_chosen_by_the_weakest_card():
    assert [precision_for(gpus) for gpus in ([], [H100], [H100, T4], [P100], [Gpu(0)])] == [
        *("float32", "mixed_bfloat16", "mixed_float16", "float32", "float32")
    ]
    recipe = load_recipe("quick")
    alone, both = settled(recipe, [H100]), settled(recipe, [H100, T4], alone=False)
    assert (alone.precision, alone.jit_compile) == ("mixed_bfloat16", True)
    assert (both.precision, both.jit_compile) == ("mixed_float16", None)
    assert in_words(recipe, alone, [H100]) == (
        "precision=mixed_bfloat16 and jit_compile=true, for NVIDIA H100; --set chooses others.",
    )
    own = load_recipe("quick", ["precision=float32", "jit_compile=false"])
    assert settled(own, [H100]) == own
    assert in_words(own, settled(own, [H100]), [H100]) == ()
    on_cpu = settled(recipe, [])
    assert (on_cpu.precision, on_cpu.jit_compile) == ("float32", None)
    assert in_words(recipe, on_cpu, []) == ()


@pytest.mark.parametrize("largest", [0, 2**31], ids=["brought", "held"])
@pytest.mark.parametrize("settings", [VARIED, [*VARIED, *MIXED], ["augment=none"]], ids=["varied", "mixed", "plain"])
def test_images_made_on_the_device_are_those_of_the_host_within_one_level(digits, settings, largest):
    recipe, task = load_recipe("quick", ["batch_size=64", "epochs=3", *settings]), TASKS["classification"]
    on_device = DeviceBatches(digits.train, recipe, 10, task, largest=largest)
    assert on_device.are_held == bool(largest)
    made = tf.function(on_device.made, jit_compile=True)
    batches = list(training_batches(digits.train, recipe, 10, first_epoch=1))
    given = list(on_device.given(first_epoch=1))
    assert len(batches) == len(given) == 8
    for rows, (images, labels) in zip(given, batches, strict=True):
        ours, theirs = made(rows)
        assert ours.dtype == images.dtype
        assert np.abs(ours.numpy().astype(int) - images.numpy().astype(int)).max() <= 1
        np.testing.assert_allclose(theirs, labels, atol=1e-6)
    assert not np.array_equal(batches[0][0], batches[4][0])  # epochs differ


def test_images_count_by_their_class_on_the_device(digits):
    recipe, task = load_recipe("quick", ["batch_size=64", "epochs=1", "class_weight=balanced"]), TASKS["classification"]
    weights = task.class_weight(digits, recipe)
    on_device = DeviceBatches(digits.train, recipe, 10, task, weights)
    _, labels, counted = on_device.made(next(iter(on_device.given())))
    expected = [weights[label] for label in (labels.numpy() if labels.ndim == 1 else labels.numpy().argmax(1)).ravel()]
    np.testing.assert_allclose(counted, expected, rtol=1e-6)


def test_what_memory_does_not_hold_is_not_taken_to_the_device(digits):
    assert memory_limit() > 0
    file_like = replace(digits.train, images=np.broadcast_to(digits.train.images[:1], (200, 20, 20, 1)))
    recipe = load_recipe("quick", ["batch_size=50", "epochs=1"])
    on_device = DeviceBatches(file_like, recipe, 10, TASKS["classification"], largest=file_like.images.nbytes - 1)
    assert not on_device.are_held
    assert len(next(iter(on_device.given()))[0]) == 3  # rows, draws and images


def test_a_run_keeps_what_the_device_decided(one_gpu, tmp_path):
    fitted = fit("lenet1", data="digits", recipe="quick", overrides=["epochs=1"], out=tmp_path / "run", quiet=True)
    assert fitted.notes[0].startswith("precision=mixed_bfloat16 and jit_compile=true, for NVIDIA H100")
    kept = (tmp_path / "run" / "recipe.toml").read_text()
    assert 'precision = "mixed_bfloat16"' in kept
    assert "jit_compile = true" in kept
    assert fitted.metrics["accuracy"] > 0.5


def test_on_a_cpu_the_recipe_of_a_run_is_what_it_was(digits_run):
    kept = (digits_run.path / "recipe.toml").read_text()
    assert 'precision = "float32"' in kept
    assert "jit_compile" not in kept


@pytest.mark.slow
def test_the_loss_curve_is_that_of_the_cpu_and_a_stopped_training_ends_in_the_same_bits(tmp_path, monkeypatch, one_gpu):
    given = {"data": "digits", "recipe": "quick", "overrides": [*SHORT, "precision=float32"]}
    whole = fit("lenet1", out=tmp_path / "whole", quiet=True, **given).run
    assert whole.recipe.jit_compile

    class Impatient(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            if epoch == 1:
                raise KeyboardInterrupt

        def stop(self):
            pass

    with monkeypatch.context() as stopping:
        stopping.setattr("recipes.training.loop.ProgressBar", type("Bar", (Impatient,), {"__init__": _ignoring}))
        with pytest.raises(FailureError, match="interrupted after 2 of 3 epochs"):
            fit("lenet1", out=tmp_path / "run", **given)
    again = resume(tmp_path / "run", quiet=True).run
    assert again.history == whole.history
    for one, other in zip(again.load_model().get_weights(), whole.load_model().get_weights(), strict=True):
        assert np.array_equal(one, other)

    monkeypatch.undo()
    fit("lenet1", out=tmp_path / "cpu", quiet=True, **given)
    for here, there in zip(Run.open(tmp_path / "cpu").history, whole.history, strict=True):
        assert there["loss"] == pytest.approx(here["loss"], rel=0.02)
        assert there["val_loss"] == pytest.approx(here["val_loss"], rel=0.02)


def _ignoring(self, *_):
    keras.callbacks.Callback.__init__(self)


def test_a_loss_that_explodes_ends_a_training_on_a_gpu_too(one_gpu, tmp_path):
    wild = ["epochs=3", "optimizer.name=sgd", "optimizer.learning_rate=10", "model.options.nonlinearity=relu"]
    with pytest.raises(FailureError, match=r"the loss is (nan|inf|[\d.e+]+) at step \d+ of epoch 1"):
        fit("lenet5", data="digits", recipe="quick", overrides=wild, out=tmp_path / "run", quiet=True)


class Foreign(keras.layers.Layer):
    def call(self, x):
        return tf.ensure_shape(tf.numpy_function(lambda values: values, [x], tf.float32), x.shape)


def test_a_model_that_xla_cannot_compile_is_told_with_the_way_on(digits):
    image = keras.Input((20, 20, 1))
    scores = keras.layers.Dense(10, "softmax")(keras.layers.Flatten()(Foreign()(image)))
    model = keras.Model(image, scores, name="foreign")
    recipe, task = load_recipe("quick", ["batch_size=100", "epochs=1"]), TASKS["classification"]
    on_device = DeviceBatches(digits.train, recipe, 10, task)
    for jit_compile in (True, False):
        model.compile("sgd", task.loss(recipe, digits), jit_compile=jit_compile)
        if jit_compile:
            with pytest.raises(FailureError, match="jit_compile=false trains without"), made_in_step(model, on_device):
                model.fit(on_device.given(), steps_per_epoch=2, shuffle=False, verbose=0)
        else:
            with made_in_step(model, on_device):
                model.fit(on_device.given(), steps_per_epoch=2, shuffle=False, verbose=0)


@pytest.fixture(scope="module")
def benchmark():
    spec = importlib.util.spec_from_file_location("gpu_benchmark", ROOT / "benchmarks" / "gpu.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_share_of_kernels_counts_what_overlaps_once(benchmark):
    from tensorflow.tsl.profiler.protobuf.xplane_pb2 import XSpace

    space = XSpace()
    assert benchmark.kernel_share(space, 1.0) is None
    plane = space.planes.add(name="/device:GPU:0")
    second = 10**12  # picoseconds
    for name, spans in (("Stream #1", [(0, 1), (3, 1)]), ("Stream #2", [(0.5, 1)]), ("Steps", [(0, 10)])):
        line = plane.lines.add(name=name, timestamp_ns=10**9)
        for start, length in spans:
            line.events.add(offset_ps=int(start * second), duration_ps=int(length * second))
    assert benchmark.kernel_share(space, 10.0) == pytest.approx(0.25)


@pytest.mark.slow
def test_the_benchmark_runs_on_a_cpu_and_says_so(capsys, monkeypatch, benchmark, digits_run):  # prepares the digits
    small = ["--data", "digits", "--recipe", "quick", "--model", "lenet1", "--accuracy", "0.5", "--epochs", "1"]
    monkeypatch.setattr(sys, "argv", ["gpu.py", *small, "--images", "8", "--batch", "4", "--size", "32", "--json"])
    benchmark.main()
    found = json.loads(capsys.readouterr().out)
    if not tf.config.list_physical_devices("GPU"):
        assert found["device"].startswith("no GPU")
        assert found["fine_tuning"]["share_in_kernels"] is None
    assert found["to_accuracy"]["seconds"] >= 0
    assert found["fine_tuning"]["images_a_second"] > 0
