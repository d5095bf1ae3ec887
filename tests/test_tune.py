"""Searches: what is drawn, what is skipped, what survives a kill, and what the winner is."""

import signal
import time

import forked
import pytest

import recipes.tune
from cli import main
from recipes.config.presets import list_spaces, load_recipe
from recipes.run.folder import Run
from recipes.search.space import Space, load_space, space_for
from recipes.search.study import Search, Study
from recipes.search.trials import _next, check_space
from recipes.training.resolving import resolve
from recipes.tune import _with_defaults, epochs_of_trials

SPACE = """
[space]
"model.options.width" = [2, 4, 64]
"optimizer.learning_rate" = { low = 1e-3, high = 1e-2, log = true }
"""
SMALL = SPACE.replace(", 64", "")
SETTINGS = ["epochs=2", "batch_size=256", "model.input_shape=[16,16,1]", "augment=none"]


def command(tmp_path, *more, searched=SPACE):
    space = tmp_path / "space.toml"
    space.write_text(searched)
    sets = [part for setting in SETTINGS for part in ("--set", setting)]
    given = ["tune", "vgg_small", "--data", "digits", "--recipe", "quick", "--space", str(space), *sets, "--folds", "2"]
    return [*given, "--out", str(tmp_path / "study"), "--quiet", *more]


def a_search(**settings):
    space = Space(space={"optimizer.learning_rate": {"low": 1e-3, "high": 1e-2}, "epochs": [1, 2, 3]})
    asked = {"recipe": resolve("lenet5", "digits"), "space": space, "folds": 2, "sampler": "random", "pruner": "none"}
    return Search(**asked | settings)


@pytest.mark.parametrize("name", list_spaces())
def test_named_spaces_hold_what_a_recipe_can_have(name):
    space = load_space(name)
    for model in space.models or ("vgg_small", "all_cnn_c"):
        search = a_search(recipe=resolve(model, "digits"), space=space)
        check_space(search)
        assert space.place(_with_defaults(search.recipe)), "the recipe as it is can be tried first"


def test_each_model_has_a_space_of_its_own_or_the_common_one():
    assert [space_for(model) for model in ("lenet5", "vgg_small", "resnet8")] == ["lenet", "vgg-small", "training"]


def test_a_search_by_the_clock_alone_trains_its_trials_for_a_quarter_of_the_epochs():
    space, epochs = load_space("lenet"), lambda count: resolve("lenet5", "digits", "digits", [f"epochs={count}"])
    assert [epochs_of_trials(epochs(count), space) for count in (80, 30, 10, 5)] == [20, 10, None, None]
    assert epochs_of_trials(epochs(80), Space(space={"epochs": [10, 20]})) is None


@pytest.mark.parametrize("sampler", ["random", "tpe", "grid"])
def test_what_is_drawn_does_not_depend_on_kills(tmp_path, sampler):
    search = a_search(sampler=sampler)
    if sampler == "grid":
        search = search.model_copy(update={"space": Space(space={"epochs": [1, 2, 3], "batch_size": [8, 16]})})

    def drawn(name, killed):
        study = Study.create(tmp_path / name, search)
        study.join()
        for i in range(6):
            while True:
                with study.worker() as worker, study.one_at_a_time():
                    own = study.trials()
                    given = _next(study, own, search, worker, 6)
                if i not in killed:
                    break
                killed.remove(i)
                with open(study.journal, "a") as torn:
                    torn.write('{"op_code": 4, "wor')
            given.trials.tell(given.trial, 0.5 + 0.01 * i)
        with study.worker() as worker, study.one_at_a_time():
            assert _next(study, study.trials(), search, worker, 6) is None
        rows = [row for row in recipes.tune.show(study.path) if row["state"] == "complete"]
        return [(row["seed"], *row["settings"]) for row in rows]

    undisturbed = drawn("alone", [])
    assert len(set(undisturbed)) == 6
    assert drawn("killed", [0, 2, 2, 3, 5]) == undisturbed


def test_a_trial_that_kills_every_worker_is_given_up(tmp_path):
    search = a_search()
    study = Study.create(tmp_path / "study", search)
    study.join()
    drawn = []
    for _ in range(6):
        with study.worker() as worker, study.one_at_a_time():  # which goes without a word of how its trial ended
            drawn.append(_next(study, study.trials(), search, worker, 2).settings)
    assert drawn[:5] == 5 * drawn[:1] != drawn[1:]
    rows = recipes.tune.show(study.path)
    assert [row["state"] for row in rows] == [*4 * ["stopped"], "failed", "running"]
    assert rows[4]["why"] == "the worker died 5 times while it was tried"
    assert rows[4]["seed"] == rows[0]["seed"] != rows[5]["seed"]


