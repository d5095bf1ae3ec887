"""Names that are typed on the command line, which the shell completes (see docs/get-started.md)."""

from collections.abc import Iterable
from pkgutil import resolve_name
from typing import Any

import click
from click.shell_completion import CompletionItem


class Name(click.ParamType):
    """Text that names something. Completed here alone: whoever takes the name knows whether it is right.

    Args:
        known: the names that the shell proposes, or `module:attribute`, which is them or a function that gives them. It
            is imported when it is needed, so that a command does not begin with importing what knows them.
        path: whether a file or a folder may stand here, too.
    """

    name = "text"

    def __init__(self, known: str | tuple[str, ...], *, path: bool = False) -> None:
        self._known = known
        self._path = path

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        return str(value)

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        # The shell's own files come first: the scripts of click begin their list anew with them.
        files = [CompletionItem(incomplete, type="file")] if self._path else []
        found: Any = resolve_name(self._known) if isinstance(self._known, str) else self._known
        names: Iterable[str] = found() if callable(found) else found
        return files + [CompletionItem(name) for name in names if name.startswith(incomplete)]


MODEL = Name("zoo:list_models")
MODEL_OR_FILE = Name("zoo:list_models", path=True)
FAMILY = Name("zoo.catalogue:list_families")
RESULTS = Name("zoo.results:result_sets")
DATA = Name(("digits", "tfds:"), path=True)
TASK = Name("recipes.tasks:TASKS")
PART = Name("recipes.data.dataset:PARTS")
HEAD = Name("zoo.heads:HEADS")
WEIGHTS = Name(("imagenet",), path=True)
AVERAGE = Name("recipes.evaluate.averaging:AVERAGES")
RECIPE = Name("recipes.config.presets:list_recipes", path=True)
FINETUNING = Name("recipes.config.presets:list_finetunings", path=True)
AUGMENTATION = Name("recipes.config.presets:list_augmentations", path=True)
ANY_RECIPE = Name("recipes.config.presets:list_all", path=True)
SPACE = Name("recipes.config.presets:list_spaces", path=True)
EXPORT_KIND = Name("recipes.export.kinds:KINDS")
