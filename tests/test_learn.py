"""The lessons of docs/learn: each page shows what its script has stored, and each script runs."""

import importlib
import json
import re
from pathlib import Path

import pytest

LEARN = Path(__file__).parents[1] / "docs" / "learn"
SCRIPTS = sorted(file.stem for file in LEARN.glob("*.py") if file.stem != "lesson")
HEADINGS = ["Question", "Experiment", "Result", "Exercise"]
# Of the embedded digits, which every lesson uses, and the level at which a difference is usually taken for one.
KNOWN = {"3,500", "500", "1,000", "0.05"}
SAID = re.compile(r"\d[\d,]*\.\d+|\d{1,3}(?:,\d{3})+|\d+(?= %)")
# What is not the page's own text: generated parts, code, links' addresses, tables, and the numbers of headings.
NOT_SAID = re.compile(r"<!-- (?:table|command).*?<!-- end -->|```.*?```|`[^`]*`|\]\([^)]*\)|^[#|][^\n]*", re.S | re.M)


@pytest.fixture
def script(monkeypatch):
    """A script of a lesson as a module, by its name."""
    monkeypatch.syspath_prepend(str(LEARN))
    yield importlib.import_module
    for name in ("lesson", *SCRIPTS):
        importlib.sys.modules.pop(name, None)


def stored(name):
    return json.loads((LEARN / f"{name}.json").read_text("utf-8"))


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_page_shows_what_its_script_has_stored(name, script):
    page = (LEARN / f"{name}.md").read_text("utf-8")
    lesson = script("lesson")
    assert lesson.with_results(page, f"{name}.py", stored(name)) == page, f"run `python docs/learn/{name}.py --write`"
    assert sorted(re.findall(r"<!-- table: (.+?) -->", page)) == sorted(stored(name)["tables"])
    assert re.findall(r"^## (.+)$", page, re.M) == HEADINGS
    assert f"`python docs/learn/{name}.py`" in page
    assert f"({name}.png)" in page


@pytest.mark.parametrize("name", SCRIPTS)
def test_every_number_in_the_text_of_a_page_is_one_that_its_script_has_stored(name):
    said = SAID.findall(NOT_SAID.sub(" ", (LEARN / f"{name}.md").read_text("utf-8")))
    cells = " ".join(cell for table in stored(name)["tables"].values() for row in table for cell in row)
    assert [number for number in said if number not in {*re.findall(r"\d[\d,]*(?:\.\d+)?", cells), *KNOWN}] == []


def test_every_lesson_stands_in_the_list_and_was_run_in_two_minutes_on_two_cores():
    listed = re.findall(r"\]\((\w+)\.md\)", (LEARN / "index.md").read_text("utf-8"))
    assert sorted(listed) == SCRIPTS
    site = (LEARN.parents[1] / "mkdocs.yml").read_text("utf-8")
    assert re.findall(r"^ +- learn/(\w+)\.md$", site, re.M) == ["index", *listed]
    assert [name for name in listed if stored(name)["seconds"] > 240] == []  # of processor time


@pytest.mark.slow
@pytest.mark.parametrize("name", SCRIPTS)
def test_a_script_runs_at_small_size_and_gives_the_tables_of_its_page(name, script, tmp_path):
    tables = script(name).lesson(True, tmp_path)
    kept = stored(name)["tables"]
    assert {title: table[0] for title, table in tables.items()} == {title: table[0] for title, table in kept.items()}
    assert all(len(row) == len(table[0]) for table in tables.values() for row in table)
    assert (tmp_path / f"{name}.png").stat().st_size < 150_000
