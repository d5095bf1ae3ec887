"""Training: what a run folder holds, and that a training is a function of its recipe."""

import csv
import json
import subprocess
import sys
import tomllib
from typing import get_args

import keras
import numpy as np
import pytest

from recipes.config.presets import load_recipe
from recipes.config.settings import Optimizer
from recipes.data import Data, Split
from recipes.fit import fit
from recipes.run.folder import Run
from recipes.tasks import TASKS
from recipes.training.model import training_batches
from recipes.training.resolving import resolve
from zoo.errors import RequestError


def test_a_run_folder_explains_itself(digits_run):
    assert {"model.keras", "recipe.toml", "history.csv", "metrics.json", "labels.txt"} <= {
        file.name for file in digits_run.path.iterdir()
    }
    recipe = tomllib.loads((digits_run.path / "recipe.toml").read_text())
    assert recipe["model"]["name"] == "lenet5"
    assert recipe["data"] == {
        **{"source": "digits", "image_shape": [32, 32, 1]},
        **{"resize": "fill", "split_seed": 0, "skip_bad": False},
    }
    assert recipe["versions"]["keras"] == keras.__version__
    assert digits_run.class_names == tuple("0123456789")


def test_the_history_has_a_row_an_epoch_and_the_loss_falls(digits_run):
    with open(digits_run.path / "history.csv") as file:
        rows = list(csv.DictReader(file))
    assert [row["epoch"] for row in rows] == ["1", "2", "3"]
    assert float(rows[-1]["loss"]) < float(rows[0]["loss"]) / 1.5
    assert float(rows[-1]["learning_rate"]) < float(rows[0]["learning_rate"])


def test_the_kept_model_has_the_accuracy_that_is_written(digits_run):
    metrics = json.loads((digits_run.path / "metrics.json").read_text())
    test = digits_run.load_data().test
    scores = digits_run.load_model().predict(test.images, verbose=0)
    assert len(test) == metrics["examples"] == 1000
    assert (scores.argmax(1) == test.labels).mean() == pytest.approx(metrics["accuracy"])
    assert metrics["accuracy"] > 0.85
    assert np.trace(metrics["confusion_matrix"]) == round(1000 * metrics["accuracy"])


@pytest.mark.slow
def test_two_runs_of_one_recipe_have_bit_identical_weights(tmp_path, prepared_data_folder):
    settings = ["steps=50", "augment=digits"]
    first, second = (
        fit("lenet5", data="digits", out=tmp_path / name, recipe="quick", overrides=settings, quiet=True).run
        for name in ("first", "second")
    )
    for one, other in zip(first.load_model().get_weights(), second.load_model().get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.slow
def test_plain_keras_loads_the_model_whatever_it_was_trained_by(tmp_path, prepared_data_folder):
    settings = ["steps=50", "schedule.name=one-cycle"]
    run = fit("lenet5", data="digits", out=tmp_path / "run", recipe="quick", overrides=settings, quiet=True).run
    program = f"import keras; print(keras.models.load_model({str(run.path / 'model.keras')!r}).count_params())"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=tmp_path)
    assert done.stdout.strip() == "61706", done.stderr
    assert (run.path / "model.keras").stat().st_size < 1.5 * 4 * 61_706


@pytest.fixture
def numbered():
    """Twelve images, each of one grey value, so that a batch shows which images are in it."""
    return Split(np.arange(12, dtype=np.uint8).repeat(4).reshape(12, 2, 2, 1), np.arange(12))


