"""Evaluation: figures by the definitions of the field."""

import json

import numpy as np
import pytest
from sklearn.metrics import balanced_accuracy_score, matthews_corrcoef

from recipes.evaluate.scoring import evaluate, other_images
from recipes.run.folder import Run
from recipes.tasks.metrics import classification_metrics, wilson
from zoo.errors import RequestError

NAMES = ("cat", "dog", "eel")
# Four images: a cat taken for a cat, a cat for a dog, a dog for a dog, an eel for a cat.
LABELS = np.array([0, 0, 1, 2])
SCORES = np.array([[0.7, 0.2, 0.1], [0.3, 0.6, 0.1], [0.25, 0.5, 0.25], [0.5, 0.1, 0.4]])


def test_figures_of_a_case_worked_by_hand():
    metrics = classification_metrics(LABELS, SCORES, NAMES)
    assert metrics["accuracy"] == 0.5
    assert metrics["loss"] == pytest.approx(-np.log([0.7, 0.3, 0.5, 0.4]).mean())
    assert metrics["top_k"] == {"k": 2, "accuracy": 1.0}
    assert metrics["confusion_matrix"] == [[1, 1, 0], [0, 1, 0], [1, 0, 0]]
    half, none = {"precision": 0.5, "recall": 0.5, "f1": 0.5}, {"precision": 0.0, "recall": 0.0, "f1": 0.0}
    of_two, of_one, of_none = wilson(1, 2), wilson(0, 1), [0.0, 1.0]
    intervals = {"precision_interval": of_two, "recall_interval": of_two}
    assert metrics["per_class"]["cat"] == half | {"support": 2} | intervals
    intervals = {"precision_interval": of_none, "recall_interval": of_one}  # nothing was taken for an eel
    assert metrics["per_class"]["eel"] == none | {"support": 1} | intervals
    assert metrics["balanced_accuracy"] == balanced_accuracy_score(LABELS, SCORES.argmax(1))
    assert metrics["mcc"] == pytest.approx(matthews_corrcoef(LABELS, SCORES.argmax(1)), abs=1e-12)


def test_scores_that_miss_one_by_rounding_are_taken():
    coarse = np.round(SCORES * 255).astype(np.float32) / 256
    assert classification_metrics(LABELS, coarse, NAMES)["loss"] == pytest.approx(0.79, abs=0.01)


def test_a_class_without_images_is_counted_as_none():
    metrics = classification_metrics(LABELS[:3], SCORES[:3], NAMES)
    assert metrics["per_class"]["eel"]["support"] == 0
    assert metrics["confusion_matrix"][2] == [0, 0, 0]


def test_evaluating_a_run_repeats_what_its_training_wrote(digits_run):
    written = json.loads((digits_run.path / "metrics.json").read_text())
    assert evaluate(digits_run) == written
    assert (digits_run.path / "confusion_matrix.png").stat().st_size > 5_000


@pytest.fixture
def other_digits(tmp_path, monkeypatch):
    """A folder with other images of the classes 3 and 7, large and coloured: 12 of each, the 7s upside down."""
    from PIL import Image

    from recipes.data.readers.digits import read_digits

    monkeypatch.setenv("CONVZOO_CACHE", str(tmp_path / "cache"))
    images, labels = read_digits()
    for label in (3, 7):
        (tmp_path / "other" / str(label)).mkdir(parents=True)
        for number, image in enumerate(images[labels == label][-12:, :, :, 0]):
            pixels = Image.fromarray(image if label == 3 else image[::-1].copy()).convert("RGB").resize((90, 90))
            pixels.save(tmp_path / "other" / str(label) / f"{number}.png")
    return tmp_path / "other"


def test_other_images_are_scored_by_the_names_of_their_classes(digits_run, other_digits):
    before = {file.name: file.stat().st_mtime_ns for file in digits_run.path.iterdir()}
    metrics = evaluate(digits_run, data=str(other_digits))
    assert metrics["data"] == str(other_digits)
    assert metrics["examples"] == 24
    assert metrics["class_names"] == [str(digit) for digit in range(10)]
    assert np.sum(metrics["confusion_matrix"], axis=1).tolist() == [0, 0, 0, 12, 0, 0, 0, 12, 0, 0]
    assert metrics["per_class"]["3"]["recall"] > 0.6 > metrics["per_class"]["7"]["recall"]
    assert all(str(other_digits) in mistake["file"] for mistake in metrics["worst_mistakes"])
    assert before == {file.name: file.stat().st_mtime_ns for file in digits_run.path.iterdir()}


def test_a_class_that_the_run_does_not_know_is_named_with_the_nearest(digits_run, other_digits):
    (other_digits / "7").rename(other_digits / "77")
    with pytest.raises(RequestError, match="unknown class '77': did you mean '7'"):
        evaluate(digits_run, data=str(other_digits))


def test_what_a_run_was_trained_on_is_not_other_data(digits_run, other_digits):
    class Trained(Run):
        recipe = digits_run.recipe.model_copy(
            update={"data": digits_run.recipe.data.model_copy(update={"source": str(other_digits)})}
        )

    with pytest.raises(RequestError, match="was trained on"):
        other_images(Trained(digits_run.path), f"{other_digits}/")


def test_a_part_that_is_meant_for_testing_is_what_is_scored(digits_run, other_digits, tmp_path):
    parted = tmp_path / "parted"
    for part, numbers in {"train": range(8), "test": range(8, 12)}.items():
        for label in ("3", "7"):
            (parted / part / label).mkdir(parents=True)
            for number in numbers:
                (other_digits / label / f"{number}.png").rename(parted / part / label / f"{number}.png")
    assert len(other_images(digits_run, str(parted))) == 8


def test_what_was_measured_apart_is_kept_when_a_run_is_evaluated_again(digits_run):
    before = (digits_run.path / "metrics.json").read_text()
    digits_run.write_json("metrics.json", digits_run.metrics | {"invariance": {"overall": 0.5}})
    try:
        assert evaluate(digits_run)["invariance"] == {"overall": 0.5}
        assert digits_run.metrics["invariance"] == {"overall": 0.5}
    finally:
        digits_run.write_text("metrics.json", before)
