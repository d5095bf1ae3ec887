"""Metrics against scikit-learn, brute force, and cases worked by hand."""

import warnings
from math import comb

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as reference

from recipes.tasks.metrics import (
    accuracy_interval,
    calibration_error,
    classification_metrics,
    mcnemar,
    multilabel_metrics,
    regression_metrics,
    worst_mistakes,
)

NAMES = ("cat", "dog", "eel")
LABELS = np.array([0, 0, 1, 2])
SCORES = np.array([[0.7, 0.2, 0.1], [0.3, 0.6, 0.1], [0.25, 0.5, 0.25], [0.5, 0.1, 0.4]])


def test_scores_that_are_as_sure_as_they_are_right_are_calibrated():
    labels = np.array([0] * 8 + [1] * 2)
    scores = np.tile([0.8, 0.2], (10, 1))
    assert calibration_error(labels, scores) == pytest.approx(0.0, abs=1e-12)
    assert calibration_error(labels, np.tile([1.0, 0.0], (10, 1))) == pytest.approx(0.2)


def test_calibration_error_of_a_case_worked_by_hand():
    # Best scores 0.7 right, 0.6 wrong, 0.5 right, 0.5 wrong; of 2 bins all but the 0.5s are in the upper one.
    assert calibration_error(LABELS, SCORES, bins=2) == pytest.approx((abs(1 - 1.3) + abs(1 - 1.0)) / 4)


@pytest.mark.parametrize(("correct", "count"), [(50, 50), (0, 7), (180, 200), (1, 1), (98, 100)])
def test_the_interval_is_wilsons(correct, count):
    """Against the formula as it stands in Wilson 1927."""
    z, share = 1.959963984540054, correct / count
    middle = (share + z**2 / (2 * count)) / (1 + z**2 / count)
    reach = z / (1 + z**2 / count) * np.sqrt(share * (1 - share) / count + z**2 / (4 * count**2))
    interval = accuracy_interval(np.arange(count) < correct)
    assert interval == pytest.approx([max(middle - reach, 0), min(middle + reach, 1)], abs=1e-12)


def test_the_interval_holds_the_truth_as_often_as_it_says():
    random = np.random.default_rng(0)
    counts = random.binomial(100, 0.98, 2_000)
    intervals = {count: accuracy_interval(np.arange(100) < count) for count in set(counts)}
    held = np.mean([intervals[count][0] <= 0.98 <= intervals[count][1] for count in counts])
    assert held > 0.93  # the percentile bootstrap holds it in 87 of 100


@settings(max_examples=50, deadline=None, derandomize=True)
@given(st.sets(st.integers(0, 40)), st.sets(st.integers(0, 40)))
def test_mcnemars_test_is_the_binomial_one_of_the_images_that_tell_apart(one, other):
    test = mcnemar(sorted(one), sorted(other))
    least, count = min(len(one - other), len(other - one)), len(one ^ other)
    expected = min(1.0, 2 * sum(comb(count, k) for k in range(least + 1)) / 2**count)
    assert test == {"only_wrong": len(one - other), "only_other_wrong": len(other - one), "p": pytest.approx(expected)}


def test_mistakes_come_surest_first_and_name_their_file():
    mistakes = worst_mistakes(LABELS, SCORES, NAMES, ["a.png", "b.png", "c.png", "d.png"])
    assert mistakes == [
        {"index": 1, "file": "b.png", "true": "cat", "guess": "dog", "score": 0.6, "true_score": 0.3},
        {"index": 3, "file": "d.png", "true": "eel", "guess": "cat", "score": 0.5, "true_score": 0.4},
    ]
    assert [mistake["file"] for mistake in worst_mistakes(LABELS, SCORES, NAMES, count=1)] == [None]


def test_a_classifier_has_all_of_its_figures():
    figures = classification_metrics(LABELS, SCORES, NAMES)
    assert {"accuracy", "loss", "top_k", "confusion_matrix", "class_names"} <= set(figures)
    assert figures["accuracy_interval"][0] <= figures["accuracy"] <= figures["accuracy_interval"][1]


def test_several_labels_an_image_agree_with_scikit_learn():
    random = np.random.default_rng(0)
    labels, scores = (random.random((60, 3)) < 0.4).astype(np.float32), random.random((60, 3))
    figures = multilabel_metrics(labels, scores, NAMES)
    assert figures["map"] == pytest.approx(reference.average_precision_score(labels, scores, average="macro"))
    assert figures["f1_macro"] == pytest.approx(reference.f1_score(labels, scores >= 0.5, average="macro"))
    assert figures["f1"] == pytest.approx(reference.f1_score(labels, scores >= 0.5, average="micro"))
    assert figures["exact"] == pytest.approx(reference.accuracy_score(labels, scores >= 0.5))


def test_a_class_that_no_image_has_counts_as_in_scikit_learn():
    labels, scores = np.array([[1, 0], [0, 0]], np.float32), np.array([[0.9, 0.8], [0.1, 0.2]])
    measured = multilabel_metrics(labels, scores, ("cat", "dog"))
    with warnings.catch_warnings(action="ignore"):  # that a class has no image
        precision = reference.average_precision_score(labels, scores, average="macro")
        f1 = reference.f1_score(labels, scores >= 0.5, average="macro", zero_division=0)
    assert (measured["map"], measured["f1_macro"]) == (precision, f1) == (0.5, 0.5)
    assert measured["per_class"]["dog"]["average_precision"] is None


def test_numbers_agree_with_scikit_learn():
    figures = regression_metrics(np.array([1.0, 2.0, 4.0]), np.array([[1.0], [3.0], [3.0]]))
    assert figures["mae"] == pytest.approx(2 / 3)
    assert figures["mse"] == pytest.approx(2 / 3)
    assert figures["r2"] == pytest.approx(1 - 2 / (14 / 3))
    assert regression_metrics(np.array([1.0]), np.array([2.0]))["r2"] is None
