"""A run folder: what is read of it and when, and runs that earlier and later versions wrote."""

import json
import shlex

import pytest

import cli
from recipes import text
from recipes.config.presets import SCHEMA, load_recipe
from recipes.config.settings import ResolvedRecipe
from recipes.fit import fit
from recipes.report.sections import command_to_reproduce
from recipes.run.folder import Run
from zoo.errors import RequestError

# As it was written before recipes had a schema.
FIRST_SCHEMA = """
epochs = 3
batch_size = 64
seed = 0
label_smoothing = 0.0
class_weight = "none"
precision = "float32"
early_stopping = 0
deterministic = false

[about]
summary = "A new head."
source = ""
reaches = ""
command = ""

[model]
name = "lenet5"
input_shape = [28, 28, 1]

[model.options]

[data]
source = "/images/old"
also = ["/images/new"]
image_shape = [28, 28, 1]
resize = "fit"
split_seed = 0
skip_bad = true

[optimizer]
name = "adamw"
learning_rate = 0.001

[augment]
rotation = 10.0

[finetune]
source = "/runs/first"
keep_classes = true
views = 2
stages = 1

[versions]
python = "3.11.2"
convzoo = "0.1.0"
"""
METRICS = {
    "task": "classification",
    "accuracy": 0.75,
    "accuracy_interval": [0.5, 1.0],
    "loss": 0.5,
    "calibration_error": 0.1,
    "top_k": {"k": 1, "accuracy": 0.75},
    "examples": 4,
    "per_class": {
        "cat": {"precision": 1.0, "recall": 0.5, "f1": 0.67, "support": 2},
        "dog": {"precision": 0.67, "recall": 1.0, "f1": 0.8, "support": 2},
    },
    "confusion_matrix": [[1, 1], [0, 2]],
    "class_names": ["cat", "dog"],
    "worst_mistakes": [
        {"index": 1, "file": "cat/1.png", "true": "cat", "guess": "dog", "score": 0.9, "true_score": 0.1}
    ],
}
EXPORTS = {
    "int8": {
        "kind": "int8",
        "file": "lenet5-int8.tflite",
        "bytes": 66160,
        "agreement": 1.0,
        "accuracy_file": 0.75,
        "accuracy_keras": 0.75,
        "max_difference": 0.01,
    }
}


@pytest.fixture
def earlier(tmp_path):
    """The folder of a fine-tuned run as the first schema has it."""
    folder = tmp_path / "earlier"
    folder.mkdir()
    (folder / "recipe.toml").write_text(FIRST_SCHEMA)
    (folder / "labels.txt").write_text("cat\ndog\n")
    (folder / "history.csv").write_text("epoch,loss,val_loss\n1,0.9,nan\n2,0.5,-\n")
    (folder / "metrics.json").write_text(json.dumps(METRICS))
    (folder / "export.json").write_text(json.dumps(EXPORTS))
    return folder


def test_a_run_of_the_first_schema_opens(earlier):
    run = Run.open(earlier)
    assert run.recipe.finetune.keep_old_classes
    assert (run.recipe.finetune.views, run.recipe.augment.rotation) == (2, 10.0)
    assert run.class_names == ("cat", "dog")
    assert run.task == "classification"
    assert run.exports["int8"]["bytes"] == 66160
    assert [row["loss"] for row in run.history] == [0.9, 0.5]
    assert [row["val_loss"] == row["val_loss"] for row in run.history] == [False, False]  # not a number
    assert "accuracy 75.00%" in text.evaluation(run.metrics)


def test_a_recipe_is_written_with_its_schema_and_read_back_as_it_was(earlier):
    run = Run(earlier)
    kept = run.recipe
    run.write_recipe(kept)
    assert (earlier / "recipe.toml").read_text().startswith(f"schema = {SCHEMA}\n")
    assert Run.open(earlier).recipe == kept


@pytest.mark.parametrize("schema", [SCHEMA + 1, 0, '"new"'])
def test_a_schema_that_is_not_known_is_refused_in_one_line(earlier, capsys, schema):
    (earlier / "recipe.toml").write_text(f"schema = {schema}\nunheard_of = 1\n")
    assert cli.main(["predict", str(earlier), str(earlier / "labels.txt")]) == 2  # its images are looked at first
    capsys.readouterr()
    assert cli.main(["finetune", str(earlier), "--data", "digits", "--out", str(earlier / "x")]) == 2
    with pytest.raises(RequestError, match=rf"has schema .*; this convzoo reads 1 to {SCHEMA}, a newer one may"):
        _ = Run.open(earlier).recipe


