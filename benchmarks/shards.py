"""What is claimed of packed sets: `python benchmarks/shards.py [--json]`, some minutes on two cores.

packing: images a second of `zoo data pack`, with its check of every image and without, against `tar` of the same folder
    followed by `sync`, in turn.
reading: images a second, drawn at random in batches of 64, of JPEGs in shards that are decoded when they are used (an
    epoch as a training reads it, without the training), against Pillow decoding and resizing the same files, two
    threads each.
memory: the largest resident set of a process that reads 2,000 images as a training does, varied, of a packed set of so
    many small ones, less what it takes to import what it needs.
workers: bytes of records that each of two workers reads in an epoch, as a fraction of all.

The images are JPEGs cut from the two photographs that scikit-learn ships. Nothing is left behind.
"""

import argparse
import json
import os
import sys
import tarfile
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
sys.path.insert(0, str(Path(__file__).parents[1]))

import numpy as np
from data import photographs, ratios
from processes import peak

SHAPE = (224, 224, 3)


def packing(folder: Path, rounds: int) -> dict[str, dict[str, float]]:
    """Images a second; what was found of the files is remembered from the second start on."""
    from recipes.data import pack

    count = sum(1 for _ in folder.rglob("*.jpg"))
    rates: dict[str, list[float]] = {"checked": [], "remembered": [], "tar": []}
    for number in range(rounds):
        os.environ["CONVZOO_CACHE"] = str(folder.parent / f"packing-{number}")
        for side in rates:
            out = folder.parent / f"{side}-{number}"
            began = time.perf_counter()
            if side == "tar":
                with tarfile.open(out, "w") as archive:
                    archive.add(folder, "photographs")
            else:
                pack(str(folder), out, split_near_duplicates=True, quiet=True)
            rates[side].append(count / (time.perf_counter() - began))
    return {side: ratios(rates[side], rates["tar"]) for side in ("checked", "remembered")}


def reading(folder: Path, rounds: int) -> dict[str, float]:
    """Images a second, a whole epoch of the training part in an order drawn anew."""
    from recipes.data import load, pack
    from recipes.data.decoding import decode_to, pillow_warnings
    from recipes.support import threads

    threads.THREADS = 2
    shards = folder.parent / "shards"
    pack(str(folder), shards, split_near_duplicates=True, quiet=True)
    packed = load(str(shards), image_shape=SHAPE, on_demand=True, quiet=True).train
    files = load(str(folder), image_shape=SHAPE, split_near_duplicates=True, quiet=True).train.files
    assert files is not None
    dataset = packed.batches(64, seed=0)
    ours, theirs = [], []
    for number in range(rounds + 1):
        began = time.perf_counter()
        seen = sum(len(images) for images, _ in dataset)
        mine = seen / (time.perf_counter() - began)
        began = time.perf_counter()
        with pillow_warnings(), ThreadPoolExecutor(2) as pool:
            list(pool.map(lambda file: decode_to(file, SHAPE), files))
        if number:  # the first of each is not counted
            ours.append(mine)
            theirs.append(len(files) / (time.perf_counter() - began))
    return ratios(ours, theirs)


def memory(folder: Path, counts: list[int]) -> dict[int, float]:
    """Megabytes of a process that reads 2,000 images of a set of so many, 8x8 pixels each."""
    start = (
        "import recipes.fit, recipes.training.model, recipes.data.shards, sklearn.model_selection, scipy.sparse\n"
        "from recipes.training.resolving import resolve\n"
        "from array_record.python import array_record_module\nimport numpy as np, tensorflow as tf\n"
        "tf.random.experimental.stateless_shuffle(tf.range(9), [0, 0])\n"
    )
    found = {}
    for count in counts:
        shards = folder / f"small-{count}"
        _small(shards, count)
        task = (
            f"data = recipes.data.load({str(shards)!r}, on_demand=True, quiet=True)\n"
            "recipe = resolve('lenet5', 'digits', 'quick', ['batch_size=100', 'augment=natural'])\n"
            "batches = recipes.training.model.training_batches(data.train, recipe, 10)\n"
            "for batch, _ in zip(batches, range(20)): pass\n"
        )
        before, after = peak(start, task)
        found[count] = round(after - before)
    return found


def _small(folder: Path, count: int) -> None:
    """A packed set of so many images, written as `pack` does, without a file for each."""
    from recipes.data import shards

    random = np.random.default_rng(0)
    folder.mkdir()
    writer, digests = shards.ShardWriter(folder), []
    for _ in range(count):
        record = random.bytes(8 * 8 * 3)
        writer.write(record)
        digests.append(shards.digest_of_record(record))
    writer.close()
    rows = np.arange(count)
    parts = {"train": rows[rows % 10 > 1], "validation": rows[rows % 10 == 1], "test": rows[rows % 10 == 0]}
    index = shards.write_index(folder, parts, None, digests, random.integers(0, 10, count), "classification")
    shards.write_names(folder, [f"class/{number:07}.png" for number in range(count)])
    header = shards.Header(
        version=shards.VERSION,
        source="made",
        task="classification",
        class_names=tuple("0123456789"),
        image_shape=(8, 8, 3),
        pixels=(8, 8, 3),
        resize="fill",
        counts=tuple(writer.counts),
        index=index,
    )
    (folder / shards.HEADER).write_text(header.model_dump_json(), "utf-8")


def workers(folder: Path) -> list[float]:
    """The fraction of the training part's bytes that each of two workers reads in one epoch."""
    from recipes.data import load, open_reader
    from recipes.training.model import BatchPart, training_batches
    from recipes.training.resolving import resolve

    shards = str(folder.parent / "shards")
    recipe = resolve("lenet5", shards, "quick", ["batch_size=20", "epochs=1", "model.input_shape=[32,32,3]"])
    read = []
    for rank in range(2):
        reader = open_reader(shards)
        train = load(reader, image_shape=(32, 32, 3), on_demand=True, quiet=True).train
        for _ in training_batches(train, recipe, 2, part=BatchPart(rank, 1, 2)):
            pass
        read.append(reader.shards.bytes_read)
    whole = sum(len(reader.shards.record(row)) for row in reader.shards.rows["train"])
    return [round(one / whole, 3) for one in read]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--rounds", type=int, default=5, help="how often both sides run")
    parser.add_argument("--images", type=int, default=2_000, help="JPEGs of 256x256 pixels")
    parser.add_argument("--sizes", type=int, nargs="+", default=[10_000, 100_000, 1_000_000], help="of small images")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = photographs(Path(temporary, "photographs"), arguments.images)
        results = {
            "packing": packing(folder, arguments.rounds),
            "reading": reading(folder, arguments.rounds),
            "workers": workers(folder),
            "memory": memory(Path(temporary), arguments.sizes),
        }
    if arguments.json:
        print(json.dumps(results, indent=1))
        return
    rows = {f"packing, {side}": result for side, result in results["packing"].items()} | {"reading": results["reading"]}
    for name, result in rows.items():
        print(
            f"{name}: {result['median']}x (from {result['min']} to {result['max']}), "
            f"{result['ours_per_second']:,} against {result['theirs_per_second']:,} images/s"
        )
    print(f"bytes that each of two workers reads: {results['workers']}")
    for count, megabytes in results["memory"].items():
        print(f"memory for a set of {count:,} images: {megabytes} MB")


if __name__ == "__main__":
    main()