def batches_of_an_epoch(split, recipe, epoch):
    steps = -(-len(split) // recipe.batch_size)
    batches = list(training_batches(split, recipe, 12).as_numpy_iterator())
    return batches[epoch * steps : (epoch + 1) * steps]


def test_an_epoch_sees_every_image_and_all_its_batches_have_one_shape(numbered):
    recipe = load_recipe("quick", ["epochs=2", "batch_size=5"])
    for epoch in range(2):
        batches = batches_of_an_epoch(numbered, recipe, epoch)
        assert [images.shape for images, _ in batches] == [(5, 2, 2, 1)] * 3
        assert {int(label) for _, labels in batches for label in labels} == set(range(12))
        for images, labels in batches:
            np.testing.assert_array_equal(images[:, 0, 0, 0], labels)


def test_every_epoch_has_its_own_order_and_a_seed_repeats_it(numbered):
    def order(seed, epoch):
        recipe = load_recipe("quick", ["epochs=2", "batch_size=5", f"seed={seed}"])
        return [int(label) for _, labels in batches_of_an_epoch(numbered, recipe, epoch) for label in labels]

    assert order(0, 0) == order(0, 0)
    assert order(0, 0) != order(0, 1)
    assert order(0, 0) != order(1, 0)


def test_an_image_is_changed_alike_whatever_the_batch_size():
    random = np.random.default_rng(0)
    split = Split(random.integers(0, 256, (12, 8, 8, 1), np.uint8), np.arange(12))

    def seen(batch_size):
        recipe = load_recipe(
            "quick", ["epochs=1", f"batch_size={batch_size}", "augment.rotation=90", "augment.scale=[0.5,2.0]"]
        )
        batch = {}
        for images, labels in training_batches(split, recipe, 12).as_numpy_iterator():
            batch |= dict(zip(labels.tolist(), images, strict=True))
        return np.stack([batch[label] for label in range(12)])

    np.testing.assert_array_equal(seen(3), seen(12))
    assert (seen(12) != split.images).any(axis=(1, 2, 3)).all()


def test_training_at_its_best_with_validation_at_chance_is_called_out():
    labels = np.arange(100) % 10
    split = Split(np.zeros((100, 2, 2, 1), np.uint8), labels)
    data = Data("made", tuple("0123456789"), (2, 2, 1), split, split, split)
    warnings = TASKS["classification"].warnings
    (warning,) = warnings({"accuracy": 0.93, "val_accuracy": 0.12}, data)
    assert "12.0%" in warning
    assert "BatchNorm" in warning
    assert not warnings({"accuracy": 0.93, "val_accuracy": 0.83}, data)
    assert not warnings({"accuracy": 0.15, "val_accuracy": 0.12}, data)


@pytest.mark.parametrize("name", get_args(Optimizer.model_fields["name"].annotation))
def test_every_optimizer_trains_without_weight_decay_too(name):
    from recipes.training.model import compiled_model

    split = Split(np.zeros((20, 28, 28, 1), np.uint8), np.arange(20) % 10)
    data = Data("made", tuple("0123456789"), (28, 28, 1), split, split, split)
    recipe = load_recipe("quick", [f"optimizer.name={name}", "optimizer.weight_decay=0"])
    recipe = resolve("mlp", "digits", recipe)
    model = compiled_model(recipe, data)
    model.train_on_batch(np.zeros((4, *recipe.model.input_shape), np.uint8), np.arange(4))
    assert not model.optimizer.weight_decay


def test_an_optimizer_decays_weights_but_not_biases_and_warms_up():
    from recipes.training.model import compiled_model

    labels = np.arange(40) % 10
    split = Split(np.zeros((40, 32, 32, 1), np.uint8), labels)
    data = Data("made", tuple("0123456789"), (32, 32, 1), split, split, split)
    recipe = resolve("lenet5", "digits", "digits", ["epochs=10", "batch_size=10"])
    optimizer = compiled_model(recipe, data).optimizer
    rates = []
    for step in (0, 4, 8, 24, 40):
        optimizer.iterations.assign(step)
        rates.append(float(optimizer.learning_rate))
    assert rates[0] == 0
    assert rates[1] == pytest.approx(recipe.optimizer.learning_rate / 2)  # half of two epochs of four steps
    assert rates[2] == pytest.approx(recipe.optimizer.learning_rate)
    assert rates[3] == pytest.approx(recipe.optimizer.learning_rate / 2)
    assert rates[4] == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize(
    ("rules", "arguments"),
    [
        ([], {}),
        (["data.resize=fit", "data.split_seed=7", "data.split_near_duplicates=true"], {}),
        (["data.skip_bad=true"], {"resize": "stretch", "split_near_duplicates": True}),
    ],
)
def test_the_recipe_of_a_run_brings_the_rules_by_which_its_images_were_read(tmp_path, rules, arguments):
    first = resolve("lenet5", "digits", "quick", rules, **arguments)
    Run.create(tmp_path / "run").write_recipe(first)
    file = tmp_path / "run" / "recipe.toml"
    assert resolve(None, "digits", file) == first
    for recipe in (file, first):
        other = resolve(None, str(tmp_path), recipe)
        assert other.data == first.data.model_copy(update={"source": str(tmp_path)})
    assert resolve(None, "digits", file, resize="fit", skip_bad=True).data == first.data.model_copy(
        update={"resize": "fit", "skip_bad": True}
    )
    with pytest.raises(RequestError, match=r"unknown setting 'data.source'.* Allowed: data.resize, "):
        resolve("lenet5", "digits", "quick", ["data.source=digits"])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"model": "lenet"}, "did you mean 'lenet5'"),
        ({"model": None}, "no model is named"),
        ({"data": "digit"}, "did you mean 'digits'"),
        ({"recipe": "digit"}, "did you mean 'digits'"),
        ({"recipe": "nowhere.toml"}, "nowhere.toml does not exist"),
        ({"overrides": ["epoch=3"]}, "did you mean 'epochs'"),
        ({"overrides": ["epochs=0"]}, "epochs=0 is not possible"),
        ({"overrides": ["augment.rotation=400"]}, "augment.rotation=400 is not possible"),
        ({"overrides": ["augment.scale=[2.0,1.0]"]}, "smaller number first"),
        (
            {"overrides": ["model.options.nonlinearity=rleu"]},
            "unknown nonlinearity of lenet5 'rleu': did you mean 'relu'",
        ),
        ({"overrides": ["model.options.nonlinearity=3"]}, "nonlinearity=3 is not possible"),
        ({"overrides": ["learning_rate"]}, "KEY=VALUE"),
        ({"overrides": ["model.name=vgg_small"]}, "model.name=vgg_small is not lenet5"),
        ({"recipe": load_recipe("quick"), "overrides": ["epoch=3"]}, "did you mean 'epochs'"),
    ],
)
def test_a_wrong_request_is_answered_in_one_line_and_writes_nothing(tmp_path, arguments, message):
    with pytest.raises(RequestError) as error:
        fit(**{"model": "lenet5", "data": "digits", "recipe": "quick", "out": tmp_path / "run"} | arguments)
    assert message in str(error.value)
    assert "\n" not in str(error.value)
    assert not (tmp_path / "run").exists()


