"""Rows of results: what is listed of them, how they are added and checked."""

import importlib.util
import json
import math
import shlex
from pathlib import Path
from types import SimpleNamespace

import pytest
from images import save
from PIL import Image

import cli
import zoo
from zoo.errors import RequestError
from zoo.results import FAMILIES, of_models, read_results, read_rows, result_sets, summarize, to_lines

ROOT = Path(__file__).parents[1]


def module_of(path):
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


benchmark = module_of(ROOT / "benchmarks" / "results.py")
plots = module_of(ROOT / "docs" / "site" / "plots.py")
generate = module_of(ROOT / "docs" / "generate.py")


def row(model="lenet5", seed=0, accuracy=0.9, symmetry=None, **others):
    facts = {"image": [28, 28, 1], "accuracy_interval": [accuracy - 0.02, accuracy + 0.02], "int8_accuracy": accuracy}
    facts |= {"agreement": 1.0, "calibration_error": 0.01, "parameters": 10, "macs": 100, "int8_bytes": 1000}
    facts |= {"arena_bytes": 500, "latency_ratio": 1.0, "seconds": 9.0, **dict.fromkeys(FAMILIES, 0.5)}
    facts |= {"test_images": 1000, "commit": "1234567", "machine": "a laptop"}
    identity = {"model": model, "symmetry": symmetry, "recipe": "quick", "data": "digits", "seed": seed}
    return identity | {"accuracy": accuracy, "command": "zoo fit", **facts, **others}


def test_means_are_over_seeds_and_the_best_comes_first():
    failed = {**row("nin"), "failed": "out of memory"}
    found = summarize([row(accuracy=0.8), row(seed=1, accuracy=0.9), row("mlp", accuracy=0.95), failed])
    assert [(one.model, one.seeds, one.accuracy) for one in found] == [("mlp", 1, 0.95), ("lenet5", 2, 0.85)]
    assert found[1].interval == (0.78, 0.92)
    assert found[1].spread == pytest.approx(0.0707)
    assert found[0].spread is None
    assert [one.accuracy_in_words for one in found] == ["95.0", "85.0 ± 7.1"]
    assert [one.model for one in of_models(found, ["lenet5", "mlp"])] == ["lenet5", "mlp"]
    assert [one.model for one in of_models(found, ["lenet5", "mlp"], by_accuracy=True)] == ["mlp", "lenet5"]
    assert json.loads(to_lines(found).splitlines()[0])["model"] == "mlp"


