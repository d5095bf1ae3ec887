"""Runs side by side say what each run's own files say."""

import json
import shutil

import pytest

from recipes import text
from recipes.compare import compare
from recipes.run.folder import Run
from zoo.errors import RequestError


@pytest.fixture
def two_runs(digits_run, tmp_path):
    """The run as it was trained, and again with an invariance measurement and an export."""
    for name in ("first", "second"):
        shutil.copytree(digits_run.path, tmp_path / name, ignore=shutil.ignore_patterns("export*"))
    first, second = Run.open(tmp_path / "first"), Run.open(tmp_path / "second")
    metrics = json.loads((second.path / "metrics.json").read_text())
    family = {"values": [0, 1], "accuracy": [1, 1], "consistency": [1, 1], "score_drop": [0, 0], "score": 0.75}
    second.write_json("metrics.json", metrics | {"invariance": {"rotation": family, "overall": 0.5}})
    second.write_json("export.json", {"int8": {"file": "x.tflite", "bytes": 66_160}})
    return first, second


def test_the_rows_are_what_the_runs_say(two_runs):
    first, second = compare([two_runs[0].path, two_runs[1]])
    metrics = json.loads((two_runs[0].path / "metrics.json").read_text())
    assert (first["accuracy"], first["loss"]) == (metrics["accuracy"], metrics["loss"])
    assert (first["model"], first["parameters"], first["macs"]) == ("lenet5", 61_706, 416_520)
    assert (first["invariance"], first["exports"]) == (None, {})
    assert second["invariance"] == {"rotation": 0.75, "overall": 0.5}
    assert second["exports"] == {"int8": 66_160}


def test_the_table_says_what_was_not_measured(two_runs):
    header, first, second, test = text.comparison(compare(two_runs)).splitlines()
    assert test.endswith("0 only in the other; McNemar's p 1")  # both are the same run
    assert header.split()[-4:] == ["rotation", "overall", "int8", "bytes"]
    assert first.split()[-3:] == ["-", "-", "-"]
    assert second.split()[-3:] == ["75.0%", "50.0%", "66,160"]


def test_it_is_drawn(two_runs, tmp_path):
    compare(two_runs, plot=tmp_path / "runs.png")
    assert (tmp_path / "runs.png").read_bytes().startswith(b"\x89PNG")
    with pytest.raises(RequestError, match=r"allowed endings: .png, .svg"):
        compare(two_runs, plot=tmp_path / "runs.gif")


def test_a_run_without_figures_says_how_to_get_them(two_runs):
    (two_runs[1].path / "metrics.json").unlink()
    with pytest.raises(RequestError, match="zoo evaluate"):
        compare([two_runs[1]])


def test_two_runs_on_the_same_images_are_told_apart_by_mcnemars_test(two_runs):
    first, second = two_runs
    metrics = json.loads((first.path / "metrics.json").read_text())
    second.write_json("metrics.json", metrics | {"wrong": [row for row in range(1000) if row not in metrics["wrong"]]})
    rows = compare(two_runs)
    assert rows[0]["mcnemar"] is None
    count = len(metrics["wrong"])
    assert (rows[1]["mcnemar"]["only_wrong"], rows[1]["mcnemar"]["only_other_wrong"]) == (1000 - count, count)
    assert rows[1]["mcnemar"]["p"] < 1e-6
    assert "McNemar" in text.comparison(rows).splitlines()[-1]
    second.write_json("metrics.json", metrics | {"examples_digest": "of other images"})
    assert compare(two_runs)[1]["mcnemar"] is None
