"""Several devices of one machine train, score and embed as one does."""

import csv
import json
import re
from collections import Counter

import forked
import numpy as np
import pytest
from test_shares import assert_close

from recipes.distributed.devices import on_each
from recipes.distributed.team import join
from zoo.errors import RequestError

TWO_CPUS = """
import sys, tensorflow as tf
cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
import cli
sys.exit(cli.main(sys.argv[1:]))
"""

# Each call of what runs on several devices: on which one, and how many images it was given.
COUNTED = """
import sys, tensorflow as tf
import recipes.evaluate.invariance as invariance, recipes.scorers.models as models
import recipes.transfer.features as features
from zoo.keras_internals import as_constants
def counted(function, *signature):
    run = as_constants(function, *signature)
    def called(*given):
        made = run(*given)
        sys.stderr.write(f"on {made.device[-5:]} {len(made)}\\n")
        return made
    return called
for module in (invariance, models, features):
    module.as_constants = counted
"""


@pytest.mark.slow
@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_two_devices_have_the_loss_curve_of_one(optimizer, tmp_path):
    curves = {}
    for devices in ("1", "all"):
        run = tmp_path / devices
        command = ["fit", "lenet5", "--data", "digits", "--out", str(run), "--recipe", "quick", "--epochs", "2"]
        arguments = [*command, "--devices", devices, "--set", f"optimizer.name={optimizer}", "--quiet"]
        forked.run(TWO_CPUS, *arguments, check=True)
        with open(run / "history.csv") as file:
            curves[devices] = [[float(row["loss"]), float(row["val_loss"])] for row in csv.DictReader(file)]
    for one, both in zip(curves["1"], curves["all"], strict=True):
        assert both == pytest.approx(one, rel=1e-4)


@pytest.mark.parametrize("devices", ["0", "9", "two"])
def test_devices_that_are_not_there_are_refused(devices):
    with pytest.raises(RequestError, match=f"devices='{devices}' is not possible; allowed: all, or 1 to"):
        join(devices)


def images_by_device(told):
    """How many images each device was given, by what `COUNTED` wrote."""
    counts = Counter()
    for device, images in re.findall(r"on (CPU:\d) (\d+)", told):
        counts[device] += int(images)
    return counts


def on_two_and_on_one(*arguments):
    """What two devices and one print for the same arguments, and how many images each of the two was given."""
    two = forked.run(COUNTED + TWO_CPUS, *arguments, "--devices", "2", check=True)
    one = forked.run(COUNTED + TWO_CPUS, *arguments, check=True)
    return json.loads(two.stdout), json.loads(one.stdout), images_by_device(two.stderr)


@pytest.mark.slow
def test_two_devices_score_as_one_and_each_its_half(digits_run):
    run = digits_run.path
    asked = ("evaluate", run, "--data", "digits", "--average", "mirror", "--json")
    two, one, images = on_two_and_on_one(*asked)
    assert_close(two, one)
    scored = 3 * 500  # the test images, and both views of them
    assert images == {"CPU:0": scored, "CPU:1": scored}


@pytest.mark.slow
def test_two_devices_measure_invariance_as_one(digits_run):
    two, one, images = on_two_and_on_one("evaluate", digits_run.path, "--data", "digits", "--invariance", "--json")
    assert_close(two, one)
    assert one["invariance"]["overall"] > 0
    assert images["CPU:0"] == images["CPU:1"] > 50 * 500


@pytest.mark.slow
def test_features_of_two_devices_are_those_of_one(digits_run, tmp_path):
    arguments = ("embed", digits_run.path, "digits", "--json", "--quiet", "--out")
    counts = {}
    for devices in ("1", "2"):
        file = tmp_path / f"{devices}.npz"
        done = forked.run(COUNTED + TWO_CPUS, *arguments, file, "--devices", devices, check=True)
        counts[devices] = images_by_device(done.stderr)
    assert counts["1"].keys() == {"CPU:0"}
    assert counts["2"]["CPU:0"] == counts["2"]["CPU:1"] >= 2500
    with np.load(tmp_path / "2.npz") as shared, np.load(tmp_path / "1.npz") as alone:
        assert shared.files == alone.files
        np.testing.assert_allclose(shared["features"], alone["features"], rtol=1e-5, atol=1e-6)
        np.testing.assert_array_equal(shared["labels"], alone["labels"])


@pytest.mark.slow
def test_a_fine_tuning_on_two_devices_shares_its_features_and_has_the_loss_curve_of_one(digits_run, tmp_path):
    sets = [part for setting in ("batch_size=100", "finetune.epochs=1", "epochs=2") for part in ("--set", setting)]
    command = ["finetune", digits_run.path, "--data", "digits", "--recipe", "last-stage", *sets, "--quiet"]
    curves = {}
    for devices in ("1", "2"):
        run = tmp_path / devices
        done = forked.run(COUNTED + TWO_CPUS, *command, "--out", run, "--devices", devices, check=True)
        images = images_by_device(done.stderr)
        assert (images["CPU:1"] >= 0.49 * sum(images.values())) == (devices == "2")
        with open(run / "history.csv") as file:
            curves[devices] = [[float(row["loss"]), float(row["val_loss"])] for row in csv.DictReader(file)]
    np.testing.assert_allclose(curves["2"], curves["1"], rtol=2e-3)


def test_a_file_that_keras_does_not_run_has_no_devices_to_share_among(int8_file):
    refused = forked.run(TWO_CPUS, "evaluate", int8_file, "--data", "digits", "--devices", "2")
    assert (refused.returncode, refused.stdout) == (2, "")
    assert refused.stderr.startswith("Error: devices='2' is not possible: ")
    assert "is run by LiteRT" in refused.stderr
    assert refused.stderr.count("\n") == 1


@pytest.mark.parametrize("rows", [slice(3, 10), slice(0, 2), slice(4, 5), slice(0, 3)])
def test_rows_come_back_in_order_whoever_computed_them(rows):
    assert (
        on_each(["CPU:0", "CPU:0", "CPU:0"], rows, lambda part: np.arange(20)[part]).tolist() == list(range(20))[rows]
    )


def test_what_goes_wrong_on_a_device_is_told():
    def compute(rows):
        if rows.start:
            raise RequestError("this one")
        return np.zeros(2)

    with pytest.raises(RequestError, match="this one"):
        on_each(["CPU:0", "CPU:0"], slice(0, 4), compute)