def test_the_list_has_results_by_accuracy(capsys):
    assert cli.main(["list", "lenet*", "--results", "digits", "--sort", "accuracy", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [one["accuracy"] for one in found] == sorted((one["accuracy"] for one in found), reverse=True)
    assert {one["model"] for one in found} <= {"lenet1", "lenet4", "lenet5", "lenet5_1998"}
    assert cli.main(["list", "--results", "digits"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == len(read_results("digits")) + 1


def test_what_there_are_no_results_of_is_refused_in_a_line(capsys):
    assert cli.main(["list", "--sort", "accuracy"]) == 2
    assert "--sort accuracy needs --results; allowed: digits" in capsys.readouterr().err
    with pytest.raises(RequestError, match=r"digitz.*digits"):
        read_results("digitz")
    assert "digits" in result_sets()


def test_every_row_says_what_it_takes_to_repeat_it():
    for file in (ROOT / "docs" / "results").glob("*.jsonl"):
        rows = read_rows(file)
        keys = [tuple(one[key] for key in benchmark.IDENTITY) for one in rows]
        assert len(set(keys)) == len(keys)
        for one in rows:
            assert "failed" in one or {"command", "commit", "versions", "machine", "arena_measured"} <= one.keys()


@pytest.fixture
def asked(tmp_path):
    given = {"data": "digits", "recipe": "quick", "seeds": 2, "symmetry": None, "only": "lenet[15]"}
    return SimpleNamespace(**given, package=None, max_params=1e6, max_macs=1e6, hours=1, check=0, out=tmp_path)


def test_rows_that_are_there_are_not_done_again(asked, tmp_path, monkeypatch):
    done = []

    def measured(one, folder, reference):
        done.append((one["model"], one["seed"]))
        if one["model"] == "lenet1":
            raise RuntimeError(f"{folder}/run: out of memory")
        return row(**{key: one[key] for key in ("model", "seed", "symmetry")})

    monkeypatch.setattr(benchmark, "measured", measured)
    monkeypatch.setattr(benchmark, "make_reference", lambda reference: None)
    file = tmp_path / "digits.jsonl"
    benchmark.fill(asked, file)
    assert done == [("lenet1", 0), ("lenet5", 0), ("lenet1", 1), ("lenet5", 1)]
    assert [one.get("failed") for one in read_rows(file)][:2] == ["RuntimeError: run: out of memory", None]
    asked.seeds = 3
    benchmark.fill(asked, file)
    assert done[4:] == [("lenet1", 2), ("lenet5", 2)]
    asked.seeds, asked.hours = 4, 0
    benchmark.fill(asked, file)
    assert len(read_rows(file)) == 6


@pytest.mark.parametrize(
    ("accuracy", "error", "verdict"),
    [
        (0.9, 0.01, "same"),
        (0.9, 0.0101, "within"),
        (0.92, 0.01, "within"),
        (0.93, 0.01, "OUTSIDE"),
        (0.5, 0.2, "OUTSIDE"),
    ],
)
def test_a_row_is_checked_by_its_own_command(asked, tmp_path, monkeypatch, capsys, accuracy, error, verdict):
    def trained(command, folder):
        assert command == ["zoo", "fit"]
        (folder / "run").mkdir()
        metrics = {"accuracy": accuracy, "calibration_error": error}
        (folder / "run" / "metrics.json").write_text(json.dumps(metrics))

    file = tmp_path / "digits.jsonl"
    file.write_text(json.dumps(row()))
    monkeypatch.setattr(benchmark, "trained", trained)
    asked.check, asked.only = 3, "*"
    assert benchmark.check(asked, file) is (verdict != "OUTSIDE")
    assert capsys.readouterr().out.splitlines()[0].startswith(f"{verdict} ")


@pytest.mark.parametrize(
    ("model", "data", "side"),
    [
        ("mobilenet_v1", "digits", 32),
        ("nin", "digits", 16),
        ("resnet44", "digits", None),
        ("mobilenet_v1", "emoji", 96),
    ],
)
def test_large_models_are_trained_on_smaller_images(model, data, side):
    one = {"model": model, "symmetry": "c4", "recipe": "quick", "data": data, "seed": 1}
    command = benchmark.command_of(one)
    assert [word for word in command if "input_shape" in word] == (
        [f"model.input_shape=[{side},{side},3]"] * bool(side)
    )
    assert "model.symmetry=c4" in command


def test_no_copies_are_made_for_a_symmetry_that_is_built_in(asked):
    asked.only, asked.max_params, asked.max_macs = "*_c*", math.inf, math.inf
    plain = {one["model"] for one in benchmark.planned(asked)}
    asked.symmetry = "c4"
    turned = {one["model"] for one in benchmark.planned(asked)}
    assert plain - turned == {"rosette_c4", "rosette_c8", "p4_cnn", "p4_all_cnn_c", "p4m_all_cnn_c"}
    assert turned == plain - {name for name in plain if zoo.get_card(name).symmetry in ("c4", "d4")}


def test_a_set_that_is_no_name_lies_beside_the_training_under_its_own(asked, tmp_path):
    asked.data = str(tmp_path / "my images")
    (tmp_path / "my images" / "a").mkdir(parents=True)
    place = benchmark.workplace(tmp_path / "0", benchmark.prepared(asked, tmp_path))
    assert (place / "my images" / "a").is_dir()
    assert next(benchmark.planned(asked))["data"] == "my images"
    asked.data = "digits"
    assert list(benchmark.workplace(tmp_path / "1", benchmark.prepared(asked, tmp_path)).iterdir()) == []


def test_models_with_weights_are_fine_tuned_on_the_table_of_a_set(asked, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    asked.data, asked.recipe, asked.only, asked.seeds = "emoji", "last-stage", "*", 1
    asked.max_macs, asked.package = 700e6, tmp_path / "package"
    save(Image.new("RGB", (8, 8)), asked.package / "img" / "google" / "64" / "1f600.png")
    emoji = [{"unified": "1F600", "image": "1f600.png", "category": "Smileys & Emotion"}]
    (asked.package / "emoji.json").write_text(json.dumps(emoji))
    rows = list(benchmark.planned(asked))
    assert [one["model"] for one in rows] == ["efficientnet_lite0", "efficientnet_lite1"]
    assert shlex.join(benchmark.command_of(rows[0])) == (
        "zoo finetune efficientnet_lite0 --data emoji.csv --skip-bad --recipe last-stage --seed 0 "
        "--set 'model.input_shape=[96,96,3]' --out run"
    )
    place = benchmark.workplace(tmp_path / "0", benchmark.prepared(asked, tmp_path))
    assert (place / "emoji.csv").read_text("utf-8").splitlines()[0] == "file,label,split,group"


def test_the_page_has_a_section_for_each_set_and_says_what_failed():
    failed = {**row("nin"), "failed": "out of memory"}
    sets = {"digits": [row(accuracy=0.8), row(seed=1), row(symmetry="c4"), failed]}
    sets["others"] = [row("nin"), row("mlp"), row("lenet1"), row("pebble", recipe="last-stage")]
    text = "\n".join(generate.results_on("digits", sets))
    assert "Models: 2. Trainings: 4 (3 of seed 0, 1 of seed 1), 1 failed. Test images: 1,000." in text
    assert "| [lenet5](models/lenet.md#lenet5) | 28x28x1 | quick | 2 | 85.0 ± 7.1 |" in text
    assert "| [lenet5](models/lenet.md#lenet5), copies c4 |" in text
    assert "- `nin`, seed 0, failed: out of memory" in text
    assert "Not trained on this set: `lenet1`, `mlp`." in text
    assert "Not trained on this set: `lenet5`." in "\n".join(generate.results_on("others", sets))


def test_a_plot_has_a_mark_for_each_result_and_room_for_most():
    rows = [row(accuracy=0.98), row("mlp", accuracy=0.96), row("nin", accuracy=0.1), row(symmetry="c4", accuracy=0.97)]
    drawn = plots.plots_of("digits", summarize(rows))
    assert drawn.count("<figure>") == 3
    assert drawn.count('class="mark') == 3 * len(rows)
    assert drawn.count("mark below") == drawn.count("copies c4, quick") == 3
    assert plots.plots_of("digits", summarize(rows[:2])) == ""
    assert plots.lowest([98, 96, 10, 97]) == 93
    assert plots.ticks(2.5, 4) == [500, 1000, 2000, 5000, 10000]
    assert plots.ticks(2.5, 5.1) == [1000, 10000, 100000]


def test_the_front_is_what_no_cheaper_model_reaches():
    assert plots.front([(3, 90), (1, 80), (2, 70), (1, 85), (4, 90), (5, 95)]) == [3, 0, 5]
