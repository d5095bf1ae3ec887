"""Whatever a file holds, its reader takes it or refuses it in one line, in little time and memory."""

import random
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recipes.support.reading import Document, parse_toml
from zoo.errors import RequestError

FUZZ = Path(__file__).parents[1] / "benchmarks" / "fuzz.py"
QUICK = (
    "torch",
    "checkpoint",
    "run",
    "study",
    "recipe",
    "augmentation",
    "space",
    "table",
    "split",
    "idx",
    "image",
    "shards",
)


@pytest.mark.parametrize("name", QUICK)
def test_what_is_mutated_is_taken_or_refused(fuzz, tmp_path, name):
    reader = fuzz.READERS[name]
    counts = fuzz.attack(reader, fuzz.prepared(reader, tmp_path / "seeds"), inputs=12, seed=3)
    assert counts.outcomes["refused"] > 0
    assert counts.bad == 0, counts


@pytest.mark.slow
def test_what_tensorflow_reads_is_taken_or_refused():
    """In a process without TensorFlow's threads, which do not survive the fork that each input is read in."""
    names = ("keras", "weights", "tfds")
    done = subprocess.run(
        [sys.executable, FUZZ, "--reader", *names, "--inputs", "8", "--seed", "5"], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_reader_is_attacked_here(fuzz):
    assert {*QUICK, "tflite", "keras", "weights", "tfds"} == set(fuzz.READERS)


def test_mutations_are_drawn_from_the_seed(fuzz, tmp_path):
    seeds = fuzz.prepared(fuzz.READERS["recipe"], tmp_path / "seeds")
    mutate, content = fuzz.mutation_of(".toml"), seeds[0].read_bytes()
    made = [[mutate(content, random.Random(number)) for number in range(9)] for _ in range(2)]
    assert made[0] == made[1]


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=300))
def test_any_bytes_are_a_table_or_one_line(tmp_path_factory, content):
    file = Document(tmp_path_factory.getbasetemp() / "any.csv", "remove it")
    file.path.write_bytes(content)
    told = ""
    try:
        file.rows(10)
    except RequestError as error:
        told = str(error)
    assert not told or ("any.csv" in told and told.endswith(": remove it.") and "\n" not in told)


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=200))
def test_any_text_is_toml_or_a_value_error_of_one_line(text):
    told = ""
    try:
        parse_toml(text)
    except ValueError as error:
        told = str(error)
    assert "\n" not in told


@pytest.mark.parametrize("text", ["a = " + "[" * 9_999, "a = " + "9" * 9_999, "[" + "a." * 9_999 + "a]", "a = 1\n" * 2])
def test_what_would_take_long_or_nest_without_end_is_told(tmp_path, text):
    (tmp_path / "a.toml").write_text(text)
    with pytest.raises(RequestError, match=r"a\.toml is not valid TOML: "):
        Document(tmp_path / "a.toml").toml()
