"""What kind of answer an image has, and all that follows from it."""

from recipes.tasks.tasks import TASKS, Task, check_task, figures
from recipes.tasks.words import summary

__all__ = ["TASKS", "Task", "check_task", "figures", "summary"]
