"""Results as lines of text, for people; the same results as JSON are for scripts."""

from typing import TYPE_CHECKING

import lazy_loader

if TYPE_CHECKING:
    from recipes.text.files import all_exported, exported, inspected, predictions, timings
    from recipes.text.models import model, models, recipes
    from recipes.text.studies import cross_validated, trials, tuned
    from recipes.text.training import comparison, diagnosis, embedded, evaluation, fitted

__all__ = [
    "all_exported",
    "comparison",
    "cross_validated",
    "diagnosis",
    "embedded",
    "evaluation",
    "exported",
    "fitted",
    "inspected",
    "model",
    "models",
    "predictions",
    "recipes",
    "timings",
    "trials",
    "tuned",
]

# Loaded when first used: `zoo --help` and `zoo list` need little of it, and much of it needs NumPy and more.
_lazy_getattr, __dir__, _ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "files": ["all_exported", "exported", "inspected", "predictions", "timings"],
        "models": ["model", "models", "recipes"],
        "studies": ["cross_validated", "trials", "tuned"],
        "training": ["comparison", "diagnosis", "embedded", "evaluation", "fitted"],
    },
)


def __getattr__(name: str) -> object:
    return _lazy_getattr(name)
