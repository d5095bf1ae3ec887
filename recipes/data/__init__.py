"""From a name to pictures and labels: `load("digits")`, `load("tfds:mnist")`."""

from recipes.data.dataset import Data, Split, check_source, load

__all__ = ["Data", "Split", "check_source", "load"]
