"""A Ray cluster of several nodes on this machine: who is lost is replaced, and the run ends in the same weights."""

import json
import os
import signal
import time
import warnings
from collections import Counter
from pathlib import Path

import forked
import numpy as np
import pytest
from test_shares import assert_close
from test_workers import SETTINGS, command, figures, finish, start, wait_for_rows

from recipes.run.folder import Run

pytest.importorskip("ray")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="finds the workers in /proc"),
]

ZOO = "import sys, cli\nsys.exit(cli.main(sys.argv[1:]))"
PLUGIN = """
import json, os, signal, zoo

@zoo.register(input_shape=(8, 8, 1), scaling=zoo.Scaling(1 / 255))
def unused_net(x):
    "A plugin has to register something."
    return x
"""
OFTEN = """
from recipes.support.quiet import import_keras
import_keras()
import recipes.training.loop
recipes.training.loop.CHECKPOINT_SECONDS = 0
"""
DIES = """
place = json.loads(os.environ.get("TF_CONFIG") or "{}")
if place and place["task"]["index"] == 1:
    print("tried", file=open("tries", "a"))
    os.kill(os.getpid(), signal.SIGKILL)
"""

# How many images each worker scores, and makes features of.
COUNTS = """
from recipes.support.quiet import import_keras
import_keras()
import recipes.scorers.models as models, recipes.transfer.features as features
place = json.loads(os.environ.get("TF_CONFIG") or "{}")
place = place["task"]["index"] if place else "alone"
scores, fill = models._Model.scores, features.Frozen._fill
def counted(self, images):
    print(place, "scores", len(images), file=open("counts", "a"))
    return scores(self, images)
def filled(self, outputs, *given):
    print(place, "features", len(outputs), file=open("counts", "a"))
    return fill(self, outputs, *given)
models._Model.scores, features.Frozen._fill = counted, filled
"""
# The second of two workers dies once, when it has trained its first fold.
DIES_ONCE = """
import json, os, signal, keras, zoo

place = json.loads(os.environ.get("TF_CONFIG") or "{}")

@zoo.register(input_shape=(8, 8, 1))
def told_net(x):
    "Its second worker dies once, when it has trained a fold."
    if place and place["task"]["index"] == 1 and not os.path.exists("died"):
        from recipes.search.fold_work import FoldWork
        def dies(self, number, how=""):
            open("died", "w").close()
            os.kill(os.getpid(), signal.SIGKILL)
        FoldWork.say = dies
    return keras.layers.Conv2D(8, 3, strides=2, activation="relu")(x)
"""


@pytest.fixture
def cluster(monkeypatch, tmp_path):
    """Three nodes of one CPU each."""
    with warnings.catch_warnings(action="ignore"):
        from ray.cluster_utils import Cluster

        monkeypatch.chdir(tmp_path)
        monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[1]))
        monkeypatch.setenv("TF_NUM_INTRAOP_THREADS", "1")
        monkeypatch.setenv("TF_NUM_INTEROP_THREADS", "1")
        several = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
        try:
            for _ in range(2):
                several.add_node(num_cpus=1)
            several.wait_for_nodes()
            monkeypatch.setenv("RAY_ADDRESS", several.address)
            yield several
        finally:
            several.shutdown()


