"""Several devices of one machine train as one does."""

import csv

import forked
import pytest

from recipes.distributed.team import join
from zoo.errors import RequestError

TWO_CPUS = """
import sys, tensorflow as tf
cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
import cli
sys.exit(cli.main(sys.argv[1:]))
"""


@pytest.mark.slow
def test_two_devices_have_the_loss_curve_of_one(tmp_path):
    curves = {}
    for devices in ("1", "all"):
        run = tmp_path / devices
        command = ["fit", "lenet5", "--data", "digits", "--out", str(run), "--recipe", "quick", "--epochs", "2"]
        arguments = [*command, "--devices", devices, "--quiet"]
        forked.run(TWO_CPUS, *arguments, check=True)
        with open(run / "history.csv") as file:
            curves[devices] = [[float(row["loss"]), float(row["val_loss"])] for row in csv.DictReader(file)]
    for one, both in zip(curves["1"], curves["all"], strict=True):
        assert both == pytest.approx(one, rel=1e-4)


@pytest.mark.parametrize("devices", ["0", "9", "two"])
def test_devices_that_are_not_there_are_refused(devices):
    with pytest.raises(RequestError, match=f"devices='{devices}' is not possible; allowed: all, or 1 to"):
        join(devices)
