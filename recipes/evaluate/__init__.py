"""How good a model is, how it holds up when the image moves, and where it looks."""

from recipes.evaluate.scoring import evaluate

__all__ = ["evaluate"]
