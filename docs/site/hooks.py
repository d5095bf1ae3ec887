"""What the site has beyond the pages in docs/: `mkdocs build` calls these functions by their names.

Pages that come from the code (command line, Python) and pictures of augmentations are made while the site is built, and
are not kept. What a page links to outside of docs/ is brought into the site.
"""

import os
import re
from pathlib import Path
from typing import Any

import colab
import galleries
import plots
import reference
import shipped
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
ROOT = Path(__file__).parents[2]
# Pages that lie outside of docs/, and where they are in the site.
OUTSIDE = {
    "CHANGELOG.md": "changelog.md",
    "SECURITY.md": "security.md",
    "benchmarks/README.md": "benchmarks.md",
}
LINK = re.compile(r"(\]\()([^)\s#:]+)((?:#[^)\s]*)?\))")


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Folders in the navigation become the pages in them."""
    config.nav = _listed(config.nav)
    return config


def _listed(entries: list) -> list:
    found = []
    for entry in entries:
        if isinstance(entry, dict):
            ((title, inner),) = entry.items()
            if isinstance(inner, list):
                found.append({title: _listed(inner)})
            elif inner.endswith("/"):
                found += [{title: pages}] if (pages := _pages(inner)) else []
            else:
                found.append(entry)
        else:
            found += _pages(entry) if entry.endswith("/") else [entry]
    return found


def _pages(folder: str) -> list[str]:
    """Pages of a folder, sorted by name, its index first."""
    if folder == "reference/":
        return [f"reference/{module}.md" for module in reference.modules()]
    names = sorted((ROOT / "docs" / folder).glob("*.md"), key=lambda file: (file.stem != "index", file.name))
    return [f"{folder}{file.name}" for file in names]


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Adds what is made, and what lies elsewhere."""
    made: dict[str, str | bytes] = {"reference/cli.md": reference.command_line()}
    made |= {f"reference/{module}.md": reference.python(module) for module in reference.modules()}
    made |= {there: _moved(here, there) for here, there in OUTSIDE.items()}
    made |= galleries.pictures() | shipped.demo()
    for file in (ROOT / "docs").rglob("*.md"):
        for target in _targets_outside(file):
            made[_in_site(target)] = target.read_text("utf-8")
    for path, content in made.items():
        files.append(File.generated(config, path, content=content))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, **_: Any) -> str:
    path = page.file.src_uri
    markdown = colab.extended(markdown, config.extra["repository"])
    markdown = plots.extended(path, shipped.extended(path, galleries.extended(path, markdown)))
    return _relinked(markdown, ROOT / "docs" / path, path)


def _moved(here: str, there: str) -> str:
    """A page from outside of docs/, whose links lead where they led."""
    return _relinked((ROOT / here).read_text("utf-8"), ROOT / here, there)


def _relinked(text: str, file: Path, path: str) -> str:
    """Links of a page that lies at `file` and is shown at `path`, to where things are in the site."""
    up = "../" * path.count("/")

    def link(found: re.Match) -> str:
        target = (file.parent / found[2]).resolve()
        if not target.is_file() or (target.is_relative_to(ROOT / "docs") and file.is_relative_to(ROOT / "docs")):
            return found[0]
        return f"{found[1]}{up}{_in_site(target)}{found[3]}"

    return LINK.sub(link, text)


def _in_site(target: Path) -> str:
    """Where a file of the project is in the site."""
    name = target.relative_to(ROOT).as_posix()
    if name.startswith("docs/"):
        return name.removeprefix("docs/")
    return OUTSIDE.get(name, f"source/{name}.txt")


def _targets_outside(file: Path) -> list[Path]:
    """Files outside of docs/ that a page links to, and that are no pages of the site."""
    targets = [(file.parent / found[2]).resolve() for found in LINK.finditer(file.read_text("utf-8"))]
    return [
        target
        for target in targets
        if target.is_file()
        and target.is_relative_to(ROOT)
        and not target.is_relative_to(ROOT / "docs")
        and target.relative_to(ROOT).as_posix() not in OUTSIDE
    ]
