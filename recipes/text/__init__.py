"""Results as lines of text, for people; the same results as JSON are for scripts."""

from recipes.text.files import all_exported, exported, inspected, predictions, timings
from recipes.text.models import model, models, recipes
from recipes.text.studies import TRIAL_COLUMNS, cross_validated, trial_cells, trial_line, trials, tuned
from recipes.text.training import comparison, diagnosis, embedded, evaluation, fitted, invariance, summary

__all__ = [
    "TRIAL_COLUMNS",
    "all_exported",
    "comparison",
    "cross_validated",
    "diagnosis",
    "embedded",
    "evaluation",
    "exported",
    "fitted",
    "inspected",
    "invariance",
    "model",
    "models",
    "predictions",
    "recipes",
    "summary",
    "timings",
    "trial_cells",
    "trial_line",
    "trials",
    "tuned",
]
