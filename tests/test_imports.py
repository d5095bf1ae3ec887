"""The arrows of the house run one way: cli -> recipes -> zoo -> keras, and in recipes from a room to lower ones."""

import ast
import functools
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

# A file imports from rooms of a lower rank and from its own room; never from another room of its own rank.
RANKS = {
    "zoo": 0,
    "recipes/support": 1,
    "recipes/data": 2,
    "recipes/distributed": 2,
    "recipes/augment": 3,
    "recipes/config": 4,
    "recipes/tasks": 5,
    "recipes/run": 5,
    "recipes/training": 6,
    "recipes/tflite": 6,
    "recipes/scorers": 7,
    "recipes/evaluate": 8,
    "recipes/transfer": 9,
    "recipes/export": 9,
    "recipes/report": 9,
    "recipes/demo": 10,
    "recipes/search": 10,
    "recipes": 11,  # the faces: one file a command
    "recipes/text": 12,
    "recipes/command_line": 13,
    "cli.py": 14,
}
OUTSIDE = {"tests", "benchmarks", "docs"}  # which nothing that is installed may import


def files() -> list[Path]:
    """Every source file that is installed, relative to the checkout."""
    every = [ROOT / "cli.py", *(ROOT / "zoo").rglob("*.py"), *(ROOT / "recipes").rglob("*.py")]
    return sorted(file.relative_to(ROOT) for file in every)


def room_of(file: Path) -> str | None:
    """The room of a file: its folder, or the nearest one above it that is a room. `recipes/__init__.py` has none."""
    if file.as_posix() == "recipes/__init__.py":
        return "recipes/support"  # it is loaded before anything else, so it may use no more than the lowest room
    places = [file.as_posix(), *(folder.as_posix() for folder in file.parents)]
    found = next((place for place in places if place in RANKS), None)
    if found == "recipes" and file.parent.as_posix() != "recipes":
        return None  # a folder of recipes that is no room yet
    return found


def imported(file: Path, text: str) -> Iterator[str]:
    """The modules of this project that a file imports, anywhere in it."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}: relative import"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            continue
        yield from (name for name in names if name.split(".")[0] in {"cli", "recipes", "zoo", *OUTSIDE})


def file_of(module: str) -> Path | None:
    """The file that a dotted name is in: the module's own, or that of the module that has the name in it."""
    parts = module.split(".")
    for end in range(len(parts), 0, -1):
        place = Path(*parts[:end])
        for candidate in (place.with_suffix(".py"), place / "__init__.py"):
            if (ROOT / candidate).is_file():
                return candidate
    return None


@functools.cache
def arrows() -> dict[Path, set[Path]]:
    found = {}
    for file in files():
        targets = {file_of(name) for name in imported(file, (ROOT / file).read_text("utf-8"))}
        found[file] = {target for target in targets if target is not None} - {file}
    return found


def test_every_file_has_a_room():
    assert [file for file in files() if room_of(file) is None] == []


def test_every_room_is_there_and_says_what_it_is_for():
    for room in RANKS:
        place = ROOT / room
        assert place.exists(), room
        if place.is_dir():
            tree = ast.parse((place / "__init__.py").read_text("utf-8"))
            assert ast.get_docstring(tree), room


@pytest.mark.parametrize("room", RANKS)
def test_a_room_imports_only_lower_rooms(room):
    for file, targets in arrows().items():
        if room_of(file) != room:
            continue
        for target in targets:
            other = room_of(target)
            assert other == room or RANKS[other] < RANKS[room], f"{file} imports {target}"


def test_nothing_that_is_installed_imports_tests_or_benchmarks():
    for file in files():
        for name in imported(file, (ROOT / file).read_text("utf-8")):
            assert name.split(".")[0] not in OUTSIDE, file


def test_no_circle_among_files():
    graph = arrows()
    done: set[Path] = set()

    def visit(file: Path, above: tuple[Path, ...]) -> None:
        assert file not in above, " -> ".join(map(str, (*above[above.index(file) :], file)))
        if file not in done:
            for target in sorted(graph[file]):
                visit(target, (*above, file))
            done.add(file)

    for file in graph:
        visit(file, ())


def test_the_checks_see_an_arrow_that_runs_the_wrong_way():
    text = "if TYPE_CHECKING:\n    import recipes.fit\ndef f():\n    from recipes.data import load\n"
    names = list(imported(Path("wrong.py"), text))
    assert names == ["recipes.fit", "recipes.data.load"]
    assert [room_of(file_of(name)) for name in names] == ["recipes", "recipes/data"]
    assert room_of(Path("recipes/nowhere/file.py")) is None


def test_architecture_names_every_file_and_no_other():
    text = (ROOT / "docs" / "architecture.md").read_text("utf-8")
    named = set(re.findall(r"`((?:zoo|recipes)/[\w/]+\.py|cli\.py)`", text))
    there = {file.as_posix() for file in files() if file.name != "__init__.py"}
    there -= {name for name in there if name.startswith("zoo/models/")}
    assert named == there
