"""What `benchmarks/fuzz.py` attacks: all that reads what others may have written, with good inputs to begin with."""

import gzip
import shutil
import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import fuzz_mutations as mutations
import numpy as np

MODES = ("1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "I;16", "I", "F")


@dataclass(frozen=True)
class Reader:
    """What is attacked.

    Attributes:
        read: opens and uses a file or a folder; raises a `RequestError` or a `FailureError` for what it refuses.
        seeds: makes good inputs in an empty folder; None where files have to be given.
        ending: of a file.
        starts_threads: whether what is read makes TensorFlow begin threads, which a forked process must do itself.
    """

    read: Callable[[Path], object]
    seeds: Callable[[Path], object] | None
    ending: str = ""
    starts_threads: bool = False

    @property
    def mutate(self) -> mutations.Mutation:
        """Of a file: by its ending."""
        return mutations.mutation_of(self.ending)


# Files that a program of tensors reads


def read_tflite(path: Path) -> None:
    """Inspects a file and runs it in this very process: what commands leave to a child of theirs."""
    from recipes import text
    from recipes.tflite import TFLiteFile, inspect

    text.inspected(inspect(path))
    file = TFLiteFile(path)
    file.predict(np.random.default_rng(0).integers(0, 256, (1, *file.input_shape), np.uint8))


def read_keras(path: Path) -> None:
    from recipes.run.keras_file import load_keras_file
    from recipes.transfer.source import open_source

    open_source(path)
    load_keras_file(path)


def seed_keras(folder: Path) -> None:
    import zoo

    for name, options in (("lenet5", {}), ("resnet8", {"pooling": "gem"}), ("mlp", {"hidden": [3]})):
        zoo.create_model(name, input_shape=(32, 32, 1), **options).save(folder / f"{name}.keras")


def read_weights(path: Path) -> None:
    """The arrays of a file of weights, as they are put into a model."""
    import zoo
    from zoo.weights import load_weights

    model = zoo.create_model("lenet5", input_shape=(32, 32, 1))
    load_weights(model, zoo.get_card("lenet5"), path)


def seed_weights(folder: Path) -> None:
    import zoo

    zoo.create_model("lenet5", input_shape=(32, 32, 1)).save_weights(folder / "lenet5.weights.h5")


def read_torch(path: Path) -> None:
    from zoo.torch_file import read_tensors

    read_tensors(path)


def seed_torch(folder: Path) -> None:
    """Both layouts, written as PyTorch does, without it."""
    import pickle
    import zipfile

    class Named:
        def __init__(self, module: str, name: str) -> None:
            self.module, self.name = module, name

    def text(value: str) -> bytes:
        return b"X" + struct.pack("<I", len(value)) + value.encode()

    def tensor(key: str, count: int, shape: tuple[int, ...], strides: tuple[int, ...]) -> bytes:
        def numbers(values: tuple[int, ...]) -> bytes:
            return b"(" + b"".join(b"K" + bytes([value]) for value in values) + b"t"

        storage = text("storage") + b"ctorch\nFloatStorage\n" + text(key) + text("cpu") + b"K" + bytes([count])
        rest = b"K\x00" + numbers(shape) + numbers(strides) + b"\x89ccollections\nOrderedDict\n)R"
        return b"ctorch._utils\n_rebuild_tensor_v2\n((" + storage + b"tQ" + rest + b"tR"

    tensors = {"conv.weight": tensor("0", 12, (3, 2, 2), (4, 2, 1)), "conv.bias": tensor("1", 3, (3,), (1,))}
    index = b"\x80\x02ccollections\nOrderedDict\n)R(" + b"".join(text(k) + t for k, t in tensors.items()) + b"u."
    values = {"0": np.arange(12, dtype="<f4").tobytes(), "1": np.arange(3, dtype="<f4").tobytes()}
    with zipfile.ZipFile(folder / "new.pth", "w") as archive:
        archive.writestr("archive/data.pkl", index)
        archive.writestr("archive/version", b"3\n")
        for key, content in values.items():
            archive.writestr(f"archive/data/{key}", content)
    first = [pickle.dumps(part, 2) for part in (0x1950A86A20F9469CFC6C, 1001, {"little_endian": True})]
    last = b"".join(struct.pack("<q", len(content) // 4) + content for content in values.values())
    (folder / "old.pt").write_bytes(b"".join(first) + index + pickle.dumps(list(values), 2) + last)


def read_checkpoint(path: Path) -> None:
    from recipes.training import checkpoint

    checkpoint.load(path)


def seed_checkpoint(folder: Path) -> None:
    from recipes.training.checkpoint import State, save

    rows = [{"epoch": 1, "loss": 1.0, "val_loss": 2.0}, {"epoch": 2, "loss": 0.5, "val_loss": float("nan")}]
    arrays = [np.zeros((3, 4), np.float32), np.array(7, np.int64), np.zeros(0, np.float32)]
    save(State(rows, arrays, arrays[:2], 1, arrays), folder / "state.npz")


# Folders of this package


def read_run(folder: Path) -> None:
    """All that commands read of a run before they load its model or its images, and the texts that they make of it."""
    from recipes import text
    from recipes.compare import _against
    from recipes.data.labels import LABEL_KINDS
    from recipes.data.split_table import read_split_table
    from recipes.report.sections import SECTIONS, Page
    from recipes.run.folder import Run
    from recipes.training import checkpoint

    run = Run.open(folder)
    for file in run.checkpoints:
        if file.suffix == ".npz":
            checkpoint.load(file)
    if run.split_table:
        read_split_table(run.split_table)
    if not run.metrics:
        return
    text.evaluation(run.metrics)
    _against(run.metrics, run.metrics)
    data: Any = SimpleNamespace(
        task=run.task, label_kind=LABEL_KINDS[run.task], test=range(100), class_names=run.class_names
    )
    model: Any = None
    page = Page(run, run.recipe, model, data, run.metrics)
    _ = page.mistakes
    for name in ("Learning curves", "Confusion matrix", "Invariance", "Shift equivariance", "Exports", "Reproduce"):
        SECTIONS[name](page)


def seed_run(folder: Path) -> None:
    """A run for each task, as a training leaves it without its model."""
    from recipes.data.dataset import Split
    from recipes.run.folder import Run
    from recipes.tasks import TASKS
    from recipes.training.resolving import resolve

    draws = np.random.default_rng(0)
    family = {"values": [-45, 0, 45], "accuracy": [0.5, 0.9, 0.6], "consistency": [0.5, 1.0, 0.6]}
    family |= {"score_drop": [0.3, 0.0, 0.2], "score": 0.8}
    names = {"classification": ("cat", "dog", "emu"), "multilabel": ("cat", "dog", "emu"), "regression": ("value",)}
    for task, classes in names.items():
        scores = draws.random((40, len(classes)))
        labels = {
            "classification": draws.integers(0, 3, 40),
            "multilabel": (draws.random((40, 3)) > 0.5).astype(np.float32),
            "regression": draws.random(40).astype(np.float32),
        }[task]
        files = tuple(f"{number}.png" for number in range(40))
        metrics = TASKS[task].metrics(Split(np.zeros((40, 4, 4, 1), np.uint8), labels, files), scores, classes)
        if task == "classification":
            mirror = {key: items[:2] if isinstance(items, list) else items for key, items in family.items()}
            metrics["invariance"] = {"rotation": family, "mirror": mirror | {"values": ["horizontal", "vertical"]}}
            metrics["invariance"] |= {"shift_consistency": 0.9, "overall": 0.8}
            metrics["equivariance"] = [{"layer": "c1", "stride": [1, 1], "error": 0.1}]
        run = Run.create(folder / task)
        run.write_recipe(resolve("lenet5", "digits", "robust"))
        run.write_text("labels.txt", "".join(f"{name}\n" for name in classes))
        run.write_json("metrics.json", metrics)
        run.write_json(
            "export.json", {"int8": {"file": "a.tflite", "bytes": 9, "agreement": 0.99, "max_difference": 0.1}}
        )
        monitor = TASKS[task].monitor
        rows = [{"epoch": e, "loss": 1 / e, "val_loss": 2 / e, monitor: 0.5, f"val_{monitor}": 0.4} for e in (1, 2, 3)]
        run.write_rows("history.csv", [row | {"learning_rate": 0.1} for row in rows])
        run.write_rows("split.csv", [{"file": file, "split": "train", "label": "cat"} for file in files])
        seed_checkpoint(run.path / "checkpoints")


def read_study(folder: Path) -> None:
    from recipes import text
    from recipes.search.progress import as_table
    from recipes.tune import show

    rows = show(folder)
    text.trials(rows)
    as_table(rows, None, None)


def seed_study(folder: Path) -> None:
    from recipes.search.space import Space
    from recipes.search.study import Search, Study
    from recipes.training.resolving import resolve

    space = Space(space={"epochs": [1, 2, 3], "optimizer.learning_rate": {"low": 1e-3, "high": 1e-2, "log": True}})
    settings = {"recipe": resolve("lenet5", "digits"), "space": space, "folds": 2}
    study = Study.create(folder / "study", Search(**settings, sampler="random", pruner="none", limits={"macs": 1e9}))
    study.join()
    own = study.trials()
    for score in (0.5, 0.75, 0.7):
        trial = own.ask()
        for name, value in (("settings", space.draw(trial)), ("folds", [score]), ("macs", 5.0), ("worker", "w")):
            trial.set_user_attr(name, value)
        own.tell(trial, score)


def _read_settings(kind: str) -> Callable[[Path], None]:
    def read(path: Path) -> None:
        from recipes.config import presets
        from recipes.search.space import Range, load_space

        if kind == "space":
            space = load_space(path)
            space.corners()
            if not any(isinstance(values, Range) for values in space.space.values()):
                space.grid()
        elif kind == "augment":
            presets.load_augmentation(str(path), ["rotation=20"])
        else:
            presets.load_recipe(path, ["model.name=lenet5", "optimizer.learning_rate=3e-4", "augment.rotation=3"])

    return read


def _seed_settings(*kinds: str) -> Callable[[Path], None]:
    def seed(folder: Path) -> None:
        from recipes.config.presets import PRESETS

        for kind in kinds:
            for file in (PRESETS / kind).iterdir():
                (folder / f"{kind}-{file.name}").write_bytes(file.read_bytes())

    return seed


# Sets of images


def read_table(path: Path) -> None:
    from recipes.data import open_reader

    reader = open_reader(str(path))
    _ = reader.listing, reader.parts, reader.class_names


def seed_table(folder: Path) -> None:
    tables = {
        "classes": 'file,label,split,group\na.png,cat,train,1\n"b,c.png","dog, small",test,2\nd.png,cat,train,3\n',
        "labels": "file,label\na.png,cat|dog\nb.png,dog\nc.png,\n",
        "columns": "file,cat,dog\na.png,1,0\nb.png,0,1\n",
        "numbers": "file;label\na.png;1.5\nb.png;-2e3\n",
    }
    for name, table in tables.items():
        (folder / f"{name}.csv").write_text(table)


def read_split(path: Path) -> None:
    from recipes.data.split_table import read_split_table

    read_split_table(path)


def seed_split(folder: Path) -> None:
    rows = "".join(f'cat/{i}.png,{part},"a, b"\n' for i, part in enumerate(("train", "validation", "test") * 3))
    (folder / "split.csv").write_text(f"file,split,label\n{rows}")


def read_idx(folder: Path) -> None:
    from recipes.data import open_reader

    reader = open_reader(str(folder))
    _ = reader.labels, reader.image_shape, reader.class_names


def seed_idx(folder: Path) -> None:
    def idx(array: np.ndarray) -> bytes:
        return b"\0\0\x08" + bytes([array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()

    draws = np.random.default_rng(0)
    for kind, shape in (("grey", (8, 8)), ("colour", (8, 8, 3))):
        (folder / kind).mkdir()
        for part, count in (("train", 20), ("t10k", 10)):
            images = idx(draws.integers(0, 256, (count, *shape), np.uint8))
            labels = idx((np.arange(count) % 3).astype(np.uint8))
            number = len(shape) + 1
            if kind == "grey":
                (folder / kind / f"{part}-images-idx{number}-ubyte").write_bytes(images)
                (folder / kind / f"{part}-labels-idx1-ubyte").write_bytes(labels)
            else:
                (folder / kind / f"{part}-images-idx{number}-ubyte.gz").write_bytes(gzip.compress(images))
                (folder / kind / f"{part}-labels-idx1-ubyte.gz").write_bytes(gzip.compress(labels))


def read_image(path: Path) -> None:
    from recipes.data.decoding import look, pillow_warnings, read, size_of, to_array

    with pillow_warnings():
        look(path)
        size_of(path.read_bytes(), str(path))
    image = read(path)
    for depth, resize in ((1, "fill"), (3, "fit"), (3, "stretch")):
        to_array(image, (24, 32, depth), resize)


def seed_image(folder: Path) -> None:
    """Each mode in each format that can hold it, with EXIF and with several frames where there may be."""
    from PIL import Image

    draws = np.random.default_rng(0)
    colour = Image.fromarray(draws.integers(0, 256, (40, 60, 3), np.uint8))
    exif = Image.Exif()
    exif[0x0112] = 6
    for mode in MODES:
        if mode in ("I;16", "I", "F"):
            kind = {"I;16": np.uint16, "I": np.int32, "F": np.float32}[mode]
            image = Image.fromarray((draws.random((40, 60)) * 60_000).astype(kind))
        else:
            image = colour.convert(mode)
        for ending in (".png", ".jpg", ".tiff", ".webp", ".gif", ".bmp"):
            name = folder / f"{mode.replace(';', '')}{ending}"
            try:
                image.save(name, **({"exif": exif} if ending in (".jpg", ".png", ".webp") else {}))
            except (OSError, ValueError):  # a mode that the format does not have
                name.unlink(missing_ok=True)
    for ending in (".gif", ".png", ".webp", ".tiff"):
        colour.save(folder / f"frames{ending}", save_all=True, append_images=[colour.rotate(90), colour.rotate(180)])
    for compression in ("tiff_lzw", "tiff_deflate", "packbits", "group4", "jpeg"):
        (colour.convert("1") if compression == "group4" else colour).save(
            folder / f"{compression}.tiff", compression=compression
        )


def read_tfds(folder: Path) -> None:
    from recipes.data import open_reader

    reader = open_reader(f"tfds:{folder / '1.0.0'}")
    _ = reader.class_names, reader.labels, reader.image_shape
    reader.images("train", (8, 8, 3), "fill", quiet=True)


def seed_tfds(folder: Path) -> None:
    """As `tfds.folder_dataset.write_metadata` and a writer of TFRecords leave a set."""
    import tensorflow as tf
    import tensorflow_datasets as tfds

    features = tfds.features.FeaturesDict(
        {"image": tfds.features.Image(shape=(None, None, 3)), "label": tfds.features.ClassLabel(names=["cat", "dog"])}
    )
    draws = np.random.default_rng(0)
    where = folder / "set" / "1.0.0"
    where.mkdir(parents=True)
    count = 12
    with tf.io.TFRecordWriter(str(where / "own-train.tfrecord-00000-of-00001")) as out:
        for number in range(count):
            image = draws.integers(0, 256, (9, 9, 3), np.uint8)
            out.write(features.serialize_example(features.encode_example({"image": image, "label": number % 2})))
    split = tfds.core.SplitInfo(
        name="train",
        shard_lengths=[count],
        num_bytes=1000,
        filename_template=tfds.core.ShardedFileTemplate(
            data_dir=where, dataset_name="own", split="train", filetype_suffix="tfrecord"
        ),
    )
    tfds.folder_dataset.write_metadata(
        data_dir=str(where), features=features, split_infos=[split], supervised_keys=("image", "label")
    )


def read_shards(folder: Path) -> None:
    from recipes.data import load

    images = load(str(folder), image_shape=(8, 8, 3), on_demand=True, quiet=True).train.images
    np.asarray(images)


def seed_shards(folder: Path) -> None:
    from PIL import Image

    from recipes.data import pack

    draws = np.random.default_rng(0)
    for number in range(20):
        file = folder / "images" / "ab"[number % 2] / f"{number}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(draws.integers(0, 256, (9, 9, 3), np.uint8)).save(file)
    pack(str(folder / "images"), folder / "shards", quiet=True)
    shutil.rmtree(folder / "images")


READERS = {
    "tflite": Reader(read_tflite, None, ".tflite"),
    "keras": Reader(read_keras, seed_keras, ".keras", starts_threads=True),
    "weights": Reader(read_weights, seed_weights, ".weights.h5", starts_threads=True),
    "torch": Reader(read_torch, seed_torch, ".pth"),
    "checkpoint": Reader(read_checkpoint, seed_checkpoint, ".npz"),
    "run": Reader(read_run, seed_run),
    "study": Reader(read_study, seed_study),
    "recipe": Reader(_read_settings("fit"), _seed_settings("fit", "finetune"), ".toml"),
    "augmentation": Reader(_read_settings("augment"), _seed_settings("augment"), ".toml"),
    "space": Reader(_read_settings("space"), _seed_settings("space"), ".toml"),
    "table": Reader(read_table, seed_table, ".csv"),
    "split": Reader(read_split, seed_split, ".csv"),
    "idx": Reader(read_idx, seed_idx),
    "image": Reader(read_image, seed_image),
    "shards": Reader(read_shards, seed_shards, starts_threads=True),
    "tfds": Reader(read_tfds, seed_tfds, starts_threads=True),
}
