"""What follows from a task is asked of its object: no code outside of the tasks compares their names."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from recipes.tasks import TASKS

ROOT = Path(__file__).parents[1]
OWNERS = {"recipes/data/labels.py", *(f"recipes/tasks/{name}.py" for name in TASKS)}


def comparisons(text: str) -> Iterator[int]:
    """The lines in which a name of a task is compared, matched, or a key of a table that is looked up at once."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Compare):
            compared = [node.left, *node.comparators]
        elif isinstance(node, ast.MatchValue):
            compared = [node.value]
        elif isinstance(node, ast.Subscript) and isinstance(node.value, ast.Dict):
            compared = [key for key in node.value.keys if key is not None]
        else:
            continue
        values = {part.value for one in compared for part in ast.walk(one) if isinstance(part, ast.Constant)}
        if values & set(TASKS):
            yield node.lineno


def test_no_name_of_a_task_is_compared_outside_of_the_tasks():
    files = [ROOT / "cli.py", *(ROOT / "zoo").rglob("*.py"), *(ROOT / "recipes").rglob("*.py")]
    found = [
        f"{file.relative_to(ROOT)}:{line}"
        for file in files
        if file.relative_to(ROOT).as_posix() not in OWNERS
        for line in comparisons(file.read_text("utf-8"))
    ]
    assert found == []


@pytest.mark.parametrize(
    "text",
    [
        'a if data.task == "regression" else b',
        'if task not in (None, "classification"): pass',
        'match task:\n    case "multilabel" | "other": pass',
        '{"classification": 1, "regression": 2}[task]',
    ],
)
def test_the_check_sees_a_name_that_is_compared(text):
    assert list(comparisons(text))


def test_a_task_says_all_that_is_asked_of_it():
    for name, task in TASKS.items():
        assert task.name == name == task.labels.task
        assert task.activation
        assert task.score
        assert "{" in task.monitor_format
        assert task.answer(("one", "two"))
