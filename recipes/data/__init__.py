"""From a name to images and labels: `load("digits")`, `load("tfds:mnist")`, `load("folder")`, `load("table.csv")`."""

from recipes.data.dataset import Data, Split, class_weights
from recipes.data.loading import load
from recipes.data.readers.sources import check_source

__all__ = ["Data", "Split", "check_source", "class_weights", "load"]