def test_overrides_come_before_a_recipe_of_any_kind():
    quick = load_recipe("quick")
    first = resolve("lenet5", "digits", quick, ["epochs=7", "data.split_seed=3"])
    assert first == resolve("lenet5", "digits", "quick", ["epochs=7", "data.split_seed=3"])
    assert (first.epochs, first.data.split_seed) == (7, 3)
    assert resolve("lenet5", "digits", first, ["epochs=8"]) == first.model_copy(update={"epochs": 8})


def test_the_digits_preset_does_not_mirror():
    augment = load_recipe("digits").augment
    assert not augment.horizontal_flip
    assert not augment.vertical_flip
    assert augment.rotation > 0


def test_a_run_is_never_mixed_with_what_is_in_the_folder(digits_run, tmp_path):
    with pytest.raises(RequestError, match="already holds a run"):
        Run.create(digits_run.path)
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(RequestError, match="not a run"):
        Run.create(tmp_path, overwrite=True)
    assert (tmp_path / "thesis.txt").read_text() == "mine"


def test_a_run_that_was_killed_before_it_began_leaves_its_folder_free(tmp_path):
    run = Run.create(tmp_path / "run")
    with run.lock():
        run.write_text("labels.txt", "0\n1\n")
        (run.path / ".123-recipe.toml").write_text("epo")
        with pytest.raises(RequestError, match="being written by another process"):
            Run.create(run.path)
    assert [file.name for file in Run.create(run.path).path.iterdir()] == ["checkpoints"]
    (run.path / ".lock").touch()
    (run.path / "thesis.txt").write_text("mine")
    with pytest.raises(RequestError, match="not a run"):
        Run.create(run.path)


@pytest.mark.parametrize(("steps", "epochs"), [(1, 1), (55, 1), (56, 2), (550, 10)])
def test_steps_are_as_many_whole_epochs_as_it_takes(steps, epochs):
    recipe = load_recipe("quick", [f"steps={steps}", "batch_size=64"]).in_epochs(3_500)
    assert (recipe.epochs, recipe.steps) == (epochs, None)
    assert recipe.in_epochs(10) is recipe


def test_overwriting_replaces_the_whole_run(tmp_path):
    run = Run.create(tmp_path / "run")
    run.write_recipe(load_recipe("quick"))
    run.write_text("metrics.json", "old")
    again = Run.create(tmp_path / "run", overwrite=True)
    assert [file.name for file in again.path.iterdir()] == ["checkpoints"]


def test_validation_counts_every_image_once(digits_run):
    rows = list(csv.DictReader((digits_run.path / "history.csv").read_text().splitlines()))
    for row in rows:
        right = float(row["val_accuracy"]) * 500
        assert right == pytest.approx(round(right), abs=1e-3)


@pytest.fixture(scope="module")
def shapes_folder(tmp_path_factory):
    """Images of two kinds in two folders: dark with a bright half, on the left or on the right."""
    from PIL import Image

    folder = tmp_path_factory.mktemp("images")
    random = np.random.default_rng(0)
    for name, half in (("left", slice(0, 16)), ("right", slice(16, 32))):
        (folder / "shapes" / name).mkdir(parents=True)
        for number in range(30):
            image = random.integers(0, 60, (32, 32), np.uint8)
            image[:, half] += 150
            Image.fromarray(image).save(folder / "shapes" / name / f"{number}.png")
    return folder


@pytest.mark.slow
def test_a_run_on_a_folder_knows_its_images_from_anywhere(shapes_folder, tmp_path, monkeypatch):
    monkeypatch.chdir(shapes_folder)
    settings = ["epochs=3", "batch_size=8"]
    run = fit("lenet5", data="shapes", out=tmp_path / "run", recipe="quick", overrides=settings, quiet=True).run
    held = run.load_data()
    assert held.sizes == {"train": 44, "validation": 4, "test": 12}
    (shapes_folder / "shapes" / "left" / "late.png").write_bytes(
        (shapes_folder / "shapes" / "left" / "0.png").read_bytes()
    )
    monkeypatch.chdir(tmp_path)
    again = Run.open("run").load_data()
    assert again.test.files == held.test.files
    np.testing.assert_array_equal(again.test.images, held.test.images)
    assert (run.load_model().predict(held.test.images, verbose=0).argmax(1) == held.test.labels).mean() == 1.0
