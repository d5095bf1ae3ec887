"""From a model to a file in another format that is verified against it."""

from typing import TYPE_CHECKING

import lazy_loader

if TYPE_CHECKING:
    from recipes.export.handover import export, export_all
    from recipes.export.kinds import BUDGETS, Budget
    from recipes.export.kinds.tflite import convert
    from recipes.export.parity import Exported

__all__ = ["BUDGETS", "Budget", "Exported", "convert", "export", "export_all"]

# Loaded when first used: the table of kinds is read for `zoo --help`, and needs nothing else of this room.
_lazy_getattr, __dir__, _ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "handover": ["export", "export_all"],
        "kinds": ["BUDGETS", "Budget"],
        "kinds.tflite": ["convert"],
        "parity": ["Exported"],
    },
)


def __getattr__(name: str) -> object:
    return _lazy_getattr(name)
