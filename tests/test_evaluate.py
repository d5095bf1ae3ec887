"""Evaluation: figures by the definitions of the field."""

import json

import numpy as np
import pytest

from recipes.evaluate import evaluate
from recipes.metrics import classification_metrics

NAMES = ("cat", "dog", "eel")
# Four pictures: a cat taken for a cat, a cat for a dog, a dog for a dog, an eel for a cat.
LABELS = np.array([0, 0, 1, 2])
SCORES = np.array([[0.7, 0.2, 0.1], [0.3, 0.6, 0.1], [0.25, 0.5, 0.25], [0.5, 0.1, 0.4]])


def test_figures_of_a_case_worked_by_hand():
    metrics = classification_metrics(LABELS, SCORES, NAMES)
    assert metrics["accuracy"] == 0.5
    assert metrics["loss"] == pytest.approx(-np.log([0.7, 0.3, 0.5, 0.4]).mean())
    assert metrics["top_k"] == {"k": 2, "accuracy": 1.0}
    assert metrics["confusion_matrix"] == [[1, 1, 0], [0, 1, 0], [1, 0, 0]]
    assert metrics["per_class"]["cat"] == {"precision": 0.5, "recall": 0.5, "f1": 0.5, "support": 2}
    assert metrics["per_class"]["eel"] == {"precision": 0.0, "recall": 0.0, "f1": 0.0, "support": 1}


def test_scores_that_miss_one_by_rounding_are_taken():
    coarse = np.round(SCORES * 255).astype(np.float32) / 256
    assert classification_metrics(LABELS, coarse, NAMES)["loss"] == pytest.approx(0.79, abs=0.01)


def test_a_class_without_pictures_is_counted_as_none():
    metrics = classification_metrics(LABELS[:3], SCORES[:3], NAMES)
    assert metrics["per_class"]["eel"]["support"] == 0
    assert metrics["confusion_matrix"][2] == [0, 0, 0]


def test_evaluating_a_run_repeats_what_its_training_wrote(digits_run):
    written = json.loads((digits_run.path / "metrics.json").read_text())
    assert evaluate(digits_run) == written
    assert (digits_run.path / "confusion_matrix.png").stat().st_size > 5_000
