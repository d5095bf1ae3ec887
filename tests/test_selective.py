"""A threshold keeps what it promises, wherever it goes; and what is left out is counted."""

import json
import shutil

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom, binomtest

from recipes import text
from recipes.evaluate import evaluate
from recipes.export.handover import export
from recipes.export.kinds.c_array import write_c_array
from recipes.predict import Prediction, predict
from recipes.run import Run
from recipes.tasks.selective import at_threshold, choose_threshold, highest_shown, least_images, risks, selective
from recipes.tflite import metadata
from recipes.tflite.file import TFLiteFile
from zoo.errors import FailureError, RequestError


def drawn(images, random, sharpness=6.0):
    """Scores, and predictions that are right as often as they say."""
    scores = 1 - 0.5 * random.random(images) ** sharpness
    return scores, random.random(images) < scores


def test_the_precision_holds_as_often_as_it_says():
    """Over many samples of one population, whose precision above any score is known."""
    random = np.random.default_rng(0)
    population = drawn(400_000, random)
    scores, right = (values[np.argsort(-population[0])] for values in population)
    precision = np.cumsum(right) / np.arange(1, len(right) + 1)
    broken = found = 0
    for _ in range(200):
        rows = random.integers(0, len(scores), 1_500)
        chosen = choose_threshold(scores[rows], right[rows], 0.97)
        if chosen is not None:
            found += 1
            broken += precision[np.searchsorted(-scores, -chosen.value, side="right") - 1] < 0.97
    assert found > 150
    assert broken <= binom.ppf(0.99, 200, 0.05)


@settings(max_examples=40, deadline=None, derandomize=True)
@given(st.integers(0, 10_000), st.integers(1, 800), st.sampled_from([0.5, 0.9, 0.99]), st.booleans())
def test_what_is_chosen_is_shown_by_the_exact_test(seed, images, precision, rounded):
    scores, right = drawn(images, np.random.default_rng(seed))
    scores = scores.round(2) if rounded else scores  # with many of the same
    chosen = choose_threshold(scores, right, precision)
    if chosen is None:
        return
    given = scores >= chosen.value
    assert (given.sum(), right[given].sum()) == (chosen.accepted, chosen.right)
    assert binomtest(chosen.right, chosen.accepted, precision, alternative="greater").pvalue <= 0.05 + 1e-9
    interval = binomtest(chosen.right, chosen.accepted).proportion_ci(0.9, method="exact")  # 95 % on one side
    assert chosen.lower == pytest.approx(interval.low, abs=1e-9)


def test_the_least_images_are_the_least():
    for precision in (0.5, 0.9, 0.99, 0.999):
        count = least_images(precision)
        assert precision**count <= 0.05 < precision ** (count - 1)
        sure = np.ones(count), np.ones(count, bool)
        assert choose_threshold(*sure, precision) is not None
        assert choose_threshold(sure[0][1:], sure[1][1:], precision) is None
    assert highest_shown(np.ones(100), np.ones(100, bool), 0.99) == 0.97


@settings(max_examples=40, deadline=None, derandomize=True)
@given(st.lists(st.tuples(st.integers(0, 5), st.booleans()), min_size=1, max_size=30))
def test_risk_is_the_mean_over_the_orders_of_equal_scores(images):
    scores, right = (np.array(column) for column in zip(*images, strict=True))
    random, total = np.random.default_rng(0), np.zeros(len(images))
    for _ in range(400):
        order = np.lexsort((random.random(len(images)), -scores))
        total += np.cumsum(~right[order]) / np.arange(1, len(images) + 1)
    found = risks(scores, right)
    assert found == pytest.approx(total / 400, abs=0.12)
    assert found[-1] == pytest.approx(1 - right.mean())


def test_coverage_of_a_case_worked_by_hand():
    scores = np.array([[0.9, 0.1], [0.8, 0.2], [0.7, 0.3], [0.4, 0.6]])
    found = selective(np.array([0, 0, 1, 0]), scores)
    assert found["aurc"] == pytest.approx((0 + 0 + 1 / 3 + 2 / 4) / 4)
    assert found["coverage_at_99"] == 0.5
    assert found["risk_coverage"][-1] == [1.0, 0.5]
    kept = at_threshold(np.array([0, 0, 1, 0]), scores, {"value": 0.7})
    assert (kept["coverage"], kept["precision_found"]) == (0.75, pytest.approx(2 / 3))
    assert at_threshold(np.array([0]), scores[:1], {"value": 1.0})["precision_found"] is None


@pytest.fixture
def run(digits_run, tmp_path):
    return Run.open(shutil.copytree(digits_run.path, tmp_path / "run", ignore=shutil.ignore_patterns("*.tflite")))


