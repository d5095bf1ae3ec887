"""Results as lines of text, for people; the same results as JSON are for scripts."""

from typing import TYPE_CHECKING

from zoo.lazy import lazy_names

if TYPE_CHECKING:
    from recipes.text.cards import model, model_list, recipes, result_list
    from recipes.text.files import all_exported, demo, exported, inspected, layer_errors, predictions, timings, tried
    from recipes.text.studies import cross_validated, trials, tuned
    from recipes.text.training import comparison, diagnosis, embedded, estimate, evaluation, fitted, labels

__all__ = [
    "all_exported",
    "comparison",
    "cross_validated",
    "demo",
    "diagnosis",
    "embedded",
    "estimate",
    "evaluation",
    "exported",
    "fitted",
    "inspected",
    "labels",
    "layer_errors",
    "model",
    "model_list",
    "predictions",
    "recipes",
    "result_list",
    "timings",
    "trials",
    "tried",
    "tuned",
]

# Loaded when first used: `zoo --help` and `zoo list` need little of it, and much of it needs NumPy and more.
__getattr__ = lazy_names(
    __name__,
    {
        "cards": ["model", "model_list", "recipes", "result_list"],
        "files": ["all_exported", "demo", "exported", "inspected", "layer_errors", "predictions", "timings", "tried"],
        "studies": ["cross_validated", "trials", "tuned"],
        "training": ["comparison", "diagnosis", "embedded", "estimate", "evaluation", "fitted", "labels"],
    },
)


def __dir__() -> list[str]:
    return __all__
