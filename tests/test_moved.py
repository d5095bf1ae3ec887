"""Names that users have from version 0.1.0 keep working."""

import importlib
import sys
import warnings

import numpy as np
import pytest

from recipes.data import Data, Split
from recipes.embed import Embedded
from recipes.support.moved import MOVED

MODULES = """
    affine appearance augment augment_layer benchmark c_array charts checkpoint compare convert cross_validate
    data data.arrays data.batches data.cache data.dataset data.digits data.doctor data.duplicates data.examine
    data.findings data.folder data.idx data.joining data.listing data.loading data.picture data.pixels
    data.sources data.splits data.table data.tfds_source embed equivariance evaluate export features finetune
    fit folds formats graph inside inspection invariance keras_archive launch loop metadata metrics predict
    preset preview progress proof quiet replicas report run sections settings source space study study_progress
    study_report subject tasks tensorboard text text.files text.layout text.models text.studies text.training
    tflite training trials tune warp workers
"""


@pytest.mark.parametrize("name", MODULES.split())
def test_every_module_of_the_first_version_can_be_imported(name):
    with warnings.catch_warnings(action="ignore"):  # that it is deprecated; asked for below
        module = importlib.import_module(f"recipes.{name}")
    if name in MOVED:
        assert module is importlib.import_module(f"recipes.{MOVED[name]}")


def test_an_old_name_says_the_new_one():
    sys.modules.pop("recipes.affine", None)
    with pytest.warns(DeprecationWarning, match=r"recipes\.affine is now recipes\.augment\.affine"):
        importlib.import_module("recipes.affine")


@pytest.mark.parametrize("name", sorted(MOVED))
def test_an_old_name_hides_no_name_of_its_package(name):
    """Importing a module sets it as an attribute of its package, over a function of that name."""
    package, _, last = f"recipes.{name}".rpartition(".")
    assert last not in getattr(importlib.import_module(package), "__all__", ())


def test_only_modules_that_there_once_were_are_redirected():
    assert set(MOVED) <= set(MODULES.split())


def test_keys_and_attributes_that_were_renamed_are_there_under_both_names():
    facts = Embedded("features.npz", np.zeros((3, 5), np.float32), ("features",)).to_dict()
    assert (facts["images"], facts["pictures"], facts["features"]) == (3, 3, 5)
    split = Split(np.zeros((1, 2, 2, 1), np.uint8), np.zeros(1, np.int64))
    assert Data("made", ("a",), (2, 2, 1), split, split, split).picture_shape == (2, 2, 1)
