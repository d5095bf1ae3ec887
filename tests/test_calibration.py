"""Probabilities are as often right as they say, and nothing else of a model changes."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize_scalar
from scipy.special import expit, log_softmax, softmax

import zoo
from recipes import text
from recipes.config.settings import Recipe
from recipes.data import Data, Split
from recipes.evaluate import evaluate
from recipes.fit import fit, resume
from recipes.run import Run
from recipes.tasks import TASKS
from recipes.tasks.calibration import (
    ADDED,
    COLDEST,
    HOTTEST,
    class_thresholds,
    fit_temperature,
    reheated,
    reheated_each,
    yes_or_no,
)
from recipes.tasks.metrics import brier_score, by_chance, calibration, calibration_error, reliability, wilson
from recipes.training.calibration import before_scores, calibrate, calibrate_whole
from zoo.errors import FailureError


def drawn(images, classes, seed, spread=3.0):
    """Logits, and labels that are drawn from their probabilities."""
    random = np.random.default_rng(seed)
    logits = spread * random.standard_normal((images, classes))
    return logits, np.array([random.choice(classes, p=row) for row in softmax(logits, axis=1)])


@settings(max_examples=25, deadline=None, derandomize=True)
@given(st.integers(2, 6), st.integers(3, 60), st.floats(0.2, 4), st.integers(0, 99))
def test_the_temperature_is_that_of_the_least_loss(classes, images, factor, seed):
    """Against SciPy's minimum of the loss, written out image by image."""
    logits, labels = drawn(images, classes, seed)
    logits *= factor

    def loss(log_temperature):
        logs = log_softmax(logits / np.exp(log_temperature), axis=1)
        own, added, sure = 0.0, 0.0, 0.0
        for scores, at, label in zip(softmax(logits, axis=1), logs, labels, strict=True):
            own -= at[label]
            for other in range(classes):
                if other != scores.argmax():
                    added -= scores[other] * at[other]
                    sure += scores[other]
        return own + ADDED * added / sure

    limits = np.log(COLDEST), np.log(HOTTEST)
    least = minimize_scalar(loss, bounds=limits, method="bounded", options={"xatol": 1e-9})
    found = fit_temperature(logits, labels)
    assert loss(np.log(found)) == pytest.approx(least.fun, rel=1e-9)
    assert np.log(found) == pytest.approx(least.x, abs=2e-3)


@pytest.mark.parametrize("factor", [0.25, 1, 5])
def test_what_sharpened_the_logits_is_found_again(factor):
    logits, labels = drawn(4_000, 5, 0)
    assert fit_temperature(factor * logits, labels) == pytest.approx(factor, rel=0.1)
    yes = (np.random.default_rng(1).random(logits.shape) < expit(logits)).astype(float)
    of_each = TASKS["multilabel"].fit_temperature(factor * logits.astype(np.float32), yes)
    assert of_each == pytest.approx(factor, rel=0.1)


def test_few_images_that_are_all_right_do_not_make_a_model_sure_of_everything():
    logits = np.array([[2.0, 0.0], [0.0, 2.0]] * 9)
    temperature = fit_temperature(logits, logits.argmax(1))
    sure = softmax(logits / temperature, axis=1).max(1).mean()
    assert 1 - sure == pytest.approx(ADDED / (18 + ADDED), rel=1e-6)  # half a mistake in eighteen and a half
    far = fit_temperature(1e4 * logits, logits.argmax(1))  # probabilities of mistakes that are 0 even in float64
    assert COLDEST <= far <= HOTTEST
    assert fit_temperature(logits, 1 - logits.argmax(1)) == HOTTEST
    assert fit_temperature(np.ones((3, 1)), np.zeros(3, int)) == 1


def test_what_was_heated_can_be_cooled():
    logits, _ = drawn(50, 4, 2)
    scores, each = softmax(logits / 2, axis=1), expit(logits / 2)
    np.testing.assert_allclose(reheated(scores, 0.5), softmax(logits, axis=1), rtol=1e-9)
    np.testing.assert_allclose(reheated_each(each, 0.5), expit(logits), rtol=1e-9)
    np.testing.assert_allclose(softmax(yes_or_no(logits), axis=1)[:, 1], expit(logits).reshape(-1), rtol=1e-9)


