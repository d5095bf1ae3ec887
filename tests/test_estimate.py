"""What a training will take, and trainings that end by the clock or when they are good enough."""

import csv
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

import recipes.training.estimate as measuring
from recipes import text
from recipes.fit import estimate, fit
from zoo.errors import RequestError

SETTINGS = ["epochs=3", "batch_size=500", "model.options.units=[8]"]


@pytest.fixture(autouse=True)
def briefly(monkeypatch):
    monkeypatch.setattr(measuring, "SECONDS", 0.2)


@pytest.mark.slow
def test_an_estimate_counts_the_loading_of_tensorflow(tmp_path):
    """Of a process that has not loaded it yet, as that of the command line."""
    program = (
        "import sys, time\ntime.perf_counter = time.process_time\nfrom recipes.fit import estimate\n"
        "assert 'tensorflow' not in sys.modules\n"
        "found = estimate('mlp', data='digits', recipe='quick', overrides=['epochs=1'], quiet=True)\n"
        "print(found.begin)"
    )
    loading = "import time\nbegan = time.process_time()\nimport keras\nprint(time.process_time() - began)"
    begin, least = (
        float(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout)
        for code in (program, loading)
    )
    assert begin > 0.8 * least  # without it about a third


@pytest.mark.slow
def test_an_estimate_counts_what_the_training_has(tmp_path, monkeypatch, prepared_data_folder):
    monkeypatch.chdir(tmp_path)
    found = estimate("mlp", data="digits", recipe="quick", overrides=SETTINGS, quiet=True)
    assert (found.images, found.epochs, found.steps, found.batch_size) == (3500, 3, 7, 500)
    assert found.seconds == pytest.approx(found.begin + 3 * found.epoch + found.end)
    assert min(found.begin, found.epoch, found.end, found.memory) > 0
    assert not list(tmp_path.iterdir())

    run = fit("mlp", data="digits", out=tmp_path / "run", recipe="quick", overrides=SETTINGS, quiet=True).run
    weights = sum(weight.numpy().nbytes for weight in run.load_model().weights)
    assert found.kept == weights <= (run.path / "model.keras").stat().st_size
    assert found.disk >= 4 * weights
    assert "3 epochs of 7 steps" in text.estimate(found)


def test_a_step_is_measured_where_an_epoch_is_long():
    watch = measuring._Watch()
    watch._began, watch._epochs = 0.0, [1.0]
    watch._steps = [(1, 5.0), (2, 5.5), (11, 10.0)]
    assert watch.epoch_seconds(100, 7.0) == pytest.approx(100 * 0.5 + 7.0)
    assert watch.begin_seconds() == pytest.approx(4.5)
    watch._epochs += [60.0, 110.0, 158.0]
    assert watch.epoch_seconds(100, 7.0) == pytest.approx(49.0)


def test_as_many_epochs_as_there_is_time_for():
    found = measuring.Estimate(
        "mlp", "digits", 3500, 30, 7, 500, begin=10, epoch=5, end=4, memory=None, disk=1, kept=1, device=""
    )
    assert [found.epochs_in(seconds) for seconds in (1, 18.9, 19, 24, 114)] == [0, 0, 1, 2, 20]
    assert "not known" in text.estimate(found)
    assert (
        text.estimate(replace(found, epoch=600))
        .splitlines()[1]
        .startswith("time    about 5 h 0 min: 10 min 0 s an epoch")
    )


@pytest.mark.slow
def test_a_training_by_the_clock_is_the_one_with_so_many_epochs(tmp_path, monkeypatch, prepared_data_folder):
    monkeypatch.setattr(measuring.Estimate, "epochs_in", lambda self, seconds: 2)
    by_clock, by_count = (
        fit("lenet5", data="digits", out=tmp_path / name, recipe="quick", overrides=own, seconds=given, quiet=True).run
        for name, given, own in (("a", 60, ["batch_size=500"]), ("b", None, ["batch_size=500", "epochs=2"]))
    )
    assert by_clock.recipe == by_count.recipe
    for one, other in zip(by_clock.load_model().get_weights(), by_count.load_model().get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.slow
def test_too_little_time_is_refused_and_nothing_written(tmp_path, prepared_data_folder):
    with pytest.raises(RequestError, match=r"0.01 seconds are too few: with one epoch, it takes about \d+\."):
        fit("mlp", data="digits", out=tmp_path / "run", recipe="quick", overrides=SETTINGS, seconds=0.01, quiet=True)
    assert not list(tmp_path.iterdir())


def test_it_ends_when_it_is_good_enough(tmp_path, prepared_data_folder):
    settings = ["epochs=40", "batch_size=100", "model.options.units=[8]", "until=0.5"]
    run = fit("mlp", data="digits", out=tmp_path / "run", recipe="quick", overrides=settings, quiet=True).run
    with open(run.path / "history.csv") as file:
        reached = [float(row["val_accuracy"]) for row in csv.DictReader(file)]
    assert len(reached) < 40
    assert reached[-1] >= 0.5 > max([0, *reached[:-1]])
    assert run.recipe.until == 0.5


def test_numbers_have_no_accuracy_to_reach(tmp_path):
    rows = [f"{number}.png,{number + 0.5}" for number in range(40)]
    for number in range(40):
        Image.new("L", (8, 8), 6 * number).save(tmp_path / f"{number}.png")
    (tmp_path / "table.csv").write_text("\n".join(["file,label", *rows]))
    with pytest.raises(RequestError, match=r"until=0\.9 is not possible for regression"):
        fit("mlp", data=str(tmp_path / "table.csv"), out=tmp_path / "run", overrides=["until=0.9"], quiet=True)
