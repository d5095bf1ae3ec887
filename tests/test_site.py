"""The site in a real browser, as wide as a phone and as a desk: nothing comes from elsewhere, nothing is cut off.

`mkdocs build --strict`, which `.ci/run` calls, is what looks at links and anchors. The folder that it wrote is read
where CONVZOO_SITE names it; else it is built here.
"""

import importlib.util
import itertools
import os
import subprocess
import sys
from pathlib import Path

import pytest
from browser import installed, serving

ROOT = Path(__file__).parents[1]
PAGES = ("", "get-started/", "models/", "models/lenet/", "recipes/", "evaluation/", "reference/cli/", "reference/zoo/")
PAGES += ("reference/recipes.fit/", "settings/", "results/", "learn/", "learn/pooling/", "benchmarks/", "changelog/")
WIDTHS = (380, 1200)


@pytest.fixture(scope="session")
def site(once):
    """The folder of the built site."""
    if named := os.environ.get("CONVZOO_SITE"):
        return Path(named)
    pytest.importorskip("mkdocs")

    def build(folder):
        command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(folder)]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=600)
        assert done.returncode == 0, done.stderr

    return once("site", build)


@pytest.fixture(scope="module")
def reader(site):
    """`reader(width, path)`: a page of the site, opened, and what its browser complained of."""
    playwright = pytest.importorskip("playwright.sync_api")
    with serving(site) as address, playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=installed(), args=["--no-sandbox"])
        pages = {width: browser.new_page(viewport={"width": width, "height": 800}) for width in WIDTHS}
        complaints = []
        for page in pages.values():
            page.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
            page.on("pageerror", lambda error: complaints.append(str(error)))
            page.on(
                "request", lambda request: request.url.startswith((address, "data:")) or complaints.append(request.url)
            )

        def opened(width, path):
            complaints.clear()
            pages[width].goto(f"{address}/{path}", wait_until="load")
            return pages[width], complaints

        yield opened
        browser.close()


@pytest.mark.slow
@pytest.mark.parametrize("width", WIDTHS)
def test_pages_are_read_without_complaints_and_without_scrolling_sideways(reader, width):
    for path in PAGES:
        page, complaints = reader(width, path)
        assert complaints == [], path
        assert page.evaluate("document.documentElement.scrollWidth") <= width, path
        levels = page.eval_on_selector_all("article :is(h1,h2,h3,h4)", "all => all.map((one) => +one.tagName[1])")
        assert levels[0] == 1, path
        assert levels.count(1) == 1, path
        assert all(after <= before + 1 for before, after in itertools.pairwise(levels)), path
        broken = "[...document.images].filter((one) => one.complete && !one.naturalWidth).map((one) => one.src)"
        assert page.evaluate(broken) == [], path


@pytest.mark.slow
def test_search_finds_a_page_and_the_dark_scheme_is_dark(reader):
    page, complaints = reader(1200, "")
    page.fill("input.md-search__input", "receptive")
    page.locator(".md-search-result__item").first.wait_for(timeout=20_000)
    page.emulate_media(color_scheme="dark")
    page.wait_for_function("document.body.dataset.mdColorScheme === 'slate'", timeout=10_000)
    red = page.evaluate("+getComputedStyle(document.body).backgroundColor.match(/\\d+/)[0]")
    assert red < 80
    assert complaints == []


@pytest.mark.slow
def test_a_table_of_results_is_sorted_and_reduced(reader):
    page, complaints = reader(1200, "results/")
    table = page.locator("table:has(th button)").first

    def column(number):
        return table.locator(f"tbody tr:visible td:nth-child({number})").all_inner_texts()

    headings = table.locator("thead th").all_inner_texts()
    table.get_by_role("button", name="parameters").click()
    counts = [int(text.replace(",", "")) for text in column(headings.index("parameters") + 1)]
    assert counts == sorted(counts, reverse=True)
    assert len(counts) > 1
    page.locator(".filter").first.fill("lenet 28x28x1")
    kept = column(1)
    assert {name.split(",")[0] for name in kept} == {"lenet1"}
    assert page.locator(".filter-count").first.inner_text().strip() == f"{len(kept)} of {len(counts)}"
    assert complaints == []


def load(name):
    spec = importlib.util.spec_from_file_location(name, ROOT / "docs" / "site" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_page_has_its_place_in_the_navigation():
    """mkdocs warns of them, too; this says so without it."""
    text = (ROOT / "mkdocs.yml").read_text("utf-8")
    pages = [file.name for file in (ROOT / "docs").glob("*.md")]
    assert [page for page in pages if f": {page}\n" not in text and f"- {page}\n" not in text] == []


def test_examples_and_shared_arguments_of_docstrings_become_what_markdown_knows():
    docstrings = load("docstrings") if importlib.util.find_spec("griffe") else pytest.skip("needs the extra docs")
    assert docstrings.fenced("Adds.\n\n>>> 1 + 1\n2\n\nMore.") == "Adds.\n\n```pycon\n>>> 1 + 1\n2\n```\n\nMore."
    assert docstrings.apart("Args:\n    a, b: of it,\n        both.\n    c: one.\n") == (
        "Args:\n    a: of it,\n        both.\n    b: of it,\n        both.\n    c: one.\n"
    )


def test_a_notebook_is_opened_from_the_repository_that_the_site_is_built_of():
    colab = load("colab")
    text = (ROOT / "docs" / "get-started.md").read_text("utf-8")
    assert colab.extended(text, "") == text
    address = "https://colab.research.google.com/github/someone/convzoo/blob/main/"
    found = colab.extended(text, "someone/convzoo").split(address)[1:]
    assert len(found) == len(list((ROOT / "docs" / "notebooks").glob("*.ipynb")))
    assert all((ROOT / rest.split(")")[0]).is_file() for rest in found)
