"""The benchmark of several workers: it runs, and its model of what they take is the formula of docs/scaling.md."""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SCRIPT = ROOT / "benchmarks" / "scaling.py"


@pytest.fixture(scope="module")
def scaling():
    spec = importlib.util.spec_from_file_location("scaling", SCRIPT)
    module = sys.modules["scaling"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    yield module
    del sys.modules["scaling"]


def run(*arguments):
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, str(SCRIPT), *arguments], env=environment, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.slow
def test_one_process_and_two_are_measured():
    (row,) = run("--models", "lenet5", "--batches", "64", "--rounds", "1", "--json")
    assert (row["model"], row["batch"], row["parameters"]) == ("lenet5", 64, 61_706)
    assert row["collectives"] == 2  # gradients, and the loss with its metric
    assert min(row["one"], row["two"], row["predicted"]) > 0
    assert row["speed-up"] == pytest.approx(row["one"] / row["two"])
    assert row["pred/meas"] == pytest.approx(row["predicted"] / row["two"])


def test_a_step_is_computing_waiting_and_sending(scaling):
    network = scaling.Network(latency=0.001, bandwidth=1e6)
    assert scaling.seconds_a_step(0.5, 10_000, 1, network) == 0.5
    # Each of 4 workers sends 2 * 3 / 4 of 40,000 bytes, and waits for 3 all-reduces.
    assert scaling.seconds_a_step(0.5, 10_000, 4, network, collectives=3) == pytest.approx(0.5 + 0.003 + 0.06)
    assert scaling.seconds_a_step(0.5, 10_000, 4, network, overlap=1.0) == pytest.approx(0.501)


def test_what_stands_on_paper_is_what_the_page_says():
    rows = run("--paper", "--json")
    assert [(row["hosts"], round(row["hours"], 1)) for row in rows if row["overlap"] == 0][:3] == [
        (1, 29.0),
        (2, 15.5),
        (4, 8.0),
    ]
