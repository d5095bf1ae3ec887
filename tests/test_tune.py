"""Searches: what is drawn, what is skipped, what survives a kill, and what the winner is."""

import signal
import subprocess
import sys
import time

import pytest

import recipes.tune
from cli import main
from recipes.preset import load_recipe
from recipes.run import Run
from recipes.space import load_space
from recipes.study import Study

SPACE = """
[space]
"model.options.width" = [2, 4, 64]
"optimizer.learning_rate" = { low = 1e-3, high = 1e-2, log = true }
"""
SETTINGS = ["epochs=2", "batch_size=256", "model.input_shape=[16,16,1]", "augment=none"]


def command(tmp_path, *more):
    space = tmp_path / "space.toml"
    space.write_text(SPACE)
    sets = [part for setting in SETTINGS for part in ("--set", setting)]
    given = ["tune", "vgg_small", "--data", "digits", "--recipe", "quick", "--space", str(space), *sets, "--folds", "2"]
    return [*given, "--out", str(tmp_path / "study"), "--quiet", *more]


@pytest.mark.parametrize("name", ["lenet", "vgg-small", "augmentation"])
def test_named_spaces_hold_what_a_recipe_can_have(name):
    from recipes.fit import resolve
    from recipes.study import Search
    from recipes.trials import trial_recipe

    model = {"lenet": "lenet5"}.get(name, "vgg_small")
    search = Search(recipe=resolve(model, "digits"), space=load_space(name), folds=2, sampler="tpe", pruner="none")
    for corner in search.space.corners():
        trial_recipe(search, corner)


@pytest.mark.parametrize(
    ("space", "message"),
    [
        ('"optimizer.learning_rat" = [0.1]', "did you mean 'optimizer.learning_rate'"),
        ('"model.options.widths" = [2]', "did you mean 'width'"),
        ('"optimizer.learning_rate" = [99.0]', "optimizer.learning_rate=99.0 is not possible"),
        ('"epochs" = { low = 3, high = 1 }', "low=3 is above high=1"),
        ('"epochs" = { low = 0, high = 1, log = true }', "log needs low above 0"),
        ('"epochs" = []', "at least 1 item"),
        ('"epochs" = { lo = 1, high = 3 }', "allowed: a list of values, or {low, high, step, log}"),
    ],
)
def test_a_space_that_is_not_possible_is_refused_before_anything_is_trained(tmp_path, capsys, space, message):
    asked = command(tmp_path, "--trials", "2")
    (tmp_path / "space.toml").write_text(f"[space]\n{space}\n")
    assert main(asked) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "study").exists()


def test_a_search_ends_in_a_recipe_and_its_figures_on_the_test_pictures(tmp_path, capsys):
    asked = command(tmp_path, "--trials", "3", "--max-params", "20k")
    assert main(asked) == 0
    rows = recipes.tune.show(tmp_path / "study")
    done = [row for row in rows if row["state"] in ("complete", "pruned")]
    assert len(done) == 3
    assert all(row["parameters"] <= 20_000 for row in done)
    assert all(row["parameters"] > 20_000 and not row["folds"] for row in rows if row["state"] == "skipped")
    complete = [row for row in rows if row["state"] == "complete"]
    for row in complete:
        assert row["score"] == pytest.approx(sum(row["folds"]) / 2)
    best = max(complete, key=lambda row: row["score"])
    winner = load_recipe(tmp_path / "study" / "best.toml")
    assert f"optimizer.learning_rate={winner.optimizer.learning_rate}" in best["settings"]
    assert Run.open(tmp_path / "study" / "best").metrics["examples"] == 1000
    assert "<svg" in (tmp_path / "study" / "report.html").read_text()

    # Asked again, it is finished: nothing is drawn, and the winner is the same.
    assert main(asked) == 0
    assert len(recipes.tune.show(tmp_path / "study")) == len(rows)
    assert main(["tune", "--show", str(tmp_path / "study")]) == 0
    assert "complete" in capsys.readouterr().out
    # With another space the folder is refused.
    other = command(tmp_path, "--trials", "3", "--seed", "1")
    assert main(other) == 2
    assert "holds a study with another limits, seed" in capsys.readouterr().err


@pytest.mark.slow
def test_a_search_that_is_killed_loses_nothing_and_counts_nothing_twice(tmp_path):
    asked = [sys.executable, "-m", "cli", *command(tmp_path, "--trials", "4", "--pruner", "none")]
    journal = tmp_path / "study" / "journal.log"
    process = subprocess.Popen(asked, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    while not (journal.exists() and '"settings"' in journal.read_text()) and process.poll() is None:
        time.sleep(0.05)
    time.sleep(1)
    process.send_signal(signal.SIGKILL)
    process.wait()
    before = recipes.tune.show(tmp_path / "study")
    subprocess.run(asked, check=True, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    rows = recipes.tune.show(tmp_path / "study")
    assert sum(row["state"] == "complete" for row in rows) == 4
    assert {row["state"] for row in rows} <= {"complete", "stopped"}
    for lost in (row for row in before if row["state"] == "running"):
        again = [row for row in rows if row["seed"] == lost["seed"] and row["state"] == "complete"]
        assert [row["settings"] for row in again] == [lost["settings"]]


@pytest.mark.slow
def test_two_workers_share_a_study(tmp_path):
    assert (
        main(command(tmp_path, "--trials", "4", "--workers", "2", "--pruner", "none", "--objective", "accuracy,macs"))
        == 0
    )
    study = Study.open(tmp_path / "study")
    rows = recipes.tune.show(study.path)
    assert [row["state"] for row in rows] == ["complete"] * 4
    workers = {trial.user_attrs["worker"] for trial in study.trials().trials}
    assert len(workers) == 2
    front = study.trials().best_trials
    for trial in front:
        beaten = [o for o in rows if o["score"] > trial.values[0] and o["macs"] < trial.values[1]]
        assert not beaten
