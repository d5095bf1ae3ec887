"""Scores, features and folds that several processes compute in shares are those of one process."""

import json
import shutil
import signal

import numpy as np
import pytest
from test_workers import figures, finish, start, wait_for_rows, zoo_program

from recipes.distributed.team import Team
from recipes.run.folder import Run

COUNTED = """
import sys
import recipes.scorers.models as models, recipes.transfer.features as features
scores, made = models._Model.scores, features.Frozen.__call__
def counted(self, images):
    print("counted", len(images), file=sys.stderr)
    return scores(self, images)
def passed(self, split, **options):
    print("counted", len(split), file=sys.stderr)
    return made(self, split, **options)
models._Model.scores, features.Frozen.__call__ = counted, passed
"""


def both(*arguments):
    """What two processes and one print for the same arguments, and how many images each of the two computed."""
    two, one = (start(workers, *arguments, program=COUNTED + zoo_program()) for workers in (2, 1))
    printed, images = [], []
    for code, output, errors in finish([*two, *one]):
        told = errors.splitlines()
        assert code == 0, errors
        images.append(sum(int(line.split()[1]) for line in told if line.startswith("counted")))
        printed.append(json.loads(output))
    assert sum(images[:2]) == images[2]
    assert abs(images[0] - images[1]) <= 3  # one a call
    assert printed[0] == printed[1]
    return printed[0], printed[2]


def assert_close(two, one, where=""):
    """The same JSON, but for rounding."""
    if isinstance(one, dict):
        assert two.keys() == one.keys()
        for key, value in one.items():
            assert_close(two[key], value, f"{where}.{key}")
    elif isinstance(one, list):
        assert len(two) == len(one), where
        for number, value in enumerate(one):
            assert_close(two[number], value, f"{where}[{number}]")
    elif isinstance(one, float):
        assert two == pytest.approx(one, rel=1e-4, abs=1e-6), where
    else:
        assert two == one, where


@pytest.mark.slow
def test_an_evaluation_in_shares_is_that_of_one_process(digits_run, tmp_path):
    run = shutil.copytree(digits_run.path, tmp_path / "run")
    two, one = both("evaluate", run, "--data", "digits", "--invariance", "--average", "mirror", "--json")
    assert_close(two, one)
    assert one["invariance"]["overall"] > 0


@pytest.mark.slow
def test_the_test_images_of_a_run_in_shares_and_its_files_are_the_chiefs(digits_run, tmp_path):
    runs = [shutil.copytree(digits_run.path, tmp_path / name) for name in ("one", "two")]
    for run, workers in zip(runs, (1, 2), strict=True):
        (run / "metrics.json").rename(run / "before.json")
        shutil.copy(run / "before.json", run / "metrics.json")
        for code, _, errors in finish(start(workers, "evaluate", run)):
            assert (code, errors) == (0, "")
    one, two = (json.loads((run / "metrics.json").read_text()) for run in runs)
    assert_close(two, one)


@pytest.mark.slow
def test_features_in_shares_are_those_of_one_process(digits_run, tmp_path):
    two, one = (
        finish(start(workers, "embed", digits_run.path, "digits", "--out", tmp_path / f"{workers}.npz", "--quiet"))
        for workers in (2, 1)
    )
    assert [code for code, _, _ in (*two, *one)] == [0, 0, 0], two
    with np.load(tmp_path / "2.npz") as shared, np.load(tmp_path / "1.npz") as alone:
        assert shared.files == alone.files
        np.testing.assert_allclose(shared["features"], alone["features"], rtol=1e-5, atol=1e-6)
        for name in ("labels", "parts", "class_names"):
            np.testing.assert_array_equal(shared[name], alone[name])


@pytest.mark.slow
def test_folds_in_shares_have_the_scores_of_one_process(tmp_path):
    command = ["cross-validate", "lenet5", "--data", "digits", "--recipe", "quick", "--folds", "3", "--against", "mlp"]
    settings = ["--set", "epochs=1", "--set", "batch_size=250", "--set", "model.input_shape=[16,16,1]", "--json"]
    printed = {}
    for workers in (2, 1):
        ends = finish(start(workers, *command, *settings, "--out", tmp_path / f"{workers}.csv"))
        assert [code for code, _, _ in ends] == [0] * workers, ends
        folds = [line.split()[1] for _, _, errors in ends for line in errors.splitlines() if line.startswith("fold")]
        assert sorted(folds) == ["1/3", "2/3", "3/3"]
        printed[workers] = [json.loads(output) for _, output, _ in ends]
    assert printed[2][0] == printed[2][1]
    assert_close(printed[2][0], printed[1][0])
    two, one = ((tmp_path / f"{workers}.csv").read_text().splitlines() for workers in (2, 1))
    for mine, theirs in zip(two[1:], one[1:], strict=True):
        assert mine.split(",")[:3] == theirs.split(",")[:3]
        np.testing.assert_allclose(
            np.array(mine.split(",")[3:], float), np.array(theirs.split(",")[3:], float), atol=1e-4
        )


