"""Choosing settings: spaces, trials, folds, and the study that keeps them."""

from recipes.search.space import Space, load_space
from recipes.search.study import Search, Study

__all__ = ["Search", "Space", "Study", "load_space"]
