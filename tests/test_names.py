"""A class name that is accepted comes back the same from every file that the product writes; others are refused."""

import ast
import csv
import json
import re
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from images import class_folders, noise, save, table
from test_strangers import small_model, written

from recipes.data import check, load
from recipes.data.dataset import Data, Split
from recipes.data.labels import BLANKS
from recipes.data.names import fault_of_name, from_lines, to_lines
from recipes.data.split_table import read_split_table
from recipes.export.kinds.c_array import _literal
from recipes.run.folder import Run
from recipes.tasks import TASKS
from recipes.tflite import TFLiteFile
from recipes.tflite.file import FACTS, attach
from zoo.errors import RequestError

ODD = [" cat", "cat ", "a,b", 'a "b"', "a|b", "cafe\u0301", "café", "Cat", "می\u200cخواهم", "a\u00a0b", "???=", "\\n"]
NOT_A_LINE = ["", "\t", "a\nb", "a\rb", "a\tb", "a\x1b[31m", "\u202eabc", "a\u2028b", "\ud800", "\u00a0"]
names = st.text(min_size=1).filter(lambda text: fault_of_name(text) is None) | st.sampled_from(ODD)
of_tables = names.filter(lambda name: name == name.strip(BLANKS))
four_names = st.lists(names, min_size=4, max_size=4, unique=True)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.text(min_size=1), unique=True, max_size=5))
@example(["a\nb"])
@example(["a\x85b"])
@example(["\ud800"])
def test_a_list_of_names_is_refused_or_comes_back(names):
    if any(map(fault_of_name, names)):
        with pytest.raises(RequestError):
            to_lines(names)
    else:
        assert from_lines(to_lines(names)) == tuple(names)
        assert from_lines(to_lines(names).replace("\n", "\r\n")) == tuple(names)


@pytest.mark.parametrize("name", NOT_A_LINE)
def test_what_is_no_line_of_text_is_no_name(name):
    assert fault_of_name(name)


@settings(max_examples=40, deadline=None)
@given(four_names)
@example(ODD[:4])
@example(ODD[4:8])
@example(ODD[8:12])
def test_a_run_keeps_names(names):
    with tempfile.TemporaryDirectory() as folder:
        parts = [Split(np.zeros((4, 1, 1, 1), np.uint8), np.arange(4), tuple("abcd"[i] + part for i in range(4)))
                 for part in ("1", "2", "3")]  # fmt: skip
        data = Data("here", tuple(names), None, *parts, root=Path())
        run = Run(Path(folder))
        run.write_data(data)
        scores = np.eye(4, dtype=np.float32)
        run.write_json("metrics.json", TASKS["classification"].metrics(data.test, scores, data.class_names))
        again = Run(Path(folder))
        assert again.class_names == tuple(names) == tuple(again.metrics["class_names"])
        assert [row["label"] for row in read_split_table(again.split_table)] == 3 * names


@settings(max_examples=40, deadline=None)
@given(four_names)
@example(ODD[:4])
def test_an_exported_file_keeps_names(names):
    with tempfile.TemporaryDirectory() as folder:
        file = written(small_model(), Path(folder, "x.tflite"))
        file.write_bytes(attach(file.read_bytes(), names, {"labels": names}))
        opened = TFLiteFile(file)
        assert opened.labels == tuple(names) == tuple(opened.facts["labels"])
        assert FACTS.encode() in file.read_bytes()


def test_a_file_with_more_names_than_scores_is_refused(tmp_path):
    file = written(small_model(), tmp_path / "x.tflite")
    file.write_bytes(attach(file.read_bytes(), ["a", "b", "c"], {}))
    with pytest.raises(RequestError, match="has 3 labels for 4 scores"):
        TFLiteFile(file)


@settings(max_examples=200, deadline=None)
@given(names)
@example("???=")
@example("????/")
def test_a_c_literal_keeps_names(name):
    literal = _literal(name)
    assert not re.search(r"\?\?[=/'()!<>-]", literal)
    in_python = re.sub(r"\\(.)", lambda escape: "?" if escape[1] == "?" else escape[0], literal)  # it has no \?
    assert ast.literal_eval(in_python) == name