def worker(rank, run, seconds=60):
    """The process of a worker that trains a run, and those that it was started by."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        for process in Path("/proc").glob("[0-9]*"):
            try:
                arguments = (process / "cmdline").read_bytes().split(b"\0")
                environment = (process / "environ").read_bytes()
                parents = [int(process.name)]
                while parents[-1] > 1:
                    stat = Path("/proc", str(parents[-1]), "stat").read_text()
                    parents.append(int(stat.rpartition(")")[2].split()[1]))
            except OSError:
                continue
            if str(run).encode() in arguments and f'"index": {rank}}}'.encode() in environment:
                return parents
        time.sleep(0.1)
    raise AssertionError(f"no worker {rank} of {run}")


def test_a_lost_worker_and_a_lost_node_are_replaced_and_the_run_ends_in_the_same_weights(cluster, tmp_path):
    settings = [*SETTINGS, "epochs=8", "batch_size=250"]
    whole = start(2, *command("lenet5", tmp_path / "whole", *settings))
    assert [code for code, _, _ in finish(whole)] == [0, 0]
    (tmp_path / "often.py").write_text(PLUGIN + OFTEN)
    run = tmp_path / "run"
    zoo = forked.Process(
        ZOO, "--plugin", "often.py", *command("lenet5", run, *settings), "--launch", "ray", "--workers", 2
    )
    wait_for_rows(run, 1, zoo)
    os.kill(worker(1, run)[0], signal.SIGKILL)
    before = worker(0, run)[0]
    while Path("/proc", str(before)).exists():
        time.sleep(0.1)
    wait_for_rows(run, 3, zoo)
    chief = worker(0, run)
    assert chief[0] != before
    (lost,) = [node for node in cluster.list_all_nodes() if node.all_processes["raylet"][0].process.pid in chief]
    if lost is cluster.head_node:  # without which there is no cluster
        os.kill(chief[1], signal.SIGKILL)
    else:
        cluster.remove_node(lost, allow_graceful=False)
    _, errors = zoo.communicate(timeout=240)
    assert zoo.returncode == 0, errors
    first, second = errors.splitlines()
    assert first.startswith("worker 1 was lost: its process was killed by signal 9. Starting again, from the last")
    assert first.endswith("(3 more tries).")
    assert second.startswith("worker 0 was lost: ")
    assert second.endswith("(2 more tries).")
    assert [row[0] for row in figures(run)] == list(range(1, 9))
    np.testing.assert_allclose(figures(run), figures(tmp_path / "whole"), rtol=1e-5)
    one, two = (Run.open(path).load_model().get_weights() for path in (run, tmp_path / "whole"))
    for mine, theirs in zip(one, two, strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=1e-4, atol=1e-6)


def test_after_so_many_tries_there_is_one_line(cluster, tmp_path):
    # Only one of two dies, always: the other waits for it as long as it is let.
    (tmp_path / "dies.py").write_text(PLUGIN + DIES)
    program = f"import recipes.distributed.launch as launch\nlaunch.GRACE_SECONDS = 1\n{ZOO}"
    fitting = command("lenet5", "run")
    zoo = forked.run(program, "--plugin", "dies.py", *fitting, "--launch", "ray", "--workers", 2, "--retries", 1)
    assert zoo.returncode == 1
    again, error = zoo.stderr.splitlines()
    assert again.endswith("Starting again, from the last checkpoint if there is one (one more try).")
    assert error == (
        "Error: worker 1 was lost: its process was killed by signal 9. This was try 2 of 2. "
        "`zoo resume run --launch ray --workers 2` goes on."
    )
    assert (tmp_path / "tries").read_text() == "tried\n" * 2
    assert not (tmp_path / "run").exists()


def test_a_worker_that_fails_by_itself_is_not_replaced(cluster, tmp_path):
    fitting = command("lenet5", "run", "batch_size=63")
    zoo = forked.run(ZOO, *fitting, "--launch", "ray", "--workers", 2)
    assert (zoo.returncode, zoo.stdout) == (2, "")
    assert zoo.stderr.startswith("Error: batch_size=63 is not possible on 2 devices")
    assert zoo.stderr.count("\n") == 1


def test_scores_and_features_are_those_of_one_process_and_each_worker_computes_its_share(cluster, tmp_path, digits_run):
    (tmp_path / "counts.py").write_text(PLUGIN + COUNTS)
    both = ["--launch", "ray", "--workers", "2"]
    evaluating = ["evaluate", digits_run.path, "--data", "digits", "--invariance", "--json"]
    two, one = (forked.run(ZOO, "--plugin", "counts.py", *evaluating, *more, check=True) for more in (both, []))
    assert_close(json.loads(two.stdout), json.loads(one.stdout))
    embedding = ["embed", digits_run.path, "digits", "--quiet", "--out"]
    forked.run(ZOO, "--plugin", "counts.py", *embedding, "two.npz", *both, check=True)
    forked.run(ZOO, "--plugin", "counts.py", *embedding, "one.npz", check=True)
    with np.load("two.npz") as shared, np.load("one.npz") as alone:
        np.testing.assert_allclose(shared["features"], alone["features"], rtol=1e-5, atol=1e-6)
    counts = Counter()
    for row in (tmp_path / "counts").read_text().splitlines():
        place, what, images = row.split()
        counts[place, what] += int(images)
    assert counts["0", "scores"] == counts["1", "scores"] == counts["alone", "scores"] / 2 == 500
    assert counts["0", "features"] == counts["1", "features"] == counts["alone", "features"] / 2


def test_a_cross_validation_that_lost_a_worker_trains_only_the_folds_that_are_left(cluster, tmp_path):
    (tmp_path / "once.py").write_text(DIES_ONCE)
    settings = ["--set", "epochs=1", "--set", "batch_size=250", "--folds", "3", "--json"]
    validating = ["--plugin", "once.py", "cross-validate", "told_net", "--data", "digits", "--recipe", "quick"]
    two = forked.run(ZOO, *validating, *settings, "--launch", "ray", "--workers", 2)
    assert two.returncode == 0, two.stderr
    lines = two.stderr.splitlines()
    assert sum(line.startswith("worker 1 was lost: its process was killed by signal 9.") for line in lines) == 1
    kept = [line.split()[1] for line in lines if line.endswith("(trained before)")]
    assert kept == ["1/3", "2/3"]  # the chief's own, and that of the worker that died then
    assert json.loads(two.stdout) == json.loads(forked.run(ZOO, *validating, *settings, check=True).stdout)
