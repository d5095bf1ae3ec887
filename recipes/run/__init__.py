"""A run folder: what one training leaves, and every later command takes."""

from recipes.run.folder import Run, check_free
from recipes.run.keras_file import load_keras_file

__all__ = ["Run", "check_free", "load_keras_file"]
