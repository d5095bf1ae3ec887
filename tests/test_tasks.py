"""Labels that are not one class an image: any number of classes, or a number."""

import csv
import re

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_digits
from sklearn.metrics import average_precision_score, f1_score, mean_absolute_error, r2_score

from cli import main
from recipes.compare import compare
from recipes.config.presets import load_recipe
from recipes.data.dataset import Data, Split
from recipes.evaluate.scoring import evaluate
from recipes.export.handover import export
from recipes.predict import predict
from recipes.report.run_page import report
from recipes.tasks import TASKS
from recipes.tasks.classification import adjusted_loss
from recipes.tflite.inspection import inspect
from zoo.errors import RequestError

PROPERTIES = {"even": (0, 2, 4, 6, 8), "large": (5, 6, 7, 8, 9), "round": (0, 6, 8, 9)}
SHORT = ["epochs=25", "model.input_shape=[32,32,1]", "optimizer.learning_rate=4e-3"]


def table(folder, name, images, labels):
    for i, image in enumerate(images):
        Image.fromarray(np.uint8(image * 255 / 16)).save(folder / f"{i}.png")
    with open(folder / name, "w", newline="") as file:
        csv.writer(file).writerows([("file", "label"), *((f"{i}.png", label) for i, label in enumerate(labels))])
    return str(folder / name)


def history(run):
    with open(run / "history.csv", newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="session")
def several(once, trained):
    """A run on digits of which several things are true at once, or none (1 and 3)."""
    digits = load_digits()
    labels = ["|".join(n for n, members in PROPERTIES.items() if d in members) for d in digits.target[:500]]
    folder = once("several", lambda folder: table(folder, "labels.csv", digits.images[:500], labels))
    return trained("lenet5", *SHORT, data=folder / "labels.csv")


@pytest.fixture(scope="session")
def amounts(once, trained):
    """A run on digits with the amount of ink in them, in a unit that is far from 0 to 1."""
    images = load_digits().images[:500]
    labels = [1000 + 50 * float(image.mean()) for image in images]
    folder = once("amounts", lambda folder: table(folder, "ink.csv", images, labels))
    return trained("lenet5", *SHORT, data=folder / "ink.csv")


@pytest.mark.slow
def test_several_classes_are_learnt_and_scored_as_scikit_learn_scores_them(several):
    figures, test = evaluate(several), several.load_data().test
    scores = several.load_model().predict(test.images, verbose=0)
    assert figures["map"] == pytest.approx(average_precision_score(test.labels, scores))
    assert figures["f1"] == pytest.approx(f1_score(test.labels, scores >= 0.5, average="micro"))
    assert figures["map"] > 0.9  # guessing has about 0.5


@pytest.mark.slow
def test_a_number_is_learnt_in_its_own_unit_and_scored_as_scikit_learn_scores_it(amounts):
    figures, test = evaluate(amounts), amounts.load_data().test
    values = amounts.load_model().predict(test.images, verbose=0)[:, 0]
    assert figures["mae"] == pytest.approx(mean_absolute_error(test.labels, values))
    assert figures["r2"] == pytest.approx(r2_score(test.labels, values))
    assert figures["r2"] > 0.7  # guessing the mean has 0
    rows = history(amounts.path)
    assert float(rows[0]["val_loss"]) < 3  # in units of the variance, not 50² times as much


@pytest.mark.parametrize("name", ["several", "amounts"])
def test_a_run_of_any_task_is_reported_compared_and_used(name, request):
    run = request.getfixturevalue(name)
    assert "learning-curves" in report(run).file.read_text()
    [row] = compare([run])
    assert row["accuracy"] is None
    assert row["figures"]["task"] == run.task
    [guess] = predict(run.path, [run.load_data().test.files[0]])
    assert len(guess.guesses) == {"several": 3, "amounts": 1}[name]


@pytest.mark.parametrize(("name", "least"), [("several", 0.99), ("amounts", 0.99)])
def test_a_run_of_any_task_is_exported_and_verified(name, least, request, tmp_path):
    from ai_edge_litert.interpreter import Interpreter

    run = request.getfixturevalue(name)
    test, out = run.load_data().test, tmp_path / "file.tflite"
    exported = export(run, to="int8", out=out, budget={"drop": 0.05})
    assert exported.agreement >= least

    # The same metrics, found without any code of the project.
    interpreter = Interpreter(str(out))
    interpreter.allocate_tensors()
    pixels, scores = interpreter.get_input_details()[0], interpreter.get_output_details()[0]
    scale, zero_point = scores["quantization"]
    given = []
    for image in test.images:
        interpreter.set_tensor(pixels["index"], image[None])
        interpreter.invoke()
        given.append((interpreter.get_tensor(scores["index"])[0].astype(float) - zero_point) * scale)
    if name == "several":
        assert exported.accuracy_file == pytest.approx(((np.array(given) >= 0.5) == test.labels).mean())
        assert set(exported.per_class) == set(PROPERTIES)
    else:
        assert exported.accuracy_file == pytest.approx(r2_score(test.labels, np.array(given)[:, 0]), abs=1e-6)
        assert exported.per_class == {}

    (by_run,), (by_file,) = predict(run.path, test.files[:1]), predict(out, test.files[:1])
    assert by_file.shares == by_run.shares == (name == "several")
    best = by_run.guesses[0][0]  # in integers, scores near 1 may tie with it
    assert dict(by_file.guesses)[best] == pytest.approx(by_file.guesses[0][1], abs=1 / 128)
    assert run.task in str(inspect(out).facts)