@pytest.mark.slow
def test_more_workers_than_folds_are_refused_by_each_in_a_line():
    command = ["cross-validate", "mlp", "--data", "digits", "--folds", "2"]
    for code, _, errors in finish(start(3, *command)):
        assert (code, errors) == (2, "Error: 2 folds are too few for 3 workers.\n")


@pytest.mark.parametrize(("count", "size"), [(10, 3), (3, 3), (2, 3), (7, 1)])
def test_shares_are_all_rows_once(count, size):
    teams = [Team(tuple(f"one:{port}" for port in range(1, size + 1)), rank) for rank in range(size)]
    rows = [range(count)[team.share(count)] for team in teams]
    assert [row for share in rows for row in share] == list(range(count))
    assert max(map(len, rows)) - min(map(len, rows)) <= 1


def test_one_process_computes_all_at_once():
    assert Team().in_shares(5, lambda rows: np.arange(10)[rows]).tolist() == [0, 1, 2, 3, 4]


TUNING = [
    *("batch_size=100", "epochs=2", "finetune.epochs=2", "optimizer.name=sgd", "finetune.layer_decay=0.5"),
    *("finetune.views=2", "augment=digits"),
]


@pytest.mark.slow
@pytest.mark.parametrize("recipe", ["last-stage", "full"])
def test_fine_tuning_on_two_workers_is_that_of_one_process(trained, tmp_path, recipe):
    source = trained("resnet8", "epochs=1").path
    settings = [
        setting for setting in TUNING if recipe != "full" or ("views" not in setting and "augment" not in setting)
    ]
    sets = [part for setting in settings for part in ("--set", setting)]
    command = ["finetune", source, "--data", "digits", "--recipe", recipe, *sets, "--quiet"]
    runs = {workers: tmp_path / str(workers) for workers in (1, 2)}
    for workers, run in runs.items():
        for code, _, errors in finish(start(workers, *command, "--out", run), timeout=480):
            assert (code, errors) == (0, "")
    one, two = runs.values()
    np.testing.assert_allclose(figures(two), figures(one), rtol=2e-3)
    assert [row[0] for row in figures(two)] == [1, 2, 3, 4]
    before, alone, shared = (Run.open(path).load_model() for path in (source, one, two))
    moved = 0
    for mine, theirs in zip(shared.weights, alone.weights, strict=True):
        scale = max(np.abs(theirs.numpy()).max(), 1e-3)
        np.testing.assert_allclose(mine.numpy(), theirs.numpy(), atol=2e-3 * scale, err_msg=mine.path)
    for mine, old in zip(shared.weights, before.weights, strict=True):
        moved += mine.shape == old.shape and bool((mine.numpy() != old.numpy()).any())
    assert moved >= 2  # more where the epoch that is kept is one of the second phase


@pytest.mark.slow
def test_a_fine_tuning_that_lost_a_worker_goes_on_to_the_same_bits(digits_run, tmp_path):
    sets = [part for setting in ("batch_size=100", "epochs=4", "finetune.epochs=4") for part in ("--set", setting)]
    command = ["finetune", digits_run.path, "--data", "digits", "--recipe", "last-stage", *sets, "--quiet", "--out"]
    assert [code for code, _, _ in finish(start(2, *command, tmp_path / "whole"))] == [0, 0]
    run = tmp_path / "run"
    workers = start(2, *command, run)
    wait_for_rows(run, 5, workers[0])
    workers[1].send_signal(signal.SIGKILL)
    code, _, errors = finish(workers, timeout=60)[0]
    assert code == 1
    assert errors.startswith("Error: another worker is gone")
    assert errors.endswith(f"`zoo resume {run}` on every worker goes on.\n")
    for code, _, errors in finish(start(2, "resume", run, "--quiet")):
        assert (code, errors) == (0, "")
    for name in ("history.csv", "metrics.json", "recipe.toml"):
        assert (run / name).read_text() == (tmp_path / "whole" / name).read_text(), name
