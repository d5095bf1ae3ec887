"""The examples in docstrings give what they say."""

import doctest
import importlib
from pathlib import Path

import keras  # noqa: F401  (before TensorFlow, which cannot finish a lazily imported Keras)
import numpy as np
import pytest

ROOT = Path(__file__).parents[1]


def with_examples():
    """The modules that have examples in their docstrings."""
    for file in sorted([*(ROOT / "zoo").rglob("*.py"), *(ROOT / "recipes").rglob("*.py")]):
        if ">>> " in file.read_text("utf-8"):
            yield ".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


@pytest.mark.parametrize("name", list(with_examples()))
def test_the_examples_of_a_module(name):
    result = doctest.testmod(importlib.import_module(name), extraglobs={"np": np})
    assert result.attempted > 0
    assert result.failed == 0