@settings(max_examples=25, deadline=None)
@given(st.lists(of_tables, min_size=2, max_size=3, unique=True), st.booleans())
def test_a_table_keeps_names(names, semicolons):
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "t.csv")
        with file.open("w", encoding="utf-8", newline="") as lines:
            writer = csv.writer(lines, delimiter=";" if semicolons else ",")
            writer.writerow(["file", "label"])
            for number, name in enumerate(names * 4):
                save(noise(number, (8, 8)), Path(folder, f"{number}.png"))
                writer.writerow([f"{number}.png", name])
        data = load(str(file), image_shape=(8, 8, 3), task="classification", quiet=True)
        assert sorted(data.class_names) == sorted(names)
        again = Path(folder, "split.csv")
        Run(Path(folder)).write_rows(again.name, data.split_table())
        same = load(str(file), image_shape=(8, 8, 3), task="classification", split_table=again, quiet=True)
        assert same.class_names == data.class_names
        assert same.split_table() == data.split_table()


def test_folders_keep_names(tmp_path):
    kept = [name for name in ODD if "|" not in name]
    class_folders(tmp_path, dict.fromkeys(kept, 3))
    report = check(str(tmp_path), quiet=True)
    assert report.class_names == tuple(sorted(kept))
    twins = [finding.detail for finding in report.findings if finding.kind == "twins"]
    assert sum("NFC" in twin for twin in twins) == 1
    assert sum("blanks or case" in twin for twin in twins) == 2


def test_a_run_that_is_gone_on_with_has_the_same_classes(tmp_path):
    parts = [Split(np.zeros((2, 1, 1, 1), np.uint8), np.arange(2)) for _ in range(3)]
    run = Run(tmp_path)
    run.keep_data(Data("here", ("cat", "dog"), None, *parts))
    assert run.class_names == ("cat", "dog")
    run.keep_data(Data("here", ("cat", "dog"), None, *parts))
    with pytest.raises(RequestError, match=r"here has other classes than .* was trained on: without dog, with fox"):
        run.keep_data(Data("here", ("cat", "fox"), None, *parts))
    with pytest.raises(RequestError, match="in another order"):
        run.check_data(Data("here", ("dog", "cat"), None, *parts))


def test_what_stands_between_cells_is_told_by_the_header(tmp_path):
    for number in range(8):
        save(noise(number), tmp_path / f"{number}.png")
    lines = [f'{number}.png;"a, b, c";1;0' if number % 2 else f"{number}.png;x;0;1" for number in range(8)]
    file = table(tmp_path / "t.csv", 'file;group;"cat, or kitten, or so";dog', lines)
    assert check(str(file), quiet=True).class_names == ("cat, or kitten, or so", "dog")


def test_a_file_that_is_spelled_otherwise_is_named(tmp_path):
    for number in range(6):
        save(noise(number), tmp_path / f"cafe\u0301-{number}.PNG")
    file = table(tmp_path / "t.csv", "file,label", [f"café-{number}.png,{'ab'[number % 2]}" for number in range(6)])
    missing = [finding.detail for finding in check(str(file), quiet=True).findings if finding.kind == "missing"]
    assert len(missing) == 6
    assert "differs in case or in how accents are encoded" in missing[0]


def test_names_of_thousands_of_digits_are_sorted_as_numbers(tmp_path):
    for number in range(9):
        save(noise(number), tmp_path / f"{number}.png")
    classes = ["9", "1" * 5000, "10"]
    file = table(tmp_path / "t.csv", "file,label", [f"{number}.png,{classes[number % 3]}" for number in range(9)])
    assert check(str(file), quiet=True).class_names == ("9", "10", "1" * 5000)


def test_numbers_that_float32_does_not_hold_are_said(tmp_path):
    for number in range(20):
        save(noise(number), tmp_path / f"{number}.png")
    for texts, told in (
        ([f"{number}.5" for number in range(20)], None),
        ([f"{16_777_217 + 4 * number}.0" for number in range(20)], "16777217.0 becomes 16777216.0"),
        ([f"1700000000.{number:02}" for number in range(20)], "float32 tells 1 apart"),
        (["1e-60", *(f"{number}.5" for number in range(19))], "1e-60 becomes 0.0"),
    ):
        file = table(tmp_path / "t.csv", "file,label", [f"{i}.png,{text}" for i, text in enumerate(texts)])
        report = check(str(file), quiet=True)
        details = [finding.detail for finding in report.findings if finding.kind == "precision"]
        assert told in details[0] if told else not details
        assert json.dumps([finding.to_dict() for finding in report.findings])
