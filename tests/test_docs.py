"""What is generated is up to date, and links lead somewhere."""

import importlib.util
import re
from pathlib import Path

import pytest

import zoo
from zoo.anatomy import FACTS, to_lines

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text("utf-8")
STALE = "is stale: run `python docs/generate.py`"

spec = importlib.util.spec_from_file_location("generate", ROOT / "docs" / "generate.py")
generate = importlib.util.module_from_spec(spec)
spec.loader.exec_module(generate)


def test_generated_pages_are_up_to_date():
    for name, text in generate.pages().items():
        assert (ROOT / "docs" / name).read_text("utf-8") == text, f"docs/{name} {STALE}"


def test_what_is_listed_of_results_is_what_their_rows_say():
    folder = ROOT / "zoo" / "measured"
    assert generate.measured() == {file.name: file.read_text("utf-8") for file in folder.glob("*.jsonl")}, STALE


def test_every_model_has_its_facts_and_no_facts_are_left_over():
    assert sorted(file.name.removesuffix(".jsonl") for file in FACTS.iterdir()) == zoo.list_models(), STALE


def own_models():
    return [name for name in zoo.list_models() if not name.startswith("keras_")]


@pytest.mark.slow
@pytest.mark.parametrize("name", own_models())
def test_stored_facts_are_those_of_the_built_model(name):
    assert (FACTS / f"{name}.jsonl").read_text("utf-8") == to_lines(generate.built(name)), STALE


def test_links_between_pages_lead_to_files():
    for page in [ROOT / "README.md", *(ROOT / "docs").rglob("*.md"), *(ROOT / "benchmarks").rglob("*.md")]:
        for target in re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text("utf-8")):
            if "://" not in target:
                assert (page.parent / target).exists(), f"{page}: {target}"


def test_readme_counts_the_models_that_are_registered():
    total, own, wrapped = re.search(r"(\d+) models, (\d+) of them written here and (\d+) of", README).groups()
    assert [int(total), int(own), int(wrapped)] == [
        len(zoo.list_models()),
        len(own_models()),
        len(zoo.list_models("keras_*")),
    ]


def test_every_benchmark_is_named_on_their_page():
    page = (ROOT / "benchmarks" / "README.md").read_text("utf-8")
    assert [file.name for file in (ROOT / "benchmarks").glob("*.py") if file.name not in page] == []
