"""Sources that TensorFlow Datasets prepares."""

import hashlib
import json
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from recipes.data import cache, pixels
from recipes.data.dataset import PARTS
from recipes.data.decoded import DecodedImages, Images
from recipes.data.decoding import Resize, decode_to, pillow_warnings, size_of
from recipes.data.readers.reader import ArrayReader, Shape
from recipes.support.internals import own_features_only, tfds_retries
from recipes.support.quiet import native_output_hidden
from zoo.backend import tf, tfds
from zoo.cache import cache_folder, expanded
from zoo.errors import FailureError, RequestError, first_line, of_machine
from zoo.files import check_file

_RETRIES = 3
_BLOCK = 1_000  # encoded images handed over at a time
# `name/config:1.0.0` is how TFDS writes it; `name:config@1.0.0` is understood, too.
_NAME = re.compile(r"(?P<name>[^/:@]+)(?:[/:](?P<config>(?!\d+\.)[^/:@]+))?(?:[:@](?P<version>[\d.*]+))?")


@dataclass(frozen=True)
class _Survey:
    """Labels int64 (N,) of a part, the sizes of its images, and the digest of both images and labels."""

    labels: np.ndarray
    sizes: set[Shape]
    digest: str


class TfdsReader(ArrayReader):
    """`tfds:NAME`, `tfds:FOLDER`, or a folder that TFDS wrote: one that holds `dataset_info.json` itself.

    A set that lies prepared in the data folder is read without an internet connection.
    """

    called = "tfds:NAME"

    @property
    def path(self) -> Path:
        return expanded(self.source.removeprefix("tfds:"))

    @property
    def is_name(self) -> bool:
        return self.source.startswith("tfds:") and self.source != "tfds:"

    def is_there(self) -> bool:
        return self.is_name or self.is_folder

    @property
    def is_folder(self) -> bool:
        return (self.path / "dataset_info.json").is_file()

    @cached_property
    def builder(self) -> "tfds.core.DatasetBuilder":
        """The set, prepared on disk.

        Raises:
            RequestError: no such set, or not one of images with one class each.
            FailureError: it is not there and could not be prepared.
        """
        tfds.disable_progress_bar()
        if self.is_folder:
            for entry in self.path.iterdir():
                if not entry.is_dir():
                    check_file(entry)  # a pipe would be waited for
            builder = _from_folder(self.path)
        else:
            folder = expanded(tfds.core.constants.DATA_DIR)
            builder = self.find(folder)
            self._prepare(builder, folder)
            if not builder.info.splits:  # another process prepared it meanwhile, which this builder has not seen
                builder = self.find(folder)
        keys, features = builder.info.supervised_keys, builder.info.features
        try:
            image, label = (features[keys[0]], features[keys[1]]) if keys else (None, None)
        except (KeyError, IndexError, TypeError):  # keys of no feature
            image = label = None
        if not isinstance(label, tfds.features.ClassLabel) or not isinstance(image, tfds.features.Image):
            raise RequestError(f"{self.source} is not a set of images with one class each.")
        return builder

    def find(self, folder: Path) -> "tfds.core.DatasetBuilder":
        """The builder of a set that may have to be prepared in `folder`.

        Raises:
            RequestError: there is none of that name, config or version.
        """
        name = self.source.removeprefix("tfds:")
        try:
            with own_features_only():
                return tfds.builder(_native(name), data_dir=folder)
        except tfds.core.DatasetNotFoundError:
            raise RequestError(f"TensorFlow Datasets knows no {name!r}, and there is none in {folder}.") from None
        except (AssertionError, ValueError, RuntimeError) as error:  # a config or version that there is not
            raise RequestError(f"{self.source} is not possible: {first_line(error)}") from None

    def say_prepared(self, folder: Path) -> None:
        """Tells that the set is prepared now, which takes its time."""
        cache.say(f"{self.source} is not in {folder}: it is prepared there now.")

    @property
    def class_names(self) -> tuple[str, ...]:
        return tuple(self.builder.info.features[self.builder.info.supervised_keys[1]].names)

    @cached_property
    def sizes(self) -> dict[str, int]:
        """How many images each part has; those parts that there are.

        Raises:
            RequestError: it has none of them.
        """
        splits = self.builder.info.splits
        sizes = {part: int(splits[part].num_examples) for part in splits}
        found = {part: sizes[part] for part in PARTS if sizes.get(part)}
        if not found:
            raise RequestError(f"{self.source} has no part `train`; it has {', '.join(sizes) or 'none'}.")
        return found

    @property
    def parts(self) -> tuple[str, ...]:
        return tuple(self.sizes)

    @cached_property
    def state(self) -> str:
        """Tells whether the files on disk are still the same: name and digest of each, see `recipes.data.cache`."""
        files = sorted(path for path in Path(self.builder.data_path).iterdir() if path.is_file())
        digests = cache.digests([str(path) for path in files])
        return " ".join(f"{path.name}={digest.hex()}" for path, digest in zip(files, digests, strict=True))

    @property
    def digest(self) -> str:
        return hashlib.sha256("".join(survey.digest for survey in self._surveys.values()).encode()).hexdigest()[:40]

    @property
    def labels(self) -> dict[str, np.ndarray]:
        return {part: survey.labels for part, survey in self._surveys.items()}

    @property
    def image_shape(self) -> Shape | None:
        seen = {size for survey in self._surveys.values() for size in survey.sizes}
        return seen.pop() if len(seen) == 1 else None

    def decoded(self, part: str, shape: Shape, resize: Resize) -> DecodedImages | None:
        """Of sets whose files are ArrayRecord, which any image can be read from by itself."""
        if not self.is_random_access:
            return None
        source, key = self._source(part), self.builder.info.supervised_keys[0]

        def decode(number: int) -> np.ndarray:
            return decode_to(f"{self.source}: {part} {number}", shape, resize, source[number][key])

        return DecodedImages(decode, np.arange(self.sizes[part]), shape)

    @property
    def is_random_access(self) -> bool:
        """Whether the set's files are ArrayRecord."""
        return bool(self.builder.info.file_format == tfds.core.FileFormat.ARRAY_RECORD)

    def _source(self, part: str) -> Any:
        image = self.builder.info.supervised_keys[0]
        return self.builder.as_data_source(part, decoders={image: tfds.decode.SkipDecoding()})

    def images(self, part: str, shape: Shape, resize: Resize, *, quiet: bool) -> Images:
        """As `ArrayReader.images`, from the cache if they are there."""

        def decoded() -> Iterator[np.ndarray]:
            for number, (content, _) in enumerate(self.examples(part)):
                yield decode_to(f"{self.source}: {part} {number}", shape, resize, content)

        large = sum(self.sizes.values()) * math.prod(shape) > pixels.memory_limit()
        if large and (one_by_one := self.decoded(part, shape, resize)) is not None:
            return pixels.beyond_memory(one_by_one, f"{self.state} {part}".encode(), resize, quiet=quiet)
        key = f"{self.state} {part}".encode()
        images = pixels.keep(key, (self.sizes[part], *shape), resize, decoded, quiet=quiet, needed=large)
        return images if large else np.array(images)

    def examples(self, part: str) -> Iterator[tuple[bytes, int]]:
        """Every encoded image of a part, in order, with its label.

        Raises:
            RequestError: a file of the set is damaged, or is not what its description says.
        """
        try:
            yield from self._examples(part)
        except (tf.errors.OpError, ValueError, TypeError, KeyError, AssertionError) as error:
            why = first_line(error).rpartition("}} ")[2].partition(" [Op:")[0]
            raise of_machine(error) or RequestError(f"{self.source} is damaged, in its part {part}: {why}.") from None

    def _examples(self, part: str) -> Iterator[tuple[bytes, int]]:
        image, label = self.builder.info.supervised_keys
        if self.is_random_access:
            for example in self._source(part):
                yield example[image], self._checked(int(example[label]))
            return
        dataset = self.builder.as_dataset(split=part, shuffle_files=False, decoders={image: tfds.decode.SkipDecoding()})
        dataset = dataset.map(lambda example: (example[image], example[label]))
        for images, labels in tfds.as_numpy(dataset.batch(_BLOCK)):
            yield from zip(images.tolist(), map(self._checked, labels.tolist()), strict=True)

    def _checked(self, label: int) -> int:
        if not 0 <= label < len(self.class_names):
            raise ValueError(f"label {label} is none of its {len(self.class_names)} classes")
        return label

    @cached_property
    def _surveys(self) -> dict[str, "_Survey"]:
        return {part: self._survey(part) for part in self.parts}

    def _survey(self, part: str) -> "_Survey":
        """One look at every image of a part; kept, so that TensorFlow need not be asked again."""
        name = hashlib.sha256(f"{cache.VERSION} {self.state} {part}".encode()).hexdigest()[:32]
        file = cache_folder() / f"{name}.labels.json"
        if (text := cache.read(file)) is not None:
            kept = json.loads(text)
            sizes = {_shape(size) for size in kept["sizes"]}
            return _Survey(np.asarray(kept["labels"], np.int64), sizes, kept["digest"])
        labels: list[int] = []
        sizes = set()
        digest = hashlib.blake2b(digest_size=20)
        with pillow_warnings():
            for content, label in self.examples(part):
                sizes.add(size_of(content, f"{self.source}: {part} {len(labels)}"))
                labels.append(label)
                digest.update(f"{label} {len(content)} ".encode() + content)
        if len(labels) != self.sizes[part]:
            where = f"{self.source} is damaged: its part {part}"
            raise FailureError(f"{where} has {len(labels):,} images, its description says {self.sizes[part]:,}.")
        facts = {"labels": labels, "sizes": sorted(sizes), "digest": digest.hexdigest()}
        cache.write(file, json.dumps(facts))
        return _Survey(np.asarray(labels, np.int64), sizes, digest.hexdigest())

    def _prepare(self, builder: "tfds.core.DatasetBuilder", folder: Path) -> None:
        from filelock import FileLock

        try:
            if not builder.is_prepared():
                self.say_prepared(folder)
                folder.mkdir(parents=True, exist_ok=True)
                lock = FileLock(folder / f".{builder.name}.lock")  # several workers may begin at the same moment
                with lock, native_output_hidden(), tfds_retries(_RETRIES):
                    builder.download_and_prepare()
        except PermissionError as error:
            raise FailureError(
                f"no permission to write {error.filename}; set TFDS_DATA_DIR to a folder of your own."
            ) from None
        except Exception as error:  # network libraries each raise their own
            where = f"{self.source} is not in {folder} and could not be prepared"
            raise FailureError(f"{where}: {first_line(error)}") from error


def _from_folder(folder: Path) -> "tfds.core.DatasetBuilder":
    try:
        with own_features_only():
            return tfds.builder_from_directory(folder)
    except Exception as error:  # a damaged description: JSON, protobuf and file errors
        raise RequestError(f"{folder} cannot be read as a TensorFlow dataset: {first_line(error)}") from None


def _native(name: str) -> str:
    match = _NAME.fullmatch(name)
    if match is None:
        raise RequestError(f"tfds:{name} is not possible; allowed: tfds:NAME[/CONFIG][:VERSION] or tfds:FOLDER.")
    config, version = match["config"], match["version"]
    return match["name"] + (f"/{config}" if config else "") + (f":{version}" if version else "")


def _shape(size: Any) -> Shape:
    height, width, channels = size
    return height, width, channels
