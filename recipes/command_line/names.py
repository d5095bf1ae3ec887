"""Names that are typed on the command line, which the shell completes (see docs/api.md)."""

from collections.abc import Callable, Iterable
from typing import Any

import click
from click.shell_completion import CompletionItem

import zoo
from zoo.catalogue import list_families
from zoo.errors import unknown
from zoo.results import result_sets


class Choice(click.Choice):
    """One of a few words."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if value not in self.choices:
            raise unknown(param.opts[-1] if param else "value", str(value), self.choices)
        return value


class Name(click.ParamType):
    """Text that names something. Completed here alone: whoever takes the name knows whether it is right.

    Args:
        known: gives the names that the shell proposes. It is called when it is needed, so that a command does not
            begin with importing what knows them.
        path: whether a file or a folder may stand here, too.
    """

    name = "text"

    def __init__(self, known: Callable[[], Iterable[str]], *, path: bool = False) -> None:
        self._known = known
        self._path = path

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        return str(value)

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        # The shell's own files come first: the scripts of click begin their list anew with them.
        files = [CompletionItem(incomplete, type="file")] if self._path else []
        return files + [CompletionItem(name) for name in self._known() if name.startswith(incomplete)]


def _recipes() -> Iterable[str]:
    from recipes.config.presets import list_recipes

    return list_recipes()


def _finetunings() -> Iterable[str]:
    from recipes.config.presets import list_finetunings

    return list_finetunings()


def _augmentations() -> Iterable[str]:
    from recipes.config.presets import list_augmentations

    return list_augmentations()


def _every_recipe() -> Iterable[str]:
    found = {"": _recipes(), "finetune/": _finetunings(), "augment/": _augmentations()}
    return [f"{kind}{name}" for kind, names in found.items() for name in names]


def _heads() -> Iterable[str]:
    from zoo.heads import HEADS

    return HEADS


def _spaces() -> Iterable[str]:
    from recipes.config.presets import list_spaces

    return list_spaces()


MODEL = Name(zoo.list_models)
MODEL_OR_FILE = Name(zoo.list_models, path=True)
FAMILY = Name(list_families)
RESULTS = Name(result_sets)
DATA = Name(lambda: ("digits", "tfds:"), path=True)
TASK = Name(lambda: ("classification", "multilabel", "regression"))
PART = Name(lambda: ("train", "validation", "test"))
HEAD = Name(_heads)
WEIGHTS = Name(lambda: ("imagenet",), path=True)
AVERAGE = Name(lambda: ("mirror", "c4", "d4", "6"))
RECIPE = Name(_recipes, path=True)
FINETUNING = Name(_finetunings, path=True)
AUGMENTATION = Name(_augmentations, path=True)
ANY_RECIPE = Name(_every_recipe, path=True)
SPACE = Name(_spaces, path=True)