@pytest.mark.parametrize(
    ("space", "message"),
    [
        ('"optimizer.learning_rat" = [0.1]', "did you mean 'optimizer.learning_rate'"),
        ('"model.options.widths" = [2]', "did you mean 'width'"),
        ('"optimizer.learning_rate" = [99.0]', "optimizer.learning_rate=99.0 is not possible"),
        ('"epochs" = { low = 3, high = 1 }', "low=3 is above high=1"),
        ('"epochs" = { low = 0, high = 1, log = true }', "log needs low above 0"),
        ('"epochs" = []', "at least 1 item"),
        ('"model.input_shape" = [[16, 16, 1], [28, 28, 1]]', "model.input_shape is not searched: about, data, "),
        ('"unknown.source" = ["digits"]', "unknown.source is not searched: about, data, "),
        ('"epochs" = { lo = 1, high = 3 }', "allowed: a list of values, or {low, high, step, log}"),
    ],
)
def test_a_space_that_is_not_possible_is_refused_before_anything_is_trained(tmp_path, capsys, space, message):
    asked = command(tmp_path, "--trials", "2")
    (tmp_path / "space.toml").write_text(f"[space]\n{space}\n")
    assert main(asked) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "study").exists()


@pytest.mark.slow
def test_a_search_ends_in_a_recipe_and_its_figures_on_the_test_images(tmp_path, capsys):
    asked = command(tmp_path, "--trials", "3", "--max-params", "20k", "--trial-epochs", "1")
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
    for trial in Study.open(tmp_path / "study").trials().trials:
        assert set(trial.intermediate_values) <= {0, 1}, "an epoch a fold"
    winner = load_recipe(tmp_path / "study" / "best.toml")
    assert winner.epochs == 2
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
def test_a_grid_is_walked_once_whatever_is_skipped(tmp_path, capsys):
    asked = command(tmp_path, "--sampler", "grid", "--max-params", "20k", "--folds", "1", "--set", "epochs=1")
    (tmp_path / "space.toml").write_text('[space]\n"model.options.width" = [2, 64]\n"model.options.depth" = [1, 2]\n')
    assert main(asked) == 0
    rows = recipes.tune.show(tmp_path / "study")
    assert len({tuple(row["settings"]) for row in rows}) == len(rows) == 4
    assert sorted(row["state"] for row in rows) == ["complete", "complete", "skipped", "skipped"]


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        (["--trial-epochs", "3", "--trials", "1"], "trial_epochs=3 is not possible; allowed: 1 to 2"),
        ([], "say how long to search"),
        (["--trials", "1", "--set", "steps=9"], "steps=9 is not possible in a search"),
        (["--trials", "1", "--folds", "9999"], "9999 folds are not possible"),
    ],
)
def test_a_search_that_is_not_possible_is_refused(tmp_path, capsys, asked, message):
    assert main(command(tmp_path, *asked)) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "study").exists()


@pytest.mark.slow
def test_a_search_that_is_killed_loses_nothing_and_counts_nothing_twice(tmp_path):
    asked = command(tmp_path, "--trials", "3", "--pruner", "none", "--folds", "1", searched=SMALL)
    program = "import sys, cli; sys.exit(cli.main(sys.argv[1:]))"
    journal = tmp_path / "study" / "journal.log"
    process = forked.Process(program, *asked)
    while not (journal.exists() and '"settings"' in journal.read_text()) and process.poll() is None:
        time.sleep(0.05)
    time.sleep(1)
    process.send_signal(signal.SIGKILL)
    process.wait()
    before = recipes.tune.show(tmp_path / "study")
    assert main(asked) == 0
    rows = recipes.tune.show(tmp_path / "study")
    assert sum(row["state"] == "complete" for row in rows) == 3
    assert {row["state"] for row in rows} <= {"complete", "stopped"}
    for lost in (row for row in before if row["state"] == "running"):
        again = [row for row in rows if row["seed"] == lost["seed"] and row["state"] == "complete"]
        assert [row["settings"] for row in again] == [lost["settings"]]


@pytest.mark.slow
def test_two_workers_share_a_study(tmp_path):
    asked = ["--trials", "4", "--workers", "2", "--pruner", "none", "--objective", "accuracy,macs", "--folds", "1"]
    assert main(command(tmp_path, *asked, searched=SMALL)) == 0
    study = Study.open(tmp_path / "study")
    rows = recipes.tune.show(study.path)
    assert [row["state"] for row in rows] == ["complete"] * 4
    workers = {trial.user_attrs["worker"] for trial in study.trials().trials}
    assert len(workers) == 2
    front = study.trials().best_trials
    for trial in front:
        beaten = [o for o in rows if o["score"] > trial.values[0] and o["macs"] < trial.values[1]]
        assert not beaten