def test_the_figures_agree_with_scikit_learn():
    from sklearn.calibration import calibration_curve
    from sklearn.metrics import brier_score_loss

    logits, labels = drawn(300, 3, 4)
    scores = softmax(logits, axis=1)
    truth = np.eye(3)[labels]
    parts = [brier_score_loss(truth[:, i], scores[:, i]) for i in range(3)]
    assert brier_score(labels, scores) == pytest.approx(sum(parts))
    found = calibration(truth, scores)
    assert found["brier_score"] == pytest.approx(np.mean(parts))
    right, confidence = calibration_curve(truth.reshape(-1), scores.reshape(-1), n_bins=15)
    assert [row["accuracy"] for row in found["reliability"]] == pytest.approx(right)
    assert [row["confidence"] for row in found["reliability"]] == pytest.approx(confidence)
    assert calibration(labels, scores)["calibration_error"] == calibration_error(labels, scores)


@settings(max_examples=50, deadline=None, derandomize=True)
@given(st.integers(1, 400).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_wilsons_interval_is_scipys(counts):
    from scipy.stats import binomtest

    interval = binomtest(*counts).proportion_ci(0.95, method="wilson")
    assert wilson(*counts) == pytest.approx([interval.low, interval.high], abs=1e-12)
    assert wilson(0, 0) == [0.0, 1.0]


def test_the_error_that_chance_alone_makes_is_that_of_many_draws():
    random = np.random.default_rng(0)
    confidence = random.beta(8, 1, 1_000)
    drawn = [reliability(confidence, random.random(1_000) < confidence) for _ in range(300)]
    gaps = [sum(r["images"] * abs(r["accuracy"] - r["confidence"]) for r in rows) / 1_000 for rows in drawn]
    assert by_chance(drawn[0]) == pytest.approx(np.mean(gaps), rel=0.05)


def test_class_thresholds_find_the_frequencies_again():
    """Of a model that is right in a world where one class is rare, the logarithm of the frequencies is taken away."""
    random, frequency = np.random.default_rng(0), np.array([0.9, 0.08, 0.02])
    labels = random.choice(3, 4_000, p=frequency)
    seen = np.eye(3)[labels] * 2 + random.normal(0, 1, (4_000, 3))
    logits = 2 * seen + np.log(frequency)  # what Bayes says of three normal distributions
    strength, added = class_thresholds(logits, labels, 1_000 * frequency)
    assert strength == pytest.approx(1, abs=0.1)
    np.testing.assert_allclose(added, -strength * (np.log(frequency) - np.log(frequency).mean()))
    alike = class_thresholds(logits, labels, np.full(3, 100))[1]
    np.testing.assert_array_equal(alike, 0)
    right = [(labels == one.argmax(1)) for one in (logits, logits + added)]
    recalls = [np.mean([those[labels == kind].mean() for kind in range(3)]) for those in right]
    assert recalls[1] > recalls[0] + 0.1


def test_a_run_keeps_the_thresholds_of_its_classes(trained, tmp_path):
    run = Run.open(shutil.copytree(trained("lenet5", "epochs=1", "calibrate=false").path, tmp_path / "run"))
    model, data = run.load_model(), run.load_data()
    rare = replace(data, train=data.train[data.train.labels > 0])
    before = model.get_weights()[-1]
    run.write_json("calibration.json", calibrate_whole(model, rare, Recipe(class_thresholds="balanced")))
    kept = Run.open(run.path).calibration
    added = np.array(kept["class_thresholds"]["added"])
    np.testing.assert_allclose(model.get_weights()[-1], before / kept["temperature"] + added, rtol=1e-5, atol=1e-6)
    assert added.argmax() == 0
    assert kept["images"] == len(data.validation)


HEADS = [
    ("lenet5", {}),
    ("lenet5", {"pooling": "average", "hidden": (7,)}),
    ("all_cnn_c", {"input_shape": (16, 16, 1)}),
    ("p4_cnn", {}),
    ("p4_cnn", {"pooling": "flatten"}),
    ("lenet5", {"pooling": "convolutional", "symmetry": "mirror"}),
    ("lenet5", {"pooling": "max", "symmetry": "mirror"}),
]


@pytest.mark.parametrize(("name", "how"), HEADS, ids=lambda value: str(value))
def test_it_is_in_the_logits_whatever_the_head(name, how):
    given = {"input_shape": (28, 28, 1)} | how
    model = zoo.create_model(name, classes=3, **given)
    random = np.random.default_rng(0)
    for weight in model.weights:
        if weight.path.endswith("bias"):
            weight.assign(random.normal(0, 0.5, weight.shape))
    images = random.integers(0, 256, (8, *given["input_shape"])).astype(np.float32)
    labels, before, parameters = random.integers(0, 3, 8), before_scores(model), model.count_params()
    logits = before.predict(images, verbose=0)
    part = Split(images, labels)
    data, task = Data("", ("a", "b", "c"), None, part, part, part), TASKS["classification"]
    temperature = calibrate(model, lambda: logits, data, Recipe(), task)["temperature"]
    np.testing.assert_allclose(before.predict(images, verbose=0), logits / temperature, rtol=1e-4, atol=1e-6)
    assert (before.predict(images, verbose=0).argmax(1) == logits.argmax(1)).all()
    assert model.count_params() == parameters
    assert calibrate(model, lambda: logits, data, Recipe(calibrate=False), task) == {}
    assert calibrate(model, lambda: logits, data, Recipe(), TASKS["regression"]) == {}
    logits = before.predict(images, verbose=0)
    found = calibrate(model, lambda: logits, data, Recipe(calibrate=False, class_thresholds="balanced"), task)
    added = found["class_thresholds"]["added"]
    np.testing.assert_allclose(before.predict(images, verbose=0), logits + added, rtol=1e-4, atol=1e-5)
    assert set(found) == {"class_thresholds"}


def test_a_run_is_calibrated_and_predicts_the_same(trained):
    plain, honest = trained("lenet5", "epochs=1", "calibrate=false"), trained("lenet5", "epochs=1")
    assert (plain.calibration, "calibration" in plain.metrics) == ({}, False)
    temperature = honest.calibration["temperature"]
    one, other = plain.load_model(), honest.load_model()
    for mine, theirs in zip(one.weights, other.weights, strict=True):
        factor = temperature if "logits" in mine.path else 1
        np.testing.assert_allclose(mine, factor * np.asarray(theirs), rtol=1e-6)
    assert plain.metrics["wrong"] == honest.metrics["wrong"]
    before = honest.metrics["calibration"]["before"]
    for key in ("loss", "calibration_error", "brier_score"):
        assert before[key] == pytest.approx(plain.metrics[key], rel=1e-3)
    data = honest.load_data()
    logits = before_scores(other).predict(data.validation.images, verbose=0)
    assert fit_temperature(logits, data.validation.labels) == pytest.approx(1, abs=0.02)  # nothing is left to mend
    assert "before their temperature of" in text.evaluation(honest.metrics)


def test_what_it_was_before_is_kept_and_may_be_lost(trained, tmp_path):
    run = Run.open(shutil.copytree(trained("lenet5", "epochs=1").path, tmp_path / "run"))
    kept = run.metrics["calibration"]
    assert evaluate(run)["calibration"]["temperature"] == kept["temperature"]
    elsewhere = evaluate(run.path / "model.keras", data="digits")
    assert elsewhere["calibration"]["before"]["loss"] == pytest.approx(kept["before"]["loss"], rel=1e-5)
    (run.path / "calibration.json").unlink()
    assert "calibration" not in evaluate(Run.open(run.path))


@pytest.mark.slow
def test_a_training_that_is_stopped_while_it_ends_is_not_calibrated_twice(trained, tmp_path, monkeypatch):
    write = Run.write_json

    def stopped(self, name, value):
        if name == "metrics.json":
            raise FailureError("stopped")
        write(self, name, value)

    given = {"data": "digits", "recipe": "quick", "overrides": ["epochs=1"], "quiet": True}
    with monkeypatch.context() as patched:
        patched.setattr(Run, "write_json", stopped)
        with pytest.raises(FailureError):
            fit("lenet5", out=tmp_path / "run", **given)
    ended = resume(tmp_path / "run", quiet=True)
    whole = trained("lenet5", "epochs=1")
    for mine, theirs in zip(ended.run.load_model().get_weights(), whole.load_model().get_weights(), strict=True):
        np.testing.assert_array_equal(mine, theirs)
    assert ended.run.calibration == whole.calibration


def test_files_say_their_temperature_and_are_judged_with_it(trained, tmp_path):
    from recipes.export.handover import export
    from recipes.tflite.file import TFLiteFile

    run = trained("lenet5", "epochs=1")
    temperature = run.calibration["temperature"]
    file = export(run, to="float32", out=tmp_path / "digits.tflite").file
    assert TFLiteFile(file).facts["temperature"] == temperature
    assert json.loads((tmp_path / "digits.json").read_text())["temperature"] == temperature
    found = evaluate(file, data="digits")["calibration"]
    assert found["before"]["reliability"]