def test_what_needs_one_class_an_image_says_so(several, amounts, tmp_path, capsys):
    with pytest.raises(RequestError, match=r"invariance is measured of one class an image; .* multilabel"):
        evaluate(several, invariance=True)
    with pytest.raises(RequestError, match="no accuracy to draw"):
        compare([amounts], plot=amounts.path / "plot.png")
    source = amounts.recipe.data.source
    named = (
        "class_weight=balanced",
        "label_smoothing=0.1",
        "logit_adjustment=1",
        "class_thresholds=balanced",
        "unknown.source=digits",
    )
    for setting, what in ((one, re.split("[=.]", one)[0]) for one in named):
        command = ["fit", "lenet5", "--data", source, "--input-shape", "32x32x1", "--set", setting]
        assert main([*command, "--recipe", "quick", "--out", str(tmp_path / "other")]) == 2
        assert what in capsys.readouterr().err


@pytest.mark.slow
def test_tensorboard_holds_the_history(tmp_path):
    events = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    tfrecords = pytest.importorskip("tensorboard.util.tensor_util")
    command = ["fit", "lenet5", "--data", "digits", "--recipe", "quick", "--epochs", "2", "--tensorboard"]
    assert main([*command, "--quiet", "--out", str(tmp_path / "run")]) == 0
    rows = history(tmp_path / "run")
    for part, column in (("train", "loss"), ("validation", "val_accuracy")):
        written = events.EventAccumulator(str(tmp_path / "run" / "tensorboard" / "state" / part))
        written.Reload()
        series = written.Tensors(f"epoch_{column.removeprefix('val_')}")
        values = [float(tfrecords.make_ndarray(point.tensor_proto)) for point in series]
        assert values == pytest.approx([float(row[column]) for row in rows])


def test_few_validation_images_choose_the_epoch_by_their_loss_and_say_what_they_are_worth():
    task = TASKS["classification"]
    right, sure = {"val_accuracy": 0.9, "val_loss": 0.5}, {"val_accuracy": 0.8, "val_loss": 0.4}
    assert task.merit(right) > task.merit(sure)
    assert task.merit(right, 100) > task.merit(sure, 100)
    assert task.merit(right, 18) < task.merit(sure, 18)

    def warnings(images):
        part = Split(np.zeros((images, 1, 1, 1), np.uint8), np.arange(images) % 2)
        best = {"accuracy": 0.9, "val_accuracy": 16 / 18, "val_loss": 0.4}
        return task.warnings(best, Data("", ("a", "b"), None, part, part, part))

    assert warnings(100) == []
    (few,) = warnings(18)
    assert "one of them is 5.6% of accuracy, and the 95 % interval of its 88.9% is 67.2% to 96.9%" in few


def test_logit_adjustment_is_cross_entropy_of_scores_times_frequencies():
    labels = np.repeat([0, 1, 2], [70, 20, 10])
    part = Split(np.zeros((100, 1, 1, 1), np.uint8), labels)
    data = Data("", ("a", "b", "c"), None, part, part, part)
    recipe = load_recipe("quick", ["logit_adjustment=0.5"])
    scores = np.array([[0.6, 0.3, 0.1], [0.2, 0.2, 0.6]], np.float32)
    weighted = scores * np.sqrt([0.7, 0.2, 0.1])
    expected = -np.log((weighted / weighted.sum(1, keepdims=True))[[0, 1], [2, 1]])
    loss = TASKS["classification"].loss(recipe, data)
    np.testing.assert_allclose(loss(np.array([2, 1]), scores), expected, rtol=1e-5)
    smoothed = load_recipe("quick", ["logit_adjustment=0.5", "label_smoothing=0.3"])
    targets = TASKS["classification"].targets(np.array([2, 1]), smoothed, 3)
    given = TASKS["classification"].loss(smoothed, data)(targets, scores)
    even = -np.log(weighted / weighted.sum(1, keepdims=True)).mean(1)
    np.testing.assert_allclose(given, 0.7 * expected + 0.3 * even, rtol=1e-5)


def test_logit_adjustment_learns_from_an_image_that_is_surely_wrong():
    import tensorflow as tf

    logits = tf.Variable([[40.0, 0.0]])
    with tf.GradientTape() as tape:
        loss = adjusted_loss(np.array([1]), tf.nn.softmax(logits), added=np.log([0.5, 0.5], dtype=np.float32))
    assert float(loss[0]) == pytest.approx(40, rel=1e-4)
    np.testing.assert_allclose(tape.gradient(loss, logits), [[1, -1]], rtol=1e-4)


def test_rare_classes_are_made_up_for_once():
    thresholds = "class_thresholds=balanced"
    for settings in (
        ["logit_adjustment=1", "class_weight=balanced"],
        ["logit_adjustment=1", "unknown.source=digits"],
        [thresholds, "class_weight=balanced"],
        [thresholds, "unknown.source=digits"],
    ):
        with pytest.raises(RequestError, match="allowed"):
            load_recipe("quick", settings)
