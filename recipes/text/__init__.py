"""Results as lines of text, for people; the same results as JSON are for scripts."""

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
