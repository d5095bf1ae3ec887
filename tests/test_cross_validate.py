"""Cross-validation: folds as scikit-learn cuts them, and what may be said of the differences between two models."""

import csv
import re
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats
from sklearn.model_selection import StratifiedKFold

from cli import main
from recipes.cross_validate import cross_validate, paired_test
from recipes.data import Split, load
from recipes.search.folds import fold_data, held_out, learnable
from zoo.errors import RequestError

SHORT = ["epochs=1", "batch_size=256"]


@pytest.fixture(scope="module")
def digits():
    return load("digits", image_shape=(16, 16, 1), quiet=True)


def test_folds_are_those_of_scikit_learn_and_leave_the_test_images_alone(digits):
    pool = learnable(digits)
    assert len(pool) == len(digits.train) + len(digits.validation)
    expected = StratifiedKFold(4, shuffle=True, random_state=3).split(pool.labels, pool.labels)
    for mine, (_, theirs) in zip(held_out(pool, "classification", 4, 3), expected, strict=True):
        np.testing.assert_array_equal(mine, theirs)


def test_each_image_is_held_out_once_and_never_learnt_from_then(digits):
    pool = learnable(digits)
    numbered = replace(pool, images=np.arange(len(pool)))
    seen = []
    for held in held_out(pool, digits.task, 5, 0):
        fold = fold_data(digits, numbered, held, 0)
        parts = [fold.train.images, fold.validation.images, fold.test.images]
        assert sorted(np.concatenate(parts)) == list(range(len(pool)))
        seen.extend(fold.test.images)
    assert sorted(seen) == list(range(len(pool)))


def test_groups_stay_whole(digits):
    random = np.random.default_rng(0)
    pool = replace(learnable(digits)[np.arange(400)], groups=random.integers(0, 60, 400))
    for held in held_out(pool, digits.task, 4, 0):
        fold = fold_data(digits, pool, held, 0)
        groups = [set(part.groups) for part in (fold.train, fold.validation, fold.test)]
        assert not groups[0] & groups[1]
        assert not (groups[0] | groups[1]) & groups[2]


def test_more_folds_than_images_of_a_class_are_refused():
    few = Split(np.zeros((9, 2, 2, 1), np.uint8), np.array([0] * 6 + [1] * 3))
    with pytest.raises(RequestError, match="4 folds are not possible; allowed: 2 to 3"):
        held_out(few, "classification", 4, 0)


def test_the_paired_test_is_that_of_nadeau_and_bengio():
    differences = np.array([0.02, 0.01, 0.03, -0.01, 0.02, 0.00, 0.04, 0.01, 0.02, 0.03])
    t, p = paired_test(differences)
    # With 10 folds a tenth is held out, and nine tenths of the other nine are learnt from: the rest chooses the epoch.
    # The variance of the mean is 1 / folds + held out / learnt from of that of the differences.
    expected = differences.mean() / np.sqrt((1 / 10 + 1 / (9 * 0.9)) * differences.var(ddof=1))
    assert t == pytest.approx(expected)
    assert p == pytest.approx(2 * stats.t(9).sf(expected))
    assert p > stats.ttest_1samp(differences, 0).pvalue, "folds overlap: the plain test is too sure"
    assert paired_test(np.zeros(5)) == (0.0, 1.0)


@pytest.mark.slow
def test_two_models_on_the_same_folds(tmp_path, capsys):
    out = tmp_path / "said.csv"
    command = ["cross-validate", "lenet1", "--data", "digits", "--recipe", "quick", "--folds", "2", "--against", "mlp"]
    sets = [part for setting in [*SHORT, "model.input_shape=[28,28,1]"] for part in ("--set", setting)]
    assert main([*command, *sets, "--out", str(out), "--quiet"]) == 0
    assert re.search(r"from it, p 0\.\d+ \(corrected resampled t -", capsys.readouterr().out)
    with open(out, newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 4000
    result = cross_validate(
        "lenet1",
        data="digits",
        recipe="quick",
        folds=2,
        overrides=[*SHORT, "model.input_shape=[28,28,1]"],
        quiet=True,
    )
    for number, score in enumerate(result.folds, start=1):
        fold = [row for row in rows if row["fold"] == str(number)]
        right = [max(map(str, range(10)), key=lambda c: float(row[c])) == row["label"] for row in fold]
        assert np.mean(right) == pytest.approx(score)
    assert result.interval[0] < result.mean < result.interval[1]
