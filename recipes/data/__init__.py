"""From a name to images and labels: `load("digits")`, `load("tfds:mnist")`, `load("folder")`, `load("table.csv")`."""

from recipes.data.checks.doctor import check
from recipes.data.dataset import Data, Split, class_weights
from recipes.data.loading import load
from recipes.data.pack import pack
from recipes.data.readers import Reader, check_source, open_reader

__all__ = ["Data", "Reader", "Split", "check", "check_source", "class_weights", "load", "open_reader", "pack"]
