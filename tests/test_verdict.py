"""`zoo data check` has errors where `load` refuses a set, and only there; names and numbers have stated rules."""

import os
import signal
import struct
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from images import class_folders, noise, save, table
from PIL import Image

from recipes.config.presets import load_recipe
from recipes.data import load
from recipes.data.checks.doctor import check
from recipes.data.decoding import read
from recipes.data.labels import NUMBER, infer_kind
from recipes.data.readers import Arrays, MemoryReader
from recipes.data.readers.digits import read_digits
from recipes.data.split_table import read_split_table
from recipes.evaluate.scoring import evaluate
from recipes.export.source import open_export_source
from recipes.predict import predict
from recipes.run.folder import Run
from recipes.run.keras_file import load_keras_file
from recipes.tflite import inspect
from recipes.transfer.source import open_source
from zoo import get_card
from zoo.errors import RequestError
from zoo.plugins import read_plugin
from zoo.torch_file import read_tensors
from zoo.weights import load_weights

SHAPE = (8, 8, 3)


def told(ask):
    try:
        return ask()
    except RequestError as error:
        return str(error)


LABELS = {
    "classification": st.sampled_from("abc"),
    "multilabel": st.sampled_from(["a", "b", "a|b", "b|c", ""]),
    "regression": st.sampled_from(["0.5", "1.5", "-2", "3e4"]),
}
PART = st.sampled_from(["train", "test", "val"])


@settings(max_examples=40, deadline=None)
@given(st.data(), st.sampled_from(list(LABELS)), st.booleans(), st.booleans(), st.booleans())
def test_a_set_has_errors_where_loading_it_fails(data, task, split, group, split_near):
    row = st.tuples(st.integers(0, 9), LABELS[task], PART, st.integers(0, 3))
    with tempfile.TemporaryDirectory() as folder:
        columns = ["file", "label", *(["split"] if split else []), *(["group"] if group else [])]
        lines = []
        for number, (seed, label, part, of_group) in enumerate(data.draw(st.lists(row, min_size=1, max_size=24))):
            save(noise(seed), Path(folder, f"{number}.png"))
            cells = {"file": f"{number}.png", "label": label, "split": part, "group": f"g{of_group}"}
            lines.append(",".join(cells[name] for name in columns))
        file = str(table(Path(folder, "t.csv"), ",".join(columns), lines))
        agree(
            told(lambda: check(file, task=task, split_near_duplicates=split_near, quiet=True)),
            told(lambda: load(file, task=task, image_shape=SHAPE, split_near_duplicates=split_near, quiet=True)),
        )


class Held(MemoryReader):
    """A set in memory."""

    def __init__(self, labels, classes):
        super().__init__("held")
        parts = {part: np.asarray(of, np.int64) for part, of in labels.items() if of}
        self._arrays = Arrays(
            {part: (np.zeros((len(of), 4, 4, 1), np.uint8), of) for part, of in parts.items()},
            tuple(f"c{number}" for number in range(classes)),
        )

    def read(self):
        return self._arrays


@settings(max_examples=80, deadline=None)
@given(st.dictionaries(st.sampled_from(["train", "validation", "test"]), st.lists(st.integers(0, 2), max_size=12)))
def test_arrays_have_errors_where_loading_them_fails(labels):
    labels = {part: labels[part] for part in ("train", "validation", "test") if labels.get(part)}
    if labels:
        agree(told(lambda: check(Held(labels, 3), quiet=True)), told(lambda: load(Held(labels, 3), quiet=True)))


def agree(report, loaded):
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


def test_a_set_of_one_part_says_what_is_missing_and_who_takes_it(tmp_path, digits_run):
    images, labels = read_digits()
    for name, array in (("images-idx3", images[:40, ..., 0]), ("labels-idx1", labels[:40].astype(np.uint8))):
        header = b"\0\0\x08" + bytes([array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape)
        (tmp_path / f"t10k-{name}-ubyte").write_bytes(header + array.tobytes())
        (tmp_path / f"train-{name}-ubyte").mkdir()  # a folder is no file
    refusal = check(str(tmp_path), quiet=True).refusal
    assert "no part `train` (train-images-idx3-ubyte is missing); it has test" in refusal
    assert "zoo evaluate RUN" in refusal
    assert told(lambda: load(str(tmp_path), quiet=True)) == refusal
    assert evaluate(digits_run, data=str(tmp_path))["examples"] == 40


@pytest.fixture
def within_seconds():
    """Ends a test that waits for a pipe."""

    def end(*_):
        raise TimeoutError("it waits for a pipe")

    before = signal.signal(signal.SIGALRM, end)
    signal.alarm(60)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


@pytest.mark.parametrize("kind", ["pipe", "device"])
def test_only_files_are_opened(tmp_path, within_seconds, kind):
    def made(name):
        os.mkfifo(tmp_path / name) if kind == "pipe" else os.symlink("/dev/zero", tmp_path / name)
        return tmp_path / name

    recipe, model, lite, tables = made("recipe.toml"), made("m.keras"), made("m.tflite"), made("t.csv")
    plugin, weights, torch, image = made("p.py"), made("w.weights.h5"), made("w.pth"), made("i.png")
    for ask in (
        lambda: load_recipe(recipe),
        lambda: load_keras_file(model),
        lambda: open_export_source(model, "digits"),
        lambda: open_source(model),
        lambda: inspect(lite),
        lambda: predict(lite, [image]),
        lambda: read(image),
        lambda: load(str(tables), image_shape=SHAPE),
        lambda: check(str(tables)),
        lambda: read_split_table(tables),
        lambda: read_plugin(plugin),
        lambda: read_tensors(torch),
        lambda: load_weights(None, get_card("lenet5"), weights),
        lambda: Run.open(tmp_path).class_names,
        lambda: Run(tmp_path).class_names,
    ):
        assert isinstance(told(ask), str)


def test_a_pipe_in_a_table_is_no_file(tmp_path):
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "t.csv").write_text("file,label\npipe.png,a\n/dev/zero,b\n")
    report = check(str(tmp_path / "t.csv"))
    assert {finding.kind for finding in report.findings if "is not a file" in finding.detail} == {"missing"}
