"""What scores images, whatever it is in: a run, or a file, by the runtime that the file is for."""

from recipes.scorers.opening import is_file, open_scorer
from recipes.scorers.scorer import Scorer

__all__ = ["Scorer", "is_file", "open_scorer"]
