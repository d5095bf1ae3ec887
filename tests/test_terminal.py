"""What reaches the terminal: every character shows, and no terminal, pipe or encoding stops a command."""

import io
import json
import os
import subprocess
import sys
import unicodedata

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

import cli
from recipes.support.tables import lines, table
from zoo.cache import cache_folder, expanded
from zoo.terminal import Outlet, escaped, outlets, unescaped

CONTROLS = "\x00\x07\x1b\x7f\x85\x9b\r\n\t\u2028\u202e\udcff"
ANY_TEXT = st.text(st.characters(exclude_categories=()), max_size=40) | st.text(CONTROLS + "[]m猫 ")
CLASSES = ("猫", "Ж", r"$\frac{a$ `|` 'b'")
IMAGE = "\x1b[2J\x07\n\x9bx.png"


def shows(text):
    return all(c.isprintable() or c in "\u200c\u200d" or unicodedata.category(c) == "Zs" for c in text)


@given(ANY_TEXT)
def test_any_text_leaves_the_door_without_a_control_character(text):
    through = escaped(text)
    assert shows(through)
    assert escaped(through) == through
    assert text != through or shows(text)


@given(ANY_TEXT, st.sampled_from(["utf-8", "cp1252", "ascii", "shift-jis"]))
def test_a_stream_of_any_encoding_takes_any_text(text, encoding):
    written = io.BytesIO()
    stream = io.TextIOWrapper(written, encoding, newline="\n")
    outlet = Outlet(stream)
    print(text, file=outlet, flush=True)
    assert outlet.failure is None
    received = written.getvalue().decode(encoding)
    assert shows(received.replace("\n", ""))
    assert received.count("\n") == text.count("\n") + 1


@given(st.lists(st.tuples(ANY_TEXT, ANY_TEXT), max_size=4), ANY_TEXT)
def test_a_row_of_a_table_is_a_line(rows, header):
    assert len(table([header, "b"], rows).split("\n")) == len(rows) + 1
    assert len(lines(header, header).split("\n")) == 2


def test_names_in_other_scripts_stay_as_they_are():
    for name in ("猫 と 犬", "क्‍ष", "می‌خواهم", "👩‍👧", "ß\u00a0µ"):
        assert escaped(name) == name


def test_bytes_of_a_name_that_are_not_utf_8_are_shown():
    assert escaped(os.fsdecode(b"caf\xe9.png")) == r"caf\xe9.png"


class Gone(io.StringIO):
    """A stream whose reader, or disk, is gone."""

    def __init__(self, error):
        super().__init__()
        self.error = error

    def write(self, text):
        raise self.error


def test_a_reader_that_is_gone_stops_nothing():
    outlet = Outlet(Gone(BrokenPipeError()))
    print("one", file=outlet)
    print("two", file=unescaped(outlet), flush=True)
    assert outlet.failure is None


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), ValueError("I/O operation on closed file")])
def test_a_result_that_could_not_be_printed_is_a_failure(monkeypatch, capsys, error):
    monkeypatch.setattr(sys, "stdout", Gone(error))
    assert cli.main(["list", "lenet5"]) == 1
    err = capsys.readouterr().err
    assert err.startswith("Error: what this command printed is lost: ")
    assert err.count("\n") == 1


def test_streams_are_given_back(monkeypatch):
    monkeypatch.setattr(sys, "stderr", None)
    kept = sys.stdout
    with outlets() as (out, _):
        assert sys.stdout is out
        print("nowhere", file=sys.stderr)
        with pytest.raises(TypeError):
            sys.stdout.write(b"bytes")
    assert sys.stdout is kept
    assert sys.stderr is None


@pytest.fixture(scope="session")
def hostile(once):
    """A folder of images whose classes a terminal would obey, and a run on it."""

    def make(folder):
        random = np.random.default_rng(0)
        for number, name in enumerate(CLASSES):
            (folder / "images" / name).mkdir(parents=True)
            for i in range(10):
                pixels = random.integers(0, 256, (28, 28)) // 3 + 80 * number
                Image.fromarray(pixels.astype(np.uint8)).save(folder / "images" / name / f"{i}.png")
        (folder / "images" / "猫" / "0.png").rename(folder / "images" / "猫" / IMAGE)
        fit = ["fit", "lenet5", "--data", str(folder / "images"), "--recipe", "quick", "--epochs", "1", "--quiet"]
        assert cli.main([*fit, "--input-shape", "28x28x1", "--out", str(folder / "run")]) == 0

    return once("hostile", make)


