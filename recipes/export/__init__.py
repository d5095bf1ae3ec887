"""From a model to a file in another format that is verified against it."""

from typing import TYPE_CHECKING

from zoo.lazy import lazy_names

if TYPE_CHECKING:
    from recipes.export.handover import export, export_all
    from recipes.export.kinds import BUDGETS, Budget
    from recipes.export.kinds.tflite import convert
    from recipes.export.parity import Exported

__all__ = ["BUDGETS", "Budget", "Exported", "convert", "export", "export_all"]

# Loaded when first used: the table of kinds is read for `zoo --help`, and needs nothing else of this room.
__getattr__ = lazy_names(
    __name__,
    {
        "handover": ["export", "export_all"],
        "kinds": ["BUDGETS", "Budget"],
        "kinds.tflite": ["convert"],
        "parity": ["Exported"],
    },
)


def __dir__() -> list[str]:
    return __all__