def test_a_threshold_is_kept_and_goes_wherever_the_model_goes(run, tmp_path):
    found = evaluate(run.path, precision=0.9)["threshold"]
    kept = Run.open(run.path).calibration
    assert kept["threshold"].items() <= found.items()
    assert kept["temperature"]  # is kept beside it
    assert found["precision_found"] > 0.85
    assert 0 < found["coverage"] < 1

    data = run.load_data()
    held = run.load_model().predict(data.validation.images, verbose=0)
    given = held.max(1) >= kept["threshold"]["value"] - 1e-6
    assert given.sum() == kept["threshold"]["accepted"]

    file = export(Run.open(run.path), to="float32", out=tmp_path / "digits.tflite").file
    opened = TFLiteFile(file)
    value = kept["threshold"]["value"]
    assert opened.facts["threshold"] == value
    assert metadata.score_threshold(opened.metadata) == value  # a float32 before
    judged = evaluate(file, data="digits")
    assert judged["threshold"]["coverage"] == pytest.approx(found["coverage"], abs=0.002)
    assert "from a score of" in text.evaluation(judged)

    assert evaluate(run.path, precision=0).get("threshold") is None
    assert "threshold" not in Run.open(run.path).calibration


def test_predict_says_when_it_is_not_sure(run, tmp_path):
    from PIL import Image

    shown = tmp_path / "three.png"
    Image.fromarray(run.load_data().test.images[0][..., 0]).save(shown)
    assert predict(run.path, [shown])[0].sure
    run.keep_threshold({"value": 1.0, "precision": 0.99})
    (prediction,) = predict(run.path, [shown])
    assert not prediction.sure
    name, score = prediction.guesses[0]
    assert f"not sure ({name} {score:.1%}" in text.predictions([prediction])
    assert "not sure" not in text.predictions([Prediction("a.png", (("cat", 0.61),), threshold=0.61)])


def test_what_cannot_be_shown_or_meant_is_refused(run, int8_file):
    with pytest.raises(FailureError, match=r"0.9999 cannot be .* on 500 .* takes 29,956 that are all right.* highest"):
        evaluate(run, precision=0.9999)
    assert "threshold" not in run.calibration
    for wrong in (99, 1, -0.5, float("nan")):
        with pytest.raises(RequestError, match=r"allowed: a fraction such as 0.99.*nearest is 0\.\d"):
            evaluate(run, precision=wrong)
    with pytest.raises(RequestError, match="validation images of a run"):
        evaluate(int8_file, data="digits", precision=0.9)
    with pytest.raises(RequestError, match="leave out --data"):
        evaluate(run, data="elsewhere", precision=0.9)


def test_the_metadata_holds_it_and_the_header_of_c_too(int8_file, tmp_path):
    facts = {"name": "n", "description": "d", "version": "1", "author": "a", "license": "l"}
    for threshold in (None, 0.0, 0.1, 0.875, 0.9999):
        encoded = metadata.classifier_metadata(
            **facts, channels=3, resize="fill", label_file="labels.txt", threshold=threshold
        )
        tree = metadata.decode(encoded)
        told = metadata.score_threshold(tree)
        assert (told is None) == (threshold is None)
        assert threshold is None or threshold - 1e-7 < told <= threshold
        assert metadata.encode(tree) == encoded
    content = int8_file.read_bytes()
    header, _ = write_c_array(content, tmp_path / "digits", ["a", "b"], "a net", threshold=0.875)
    assert "constexpr float digits_threshold = 0.875000000f;" in header.read_text()
    assert "threshold" not in write_c_array(content, tmp_path / "none", ["a", "b"], "a net")[0].read_text()


@pytest.mark.slow
def test_mediapipe_gives_no_answer_below_it(trained, tmp_path):
    import mediapipe
    from mediapipe.tasks.python import BaseOptions, vision

    source = trained("lenet5", "epochs=2", "model.input_shape=[32,32,3]")
    run = Run.open(shutil.copytree(source.path, tmp_path / "run"))
    images = run.load_data().test.images[:60]
    scores = run.load_model().predict(images, verbose=0).max(1)
    middle = float(np.median(scores))
    run.keep_threshold({"value": middle, "precision": 0.9})
    file = export(run, to="float32", out=tmp_path / "digits.tflite").file
    options = vision.ImageClassifierOptions(BaseOptions(model_asset_path=str(file)), max_results=1)
    with vision.ImageClassifier.create_from_options(options) as classifier:
        for image, score in zip(images, scores, strict=True):
            pixels = mediapipe.Image(image_format=mediapipe.ImageFormat.SRGB, data=np.ascontiguousarray(image))
            answers = classifier.classify(pixels).classifications[0].categories
            if abs(score - middle) > 1e-4:
                assert bool(answers) == (score >= middle)


def test_the_command_keeps_it(run, capsys):
    from cli import main

    assert main(["evaluate", str(run.path), "--precision", "0.8", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["threshold"]["precision"] == 0.8
    assert main(["evaluate", str(run.path), "--precision", "2"]) == 2
    assert "the nearest is 0.999" in capsys.readouterr().err
