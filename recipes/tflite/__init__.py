"""A `.tflite` file: read, run and timed without TensorFlow."""

from recipes.tflite.file import TFLiteFile
from recipes.tflite.inspection import inspect

__all__ = ["TFLiteFile", "inspect"]
