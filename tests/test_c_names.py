"""What a C array is called, and its labels: whatever a file and a class are called, a compiler takes it."""

import keyword
import re
import shutil
import subprocess

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from recipes.export.kinds.c_array import _RESERVED, CArray, _literal, c_name
from zoo.errors import RequestError

TEXTS = ["", "class", "_", "__x__", "2nd", "9", "Café", "模型", "a.b", "x_t", "int", "INT", "linux", "and", "модель-2"]
needs_compiler = pytest.mark.skipif(shutil.which("g++") is None, reason="needs g++")


@given(st.text())
@example("class")
@example("__x")
def test_any_text_becomes_a_name(text):
    name = c_name(text)
    assert re.fullmatch(r"[a-z][a-z0-9]*(_[a-z0-9]+)*", name)
    assert name not in _RESERVED
    assert c_name(name) == name


def test_good_names_stay():
    for name in ("lenet5_int8", "lenet5_c_array", "digits", "model1"):
        assert c_name(name) == name


@needs_compiler
@pytest.mark.parametrize("compiler", [["g++", "-std=c++20", "-xc++"], ["gcc", "-std=gnu11", "-xc"]])
def test_compilers_take_every_name(compiler, tmp_path):
    names = sorted({c_name(text) for text in [*TEXTS, *_RESERVED, *keyword.kwlist]})
    lines = [
        "#include <stdlib.h>",
        "#include <stdio.h>",
        "#include <string.h>",
        "#include <math.h>",
        "#include <time.h>",
    ]
    lines += [f"extern const unsigned char {name}[3]; extern const unsigned {name}_size;" for name in names]
    source = tmp_path / "names.src"
    source.write_text("\n".join(lines) + "\n")
    done = subprocess.run([*compiler, "-Werror", "-fsyntax-only", source], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[:500]


@needs_compiler
def test_labels_come_out_of_a_program_as_they_went_in(tmp_path):
    labels = ["a", 'quoted "b"', "back\\slash", "tab\tline\nend", "\x01\x7f7", "??=", "猫", "\u2028", "%s", "x\\"]
    source = tmp_path / "labels.cc"
    rows = ", ".join(_literal(label) for label in labels)
    source.write_text(
        f"#include <cstdio>\nconst char* const labels[] = {{{rows}}};\n"
        "int main() { for (auto label : labels) { fputs(label, stdout); putchar(0); } }\n",
        "utf-8",
    )
    subprocess.run(["g++", "-std=c++11", source, "-o", tmp_path / "labels"], check=True)
    printed = subprocess.run([tmp_path / "labels"], capture_output=True, check=True).stdout
    assert printed.decode("utf-8").split("\0")[:-1] == labels


@pytest.mark.parametrize("name", ['a"b.cc', "a\\b.cc", "a\nb.cc"])
def test_a_file_that_cannot_be_included_is_refused(tmp_path, name):
    with pytest.raises(RequestError, match="cannot be named in `#include`"):
        CArray().check_place(tmp_path / name)
