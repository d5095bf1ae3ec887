"""Sources that TensorFlow Datasets prepares, the embedded digits among them."""

import contextlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import tensorflow_datasets as tfds
from filelock import FileLock

from recipes.data.cache import say
from recipes.support.quiet import native_output_hidden
from zoo.errors import FailureError, RequestError

_RETRIES = 3
_BLOCK = 1_000  # encoded images handed over at a time
# `name/config:1.0.0` is how TFDS writes it; `name:config@1.0.0` is understood, too.
_NAME = re.compile(r"(?P<name>[^/:@]+)(?:[/:](?P<config>(?!\d+\.)[^/:@]+))?(?:[:@](?P<version>[\d.*]+))?")


@dataclass(frozen=True, eq=False)
class Prepared:
    """A set that lies prepared on disk.

    Attributes:
        source: what was opened.
        parts: how many images each of train, validation and test has; those that there are.
        class_names: position is the label.
        builder: gives the images.
        image_key, label_key: of an example.
    """

    source: str
    parts: dict[str, int]
    class_names: tuple[str, ...]
    builder: tfds.core.DatasetBuilder
    image_key: str
    label_key: str

    @property
    def state(self) -> str:
        """Tells whether the files on disk are still the same: name, size and time of each."""
        files = sorted(path for path in Path(self.builder.data_path).iterdir() if path.is_file())
        facts = [(path.name, path.stat().st_size, path.stat().st_mtime_ns) for path in files]
        return f"{self.builder.data_path} {facts}"

    def examples(self, part: str) -> Iterator[tuple[bytes, int]]:
        """Every encoded image of a part, in order, with its label."""
        with native_output_hidden():
            import tensorflow  # noqa: F401  (loaded here, where what it prints is not seen)
        dataset = self.builder.as_dataset(
            split=part, shuffle_files=False, decoders={self.image_key: tfds.decode.SkipDecoding()}
        )
        dataset = dataset.map(lambda example: (example[self.image_key], example[self.label_key]))
        for images, labels in tfds.as_numpy(dataset.batch(_BLOCK)):
            yield from zip(images.tolist(), labels.tolist(), strict=True)


def open_source(source: str) -> Prepared:
    """Opens `digits`, `tfds:NAME`, `tfds:FOLDER`, or a folder that TFDS wrote.

    A set that lies prepared in the data folder is read without asking the network.

    Raises:
        RequestError: no such set, or not one of images with one class each.
        FailureError: it is not there and could not be prepared.
    """
    tfds.disable_progress_bar()
    builder = _builder(source)
    keys = builder.info.supervised_keys
    features = builder.info.features
    image, label = (features[keys[0]], features[keys[1]]) if keys else (None, None)
    if not isinstance(label, tfds.features.ClassLabel) or not isinstance(image, tfds.features.Image):
        raise RequestError(f"{source} is not a set of images with one class each.")
    sizes = {part: builder.info.splits[part].num_examples for part in builder.info.splits}
    parts = {part: sizes[part] for part in ("train", "validation", "test") if sizes.get(part)}
    if "train" not in parts:
        raise RequestError(f"{source} has no part `train`; it has {', '.join(sizes) or 'none'}.")
    return Prepared(source, parts, tuple(label.names), builder, *keys)


def is_tfds_folder(folder: Path) -> bool:
    """Whether TFDS wrote this folder: it holds `dataset_info.json` itself, as `.../mnist/3.0.1` does."""
    return (folder / "dataset_info.json").is_file()


def _builder(source: str) -> tfds.core.DatasetBuilder:
    folder = Path(tfds.core.constants.DATA_DIR).expanduser()
    name = source.removeprefix("tfds:")
    if is_tfds_folder(Path(name).expanduser()):
        return _from_folder(Path(name).expanduser())
    try:
        if source == "digits":
            from recipes.data.readers.digits import Digits

            builder = Digits(data_dir=folder)
        else:
            builder = tfds.builder(_native(name), data_dir=folder)
    except tfds.core.DatasetNotFoundError:
        raise RequestError(f"TensorFlow Datasets knows no {name!r}, and there is none in {folder}.") from None
    except (AssertionError, ValueError, RuntimeError) as error:  # a config or version that there is not
        raise RequestError(f"{source} is not possible: {_first_line(error)}") from None
    try:
        if not builder.is_prepared():
            if source != "digits":  # those take a second
                say(f"{source} is not in {folder}: it is prepared there now.")
            Path(folder).mkdir(parents=True, exist_ok=True)
            lock = FileLock(Path(folder, f".{builder.name}.lock"))  # several workers may begin at the same moment
            with lock, native_output_hidden(), _few_retries():
                builder.download_and_prepare()
    except PermissionError as error:
        raise FailureError(
            f"no permission to write {error.filename}; set TFDS_DATA_DIR to a folder of your own."
        ) from None
    except Exception as error:  # network libraries each raise their own
        raise FailureError(f"{source} is not in {folder} and could not be prepared: {_first_line(error)}") from error
    return builder


@contextlib.contextmanager
def _few_retries() -> Iterator[None]:
    """Without a network, TFDS would otherwise try for minutes before it says so."""
    from tensorflow_datasets.core.download import downloader

    usual = getattr(downloader, "MAX_RETRIES", None)
    downloader.MAX_RETRIES = _RETRIES
    try:
        yield
    finally:
        downloader.MAX_RETRIES = usual


def _from_folder(folder: Path) -> tfds.core.DatasetBuilder:
    try:
        return tfds.builder_from_directory(folder)
    except Exception as error:  # a damaged description: JSON, protobuf and file errors
        raise RequestError(f"{folder} cannot be read as a TensorFlow dataset: {_first_line(error)}") from None


def _native(name: str) -> str:
    match = _NAME.fullmatch(name)
    if match is None:
        raise RequestError(f"tfds:{name} is not possible; allowed: tfds:NAME[/CONFIG][:VERSION] or tfds:FOLDER.")
    config, version = match["config"], match["version"]
    return match["name"] + (f"/{config}" if config else "") + (f":{version}" if version else "")


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
