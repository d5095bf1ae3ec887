"""The arrows of the house run one way: cli -> recipes -> zoo -> keras."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
MAY_IMPORT = {"zoo": {"zoo"}, "recipes": {"recipes", "zoo"}, "cli": {"recipes", "zoo"}}
ROOMS = {"zoo", "recipes", "cli", "tests", "benchmarks"}


def imported_rooms(file: Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(file.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}: relative import"
            names.add(node.module.split(".")[0])
    return names & ROOMS


def files_of(room: str) -> list[Path]:
    return [ROOT / "cli.py"] if room == "cli" else sorted((ROOT / room).rglob("*.py"))


@pytest.mark.parametrize("room", MAY_IMPORT)
def test_a_room_imports_only_the_rooms_below_it(room):
    files = files_of(room)
    assert files
    for file in files:
        assert imported_rooms(file) <= MAY_IMPORT[room], file


def test_the_check_sees_an_arrow_that_runs_the_wrong_way(tmp_path):
    wrong = tmp_path / "wrong.py"
    wrong.write_text("def f():\n    from recipes.fit import fit\n")
    assert imported_rooms(wrong) == {"recipes"}