def test_what_is_read_once_is_read_again_after_it_was_written(earlier):
    run = Run.open(earlier)
    assert run.metrics is run.metrics
    assert run.recipe is run.recipe
    run.write_json("metrics.json", METRICS | {"accuracy": 0.5})
    assert run.metrics["accuracy"] == 0.5
    run.write_recipe(run.recipe.model_copy(update={"epochs": 7}))
    assert run.recipe.epochs == 7
    run.write_rows("history.csv", [{"epoch": 1, "loss": 2.5}])
    assert run.history == [{"epoch": 1.0, "loss": 2.5}]


def test_what_another_process_wrote_is_seen_by_who_has_the_lock(earlier):
    run, other = Run.open(earlier), Run.open(earlier)
    assert run.metrics["accuracy"] == 0.75
    other.write_json("metrics.json", {})
    with run.lock():
        assert run.metrics == {}


def test_an_export_keeps_the_rows_that_others_wrote_meanwhile(earlier):
    run, other = Run.open(earlier), Run.open(earlier)
    assert list(run.exports) == ["int8"]
    other.write_exports({"float32": {"bytes": 2}})
    run.write_exports({"float16": {"bytes": 1}, "int8": {"bytes": 3}})
    assert run.exports == {"int8": {"bytes": 3}, "float32": {"bytes": 2}, "float16": {"bytes": 1}}


def test_training_from_scratch_refuses_a_recipe_for_fine_tuning(earlier, tmp_path):
    with pytest.raises(RequestError, match="has a table \\[finetune\\]: it trains a model on; see `zoo finetune`"):
        fit("lenet5", data="digits", out=tmp_path / "new", recipe=earlier / "recipe.toml")
    assert not (tmp_path / "new").exists()


def test_the_command_of_a_fine_tuned_run_is_a_fine_tuning(earlier):
    run = Run.open(earlier)
    words = shlex.split(command_to_reproduce(run, run.recipe))
    assert words[:3] == ["zoo", "finetune", "/runs/first"]
    given = cli.commands.commands["finetune"].make_context("finetune", words[2:]).params
    assert given["keep_old_classes"]
    assert (given["data"], given["weights"]) == ("/images/new", None)
    recipe = load_recipe(given["recipe"], kind="finetune")
    assert recipe.data == run.recipe.data.rules
    assert (recipe.data.resize, recipe.data.skip_bad) == ("fit", True)
    assert recipe.model_copy(update={"data": run.recipe.data}) == run.recipe


def test_the_command_of_a_fine_tuned_model_names_its_weights(tmp_path):
    settings = {"model": {"name": "efficientnet_lite0", "weights": "imagenet"}}
    settings["data"] = {"source": "digits", "image_shape": [224, 224, 3]}
    recipe = ResolvedRecipe.model_validate(settings | {"finetune": {"source": "efficientnet_lite0"}})
    words = shlex.split(command_to_reproduce(Run(tmp_path), recipe))
    given = cli.commands.commands["finetune"].make_context("finetune", words[2:]).params
    assert (given["source"], given["weights"], given["keep_old_classes"]) == ("efficientnet_lite0", "imagenet", False)


@pytest.mark.slow
def test_the_command_of_a_fine_tuned_run_trains_the_same_again(digits_run, tmp_path):
    from images import digit_folders

    from recipes.finetune import finetune

    first = digit_folders(tmp_path / "first", "14")
    short = {"recipe": "head", "quiet": True}
    one = finetune(digits_run.path, data=str(first), out=tmp_path / "one", overrides=["epochs=2"], **short).run
    new = digit_folders(tmp_path / "new", "7")
    more = {"keep_old_classes": True, "overrides": ["epochs=3", "seed=5"]}
    two = finetune(one.path, data=str(new), out=tmp_path / "two", **short, **more).run
    for run in (one, two):
        assert cli.main(shlex.split(command_to_reproduce(run, run.recipe))[1:]) == 0
        again = Run.open(f"{run.path}-again")
        assert again.recipe == run.recipe
        assert again.metrics == run.metrics
        assert (again.path / "history.csv").read_text() == (run.path / "history.csv").read_text()
