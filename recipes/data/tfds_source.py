"""Sources that TensorFlow Datasets prepares, the embedded digits among them."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import tensorflow_datasets as tfds

from recipes.quiet import native_output_hidden
from zoo.errors import FailureError, RequestError

Examples = Iterator[tuple[np.ndarray, int]]


def open_source(source: str) -> tuple[dict[str, Examples], tuple[str, ...]]:
    """The parts of a set as iterators of (uint8 (H, W, C), label), and the class names.

    A set that lies prepared in the data folder is read without asking the network.
    """
    tfds.disable_progress_bar()
    builder = _builder(source)
    label = builder.info.features[builder.info.supervised_keys[1]] if builder.info.supervised_keys else None
    if not isinstance(label, tfds.features.ClassLabel):
        raise RequestError(f"{source} is not a set of pictures with one class each.")
    parts = {part: _examples(builder, part) for part in ("train", "validation", "test") if part in builder.info.splits}
    if "train" not in parts:
        raise RequestError(f"{source} has no part `train`; it has {', '.join(builder.info.splits)}.")
    return parts, tuple(label.names)


def _builder(source: str) -> tfds.core.DatasetBuilder:
    folder = Path(tfds.core.constants.DATA_DIR).expanduser()
    try:
        if source == "digits":
            from recipes.data.digits import Digits

            builder = Digits(data_dir=folder)
        else:
            builder = tfds.builder(source.removeprefix("tfds:"), data_dir=folder)
    except tfds.core.DatasetNotFoundError:
        raise RequestError(f"TensorFlow Datasets knows no {source.removeprefix('tfds:')!r}.") from None
    try:
        if not builder.is_prepared():
            with native_output_hidden():
                builder.download_and_prepare()
    except PermissionError as error:
        raise FailureError(
            f"no permission to write {error.filename}; set TFDS_DATA_DIR to a folder of your own."
        ) from None
    except Exception as error:  # network libraries each raise their own
        why = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise FailureError(f"{source} is not in {folder} and could not be prepared: {why}") from error
    return builder


def _examples(builder: tfds.core.DatasetBuilder, part: str) -> Examples:
    dataset = builder.as_dataset(split=part, as_supervised=True, shuffle_files=False)
    for image, label in tfds.as_numpy(dataset):
        yield image, int(label)
