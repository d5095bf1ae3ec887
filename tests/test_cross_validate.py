"""Cross-validation: folds as scikit-learn cuts them, and what may be said of the differences between two models."""

import csv
import json
import os
import re
import signal
from dataclasses import replace

import forked
import numpy as np
import pytest
from scipy import stats
from sklearn.model_selection import StratifiedKFold
from test_devices import TWO_CPUS
from test_workers import finish, start

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


def test_a_file_in_no_folder_is_refused_before_anything_is_trained(tmp_path, capsys):
    with pytest.raises(RequestError, match="its folder does not exist"):
        cross_validate("mlp", data="digits", recipe="quick", overrides=SHORT, out=tmp_path / "none" / "said.csv")
    assert "fold" not in capsys.readouterr().err


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


TOLD = """
import os, keras, zoo

@zoo.register(input_shape=(8, 8, 1))
def told_net(x):
    "Tells who builds it, and dies where it is asked to."
    with open(os.environ["TOLD"], "a") as file:
        print(os.getpid(), file=file)
    if os.environ.get("DIES_AFTER") and open(os.environ["TOLD"]).read().split().count(str(os.getpid())) > int(
        os.environ["DIES_AFTER"]
    ):
        os.kill(os.getpid(), 9)
    return keras.layers.Conv2D(8, 3, strides=2, activation="relu")(x)
"""


@pytest.fixture
def told(tmp_path, monkeypatch):
    """A command that cross-validates a model which tells who builds it, and how to run it."""
    (tmp_path / "told.py").write_text(TOLD)
    monkeypatch.setenv("CONVZOO_CACHE", str(tmp_path / "cache"))
    settings = [part for setting in ("epochs=1", "batch_size=250") for part in ("--set", setting)]
    command = ["--plugin", tmp_path / "told.py", "cross-validate", "told_net", "--data", "digits", "--recipe", "quick"]

    def run(name, *more, **environment):
        monkeypatch.setenv("TOLD", str(tmp_path / name))
        (tmp_path / name).touch()
        for key, value in environment.items():
            monkeypatch.setenv(key, value)
        out = tmp_path / f"{name}.csv"
        done = forked.run(TWO_CPUS, *command, *settings, "--folds", 3, "--out", out, "--json", *more)
        for key in environment:
            monkeypatch.delenv(key)
        folds = [line.split()[1] for line in done.stderr.splitlines() if line.startswith("fold ")]
        return done, folds, (tmp_path / name).read_text().split(), out

    return run


@pytest.mark.slow
def test_processes_on_two_devices_share_the_folds_to_the_same_bits(told, tmp_path):
    one, folds, alone, first = told("one")
    assert (one.returncode, folds, len(set(alone))) == (0, ["1/3", "2/3", "3/3"], 1), one.stderr
    two, folds, builders, second = told("two", "--devices", "all")
    assert (two.returncode, sorted(folds)) == (0, ["1/3", "2/3", "3/3"]), two.stderr
    each = len(alone) // 3  # times that the model is built for a fold
    assert sorted(builders.count(builder) for builder in set(builders)) == [each, 2 * each]
    assert two.stdout == one.stdout
    assert second.read_text() == first.read_text()
    assert not list((tmp_path / "cache" / "folds").glob("*")), "what is complete is not kept"


@pytest.mark.slow
def test_processes_share_the_folds_without_a_cache_folder_too(told):
    done, folds, _, _ = told("told", "--devices", "all", CONVZOO_CACHE=f"{os.devnull}/none")
    assert (done.returncode, sorted(folds)) == (0, ["1/3", "2/3", "3/3"]), done.stderr
    assert len(json.loads(done.stdout)["folds"]) == 3


@pytest.mark.slow
@pytest.mark.parametrize("devices", [[], ["--devices", "2"]], ids=["alone", "shared"])
def test_a_killed_cross_validation_goes_on_with_the_folds_that_are_left(told, tmp_path, devices):
    whole, _, builders, first = told("whole")
    each = len(builders) // 3  # times that the model is built for a fold
    killed, before, _, _ = told("killed", *devices, DIES_AFTER=str(each))
    assert killed.returncode != 0
    assert 1 <= len(before) <= 2
    if devices:
        assert killed.stderr.splitlines()[-1] == (
            f"Error: the process on cpu was killed by signal 9; {len(before)} of 3 folds are trained, and the same "
            "command goes on with the others."
        )
    again, folds, _, second = told("again", *devices)
    assert again.returncode == 0, again.stderr
    kept = [line for line in again.stderr.splitlines() if line.endswith("(trained before)")]
    assert [line.split()[1] for line in kept] == sorted(before)
    assert sorted(folds) == ["1/3", "2/3", "3/3"]
    assert again.stdout == whole.stdout
    assert second.read_text() == first.read_text()


@pytest.mark.slow
def test_folds_that_were_kept_are_looked_at(told, tmp_path):
    _, _, builders, _ = told("whole")
    told("killed", DIES_AFTER=str(len(builders) // 3))
    (kept,) = (tmp_path / "cache" / "folds").glob("*/*.npz")
    kept.write_bytes(kept.read_bytes()[:-40])
    again, folds, _, _ = told("again")
    assert (again.returncode, folds) == (0, ["1/3", "2/3", "3/3"])
    assert "trained before" not in again.stderr


@pytest.mark.slow
def test_folds_that_a_killed_worker_leaves_are_trained_when_it_is_called_again(tmp_path, monkeypatch):
    (tmp_path / "told.py").write_text(TOLD)
    monkeypatch.setenv("CONVZOO_CACHE", str(tmp_path / "cache"))
    command = ["--plugin", tmp_path / "told.py", "cross-validate", "told_net", "--data", "digits", "--recipe", "quick"]
    command += ["--folds", "3", "--set", "epochs=1", "--set", "batch_size=250", "--json"]

    def called(name, workers):
        monkeypatch.setenv("TOLD", str(tmp_path / name))
        (tmp_path / name).touch()
        ends = finish(start(workers, *command, "--out", tmp_path / f"{name}.csv"))
        return ends, (tmp_path / name).read_text().split()

    (one,), builders = called("one", 1)
    monkeypatch.setenv("DIES_AFTER", str(len(builders) // 3))
    (chief, other), _ = called("killed", 2)  # the second worker dies in its second fold
    assert other[0] == -signal.SIGKILL
    assert chief[:2] == (1, "")
    assert chief[2].splitlines()[-1] == (
        "Error: another worker is gone; its own output may say why. Trained folds are kept: the same command goes on."
    )
    monkeypatch.delenv("DIES_AFTER")
    ends, builders_again = called("again", 2)
    assert [end[0] for end in ends] == [0, 0]
    assert len(builders_again) == len(builders) // 3
    assert ends[0][1] == ends[1][1] == one[1]
    assert (tmp_path / "again.csv").read_text() == (tmp_path / "one.csv").read_text()
