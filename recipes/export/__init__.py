"""From a model to a file in another format that is verified against it."""

from recipes.export.handover import export, export_all
from recipes.export.parity import BUDGETS, Budget, Exported

__all__ = ["BUDGETS", "Budget", "Exported", "export", "export_all"]
