"""What is learned of images, and all that follows from it: one class, several labels, or a number; a file each."""

from collections.abc import Mapping
from typing import Any

from recipes.data.labels import task_name
from recipes.tasks.classification import Classification
from recipes.tasks.multilabel import Multilabel
from recipes.tasks.regression import Regression
from recipes.tasks.task import Task
from zoo.errors import unknown

__all__ = ["TASKS", "Task", "summary", "task_of"]

TASKS: dict[str, Task] = {task.name: task for task in (Classification(), Multilabel(), Regression())}


def task_of(facts: Mapping[str, Any]) -> Task:
    """The task that a run's metrics, or what a file says of itself, name.

    Raises:
        RequestError: a task that is not in `TASKS`.
    """
    name = task_name(facts)
    if name not in TASKS:
        raise unknown("task", name, TASKS)
    return TASKS[name]


def summary(metrics: Mapping[str, Any]) -> str:
    """The metrics of any task that matter most, in a few words."""
    return task_of(metrics).summary(metrics)
