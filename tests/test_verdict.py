"""`zoo data check` has errors where `load` refuses a set, and only there; names and numbers have stated rules."""

import os
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from images import class_folders, noise, save, table
from PIL import Image

from recipes.data import load
from recipes.data.checks.doctor import check
from recipes.data.labels import NUMBER, infer_kind
from recipes.data.names import fault_of_name, from_lines, to_lines
from zoo.errors import RequestError

SHAPE = (8, 8, 3)


def told(ask):
    try:
        return ask()
    except RequestError as error:
        return str(error)


rows = st.lists(
    st.tuples(st.integers(0, 9), st.sampled_from("abc"), st.sampled_from(["train", "test", "val"]), st.integers(0, 3)),
    min_size=1,
    max_size=24,
)


@settings(max_examples=40, deadline=None)
@given(rows, st.booleans(), st.booleans(), st.booleans())
def test_a_set_has_errors_where_loading_it_fails(rows, split, group, split_near):
    with tempfile.TemporaryDirectory() as folder:
        columns = ["file", "label", *(["split"] if split else []), *(["group"] if group else [])]
        lines = []
        for number, (seed, label, part, of_group) in enumerate(rows):
            save(noise(seed), Path(folder, f"{number}.png"))
            cells = {"file": f"{number}.png", "label": label, "split": part, "group": f"g{of_group}"}
            lines.append(",".join(cells[name] for name in columns))
        file = str(table(Path(folder, "t.csv"), ",".join(columns), lines))
        report = told(lambda: check(file, split_near_duplicates=split_near, quiet=True))
        loaded = told(lambda: load(file, image_shape=SHAPE, split_near_duplicates=split_near, quiet=True))
        if isinstance(report, str):
            assert loaded == report
        else:
            assert bool(report.errors) == isinstance(loaded, str)
            assert report.refusal == (loaded if report.errors else None)
            assert report.sizes == ({} if report.errors else loaded.sizes)


def test_one_class_and_one_folder_more(tmp_path):
    class_folders(tmp_path / "outer" / "photos", {"cat": 5, "dog": 5})
    (report,) = [finding for finding in check(str(tmp_path / "outer")).findings if finding.is_error]
    assert report.kind == "one_class"
    assert "cat and dog" in report.detail


def test_images_of_different_classes_are_no_near_copies(tmp_path):
    pixels = np.asarray(noise(0, (64, 64)))
    for number in range(8):
        image = pixels.copy()
        image[number, number] ^= 1
        save(Image.fromarray(image), tmp_path / ("good", "bad")[number % 2] / f"{number}.png")
    assert "--split-near-duplicates" in check(str(tmp_path)).refusal
    assert check(str(tmp_path), split_near_duplicates=True).errors == 0


def test_a_folder_without_a_usable_image_is_told(tmp_path):
    for name in ("cat", "dog"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "x.png").write_bytes(b"")
    assert check(str(tmp_path)).errors


def test_what_systems_leave_is_no_class(tmp_path):
    root = class_folders(tmp_path, {"cat": 4, "dog": 4, "@eaDir": 1, "#recycle": 1, "$RECYCLE.BIN": 1})
    assert check(str(root)).class_names == ("cat", "dog")


@settings(max_examples=200, deadline=None)
@given(st.lists(st.text(min_size=1), unique=True, max_size=5))
def test_names_that_are_accepted_come_back_the_same(names):
    if any(map(fault_of_name, names)):
        with pytest.raises(RequestError):
            to_lines(names)
    else:
        assert from_lines(to_lines(names)) == tuple(names)


@pytest.mark.parametrize("text", ["nan", "inf", "1_000", "٣", " 1", "0x10", "", "1e39", "1,5"])
def test_what_is_no_number_is_named_with_its_line(text):
    with pytest.raises(RequestError, match="line 7"):
        NUMBER.parse(["1.5", text], "t.csv", [3, 7])
    assert infer_kind(["1.5", "-2e-3"]) is NUMBER


def test_lines_are_those_of_the_file(tmp_path):
    for number in range(4):
        save(noise(number), tmp_path / f"{number}.png")
    text = 'file,label\n\n0.png,a\n\n1.png,"a\nb"\n'
    (tmp_path / "t.csv").write_text(text)
    with pytest.raises(RequestError, match=r"t\.csv line 5: the label"):
        check(str(tmp_path / "t.csv"))


def test_a_pipe_in_a_table_is_no_file(tmp_path):
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "t.csv").write_text("file,label\npipe.png,a\n/dev/zero,b\n")
    report = check(str(tmp_path / "t.csv"))
    assert {finding.kind for finding in report.findings if "is not a file" in finding.detail} == {"missing"}