COMMANDS = [
    "list lenet5",
    "show lenet5",
    "recipes",
    "recipes digits",
    "augment preview {data} --recipe digits --rows 1 --columns 1 --out {tmp}/grid.png",
    "augment write {data} --recipe digits --part test --input-shape 28x28x1 --out {tmp}/written --quiet",
    "data check {data} --quiet",
    "evaluate {run}",
    "compare {run} {run} --plot {tmp}/runs.svg",
    "report {run}",
    "export {run} --to float32 --force --out {tmp}/model.tflite",
    "inspect {tmp}/model.tflite",
    "benchmark {tmp}/model.tflite --repeats 1 --threads 1",
    "predict {run} {image}",
    "predict {tmp}/model.tflite {image}",
    "demo {tmp}/model.tflite --data {data} --out {tmp}/demo",
    "embed {run} {data} --out {tmp}/features.npz --quiet",
]
REFUSED = ["resume {run}", "finetune {image} --data {data} --out {tmp}/x", "show {image}", "fit lenet5 --data {image}"]
REFUSED += ["tune lenet5 --data {image} --out {tmp}/x", "cross-validate lenet5 --data {image}"]


@pytest.mark.slow
@pytest.mark.parametrize(("encoding", "as_json"), [("cp1252", False), ("ascii", True)])
def test_every_command_prints_where_names_cannot_be_written(hostile, tmp_path, monkeypatch, encoding, as_json):
    places = {
        "run": hostile / "run",
        "data": hostile / "images",
        "image": hostile / "images" / "猫" / IMAGE,
        "tmp": tmp_path,
    }
    tried = set()
    quick = [name for name in COMMANDS if name.startswith(("list", "show", "data", "compare", "predict {run}"))]
    for command in (quick if as_json else COMMANDS) + REFUSED:
        arguments = [word.format(**places) for word in command.split(" ")]
        written = {}
        for name in ("stdout", "stderr"):
            written[name] = io.BytesIO()
            monkeypatch.setattr(sys, name, io.TextIOWrapper(written[name], encoding, newline="\n"))
        code = cli.main([*arguments, *(["--json"] if as_json else [])])
        out, err = (content.getvalue().decode(encoding) for content in written.values())
        assert shows((out + err).replace("\n", "")), command
        if command in REFUSED:
            assert code == 2, (command, err)
            assert err.startswith("Error: "), command
            assert err.count("\n") == 1, command
        else:
            assert code == 0, (command, err)
            assert not as_json or json.loads(out) is not None
        tried.add(command.split(" {")[0])
    assert as_json or {name.split()[0] for name in tried} == set(cli.commands.commands)


def test_where_there_is_no_home_there_is_no_cache(monkeypatch):
    monkeypatch.delenv("CONVZOO_CACHE")
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(os.path, "expanduser", lambda path: path)  # as where the user has no name and no HOME
    with pytest.raises(OSError, match="Not a directory"):
        cache_folder().mkdir(parents=True)


def test_a_home_that_nobody_has_is_a_name_like_others():
    assert str(expanded("~nobody-of-this-name/images")) == "~nobody-of-this-name/images"


def test_an_error_that_nobody_foresaw_is_one_line(monkeypatch, capsys):
    def fails(*_, **__):
        raise KeyError("a\nb\x1b[2J")

    monkeypatch.setattr("recipes.command_line.models.select", fails)
    assert cli.main(["list"]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert (
        err
        == "Error: KeyError: 'a\\nb\\x1b[2J' (not foreseen; with ZOO_TRACEBACK=1 in the environment it says where).\n"
    )
    monkeypatch.setenv("ZOO_TRACEBACK", "1")
    assert cli.main(["list"]) == 1
    err = capsys.readouterr().err
    assert err.startswith("Traceback")
    assert "raise KeyError" in err


def test_a_name_that_the_system_refuses_is_one_line(capsys):
    name = "x" * 300
    for command in ("evaluate", "report", "compare", "export", "resume", "inspect"):
        assert cli.main([command, name]) == 2, command
        err = capsys.readouterr().err
        assert err.startswith(f"Error: {name}"), command
        assert err.count("\n") == 1


def test_a_command_needs_no_streams_and_no_patience_with_warnings():
    program = f"{sys.executable} -W error -m cli list lenet5"
    done = subprocess.run(f"{program} <&- >&- 2>&-", shell=True, capture_output=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
    done = subprocess.run(f"{program} | true", shell=True, capture_output=True)
    assert (done.returncode, done.stderr) == (0, b"")


def test_an_outlet_of_a_stream_that_is_closed_leaves_no_file_open():
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(9):
        stream = io.StringIO()
        outlet = Outlet(stream)
        stream.close()
        outlet.write("lost")
    assert len(os.listdir("/proc/self/fd")) <= before
