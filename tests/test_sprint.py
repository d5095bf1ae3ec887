"""The benchmark of the sprint recipe, by one epoch."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[1] / "benchmarks" / "sprint.py"


@pytest.mark.slow
def test_an_ingredient_is_compared_with_the_recipe_and_no_training_is_done_twice(tmp_path):
    words = ["--only", "no label smoothing", "--seeds", "1", "--set", "epochs=1", "--out", str(tmp_path), "--json"]
    command = [sys.executable, str(SCRIPT), *words]
    rows = [json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout) for _ in range(2)]
    assert rows[0] == rows[1]  # seconds, too: the second start trains nothing
    plain, changed = rows[0]
    assert (plain["change"], changed["change"]) == ("as it is", "no label smoothing")
    assert changed["beside"] == pytest.approx([100 * (changed["accuracy"] - plain["accuracy"])])
    assert min(plain["accuracy"], changed["accuracy"]) > 0.5


@pytest.mark.slow
def test_a_recipe_is_timed_beside_the_one_that_it_shortens(tmp_path):
    words = ["--recipe", "fashion-sprint", "--data", "digits", "--part", "time", "--rounds", "1", "--set", "epochs=1"]
    command = [
        sys.executable,
        str(SCRIPT),
        *words,
        "--set",
        "model.options={width=4}",
        "--out",
        str(tmp_path),
        "--json",
    ]
    ratios = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    assert set(ratios) == {"clock", "processors"}
    took = {
        name: json.loads((tmp_path / f"{name}-0" / "took.json").read_text()) for name in ("fashion-sprint", "fashion")
    }
    for kind, (ratio,) in ratios.items():
        assert ratio == pytest.approx(took["fashion-sprint"][kind] / took["fashion"][kind])
