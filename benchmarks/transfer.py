"""Fine-tuning against plain Keras, on emoji: accuracy on pictures that were not seen, and seconds.

    python benchmarks/transfer.py                      # three seeds
    python benchmarks/transfer.py --seeds 1 --json     # one

The pictures are those of npm's `emoji-datasource-google` 16.0.0 (Apache-2.0), fetched with `npm pack`: 64x64 PNGs
in the categories of its `emoji.json`. All pictures of one code point (skin tones) come into one part; 30 % of the code
points are for testing. A few flags are drawn alike for two code points; test pictures that are in training too are left
out. `plain` is what Keras' guide to transfer learning does first: the frozen backbone and a new head in one model,
`fit`, 10 epochs, on training and validation pictures together, as it needs none to validate with. The others are
`recipes.finetune`, each timed whole: reading the pictures, building the model, both phases, the test pictures. The
ways take turns.
"""

import argparse
import csv
import json
import statistics
import subprocess
import sys
import tarfile
import tempfile
import time
from pathlib import Path

import numpy as np

SIZE = (160, 160, 3)
PACKAGE = "emoji-datasource-google@16.0.0"


def table_of(package: Path, file: Path) -> Path:
    """A table of file, label, split and group: 70 % of the code points of each category are for training."""
    emoji = json.loads((package / "emoji.json").read_text("utf-8"))
    draw = np.random.RandomState(0)
    rows = []
    for category in sorted({one["category"] for one in emoji} - {"Component"}):
        members = [one for one in emoji if one["category"] == category]
        for rank, which in enumerate(draw.permutation(len(members))):
            one = members[which]
            for form in (one, *one.get("skin_variations", {}).values()):
                picture = package / "img" / "google" / "64" / form["image"]
                if picture.is_file():
                    split = "test" if rank < 0.3 * len(members) else "train"
                    rows.append((picture, category, split, one["unified"]))
    with open(file, "w", encoding="utf-8", newline="") as out:
        csv.writer(out).writerows([("file", "label", "split", "group"), *rows])
    return file


def plain(table: Path, seed: int, epochs: int, folder: Path) -> float:
    import keras

    import zoo
    from recipes.data import load

    data = load(str(table), image_shape=SIZE, skip_bad=True, quiet=True)
    keras.utils.set_random_seed(seed)
    model = zoo.create_model("efficientnet_lite0", input_shape=SIZE, classes=len(data.class_names), weights="imagenet")
    model.get_layer("backbone").trainable = False
    model.compile(keras.optimizers.Adam(1e-3), "sparse_categorical_crossentropy", ["accuracy"])
    images = np.concatenate([data.train.images, data.validation.images])
    labels = np.concatenate([data.train.labels, data.validation.labels])
    model.fit(images, labels, batch_size=64, epochs=epochs, verbose=0)
    return float((model.predict(data.test.images, verbose=0).argmax(1) == data.test.labels).mean())


def tuned(table: Path, seed: int, recipe: str, settings: list[str], folder: Path) -> float:
    from recipes.finetune import finetune

    overrides = [f"model.input_shape={list(SIZE)}", f"seed={seed}", *settings]
    out = folder / f"{recipe}-{seed}"
    fitted = finetune(
        "efficientnet_lite0",
        data=str(table),
        out=out,
        recipe=recipe,
        overrides=overrides,
        skip_bad=True,
        quiet=True,
    )
    return fitted.metrics["accuracy"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=10, help="of the plain way, and of the cached head")
    parser.add_argument("--package", type=Path, help="the unpacked package, if it is there already")
    parser.add_argument("--ways", default="plain,head,last-stage")
    parser.add_argument("--set", dest="settings", action="append", default=[], help="of the last stage's recipe")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    same = [f"epochs={arguments.epochs}", "early_stopping=0"]
    ways = {
        "plain": lambda *a: plain(a[0], a[1], arguments.epochs, a[2]),
        "head": lambda *a: tuned(a[0], a[1], "head", same, a[2]),
        "last-stage": lambda *a: tuned(a[0], a[1], "last-stage", arguments.settings, a[2]),
    }
    ways = {name: ways[name] for name in arguments.ways.split(",")}
    results = {name: {"accuracy": [], "seconds": []} for name in ways}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        package = arguments.package or fetched(folder)
        table = table_of(package, folder / "emoji.csv")
        warm(table)
        for seed in range(arguments.seeds):
            for way, run in ways.items():
                began = time.perf_counter()
                results[way]["accuracy"].append(run(table, seed, folder))
                results[way]["seconds"].append(time.perf_counter() - began)
                print(
                    f"seed {seed}  {way}: {results[way]['accuracy'][-1]:.1%}  {results[way]['seconds'][-1]:.1f} s",
                    file=sys.stderr,
                    flush=True,
                )
    for result in results.values():
        result["mean_accuracy"] = statistics.mean(result["accuracy"])
        result["median_seconds"] = statistics.median(result["seconds"])
    if "plain" in results:
        for result in results.values():
            result["times_faster"] = results["plain"]["median_seconds"] / result["median_seconds"]
    if arguments.json:
        print(json.dumps(results, indent=1))
        return
    for way, result in results.items():
        faster = f"  {result['times_faster']:.1f} x the speed of plain" if "times_faster" in result else ""
        print(f"{way:12} {result['mean_accuracy']:.1%}  {result['median_seconds']:6.1f} s{faster}")


def fetched(folder: Path) -> Path:
    """The package, unpacked below `folder`."""
    subprocess.run(["npm", "pack", "--silent", PACKAGE], cwd=folder, check=True, stdout=subprocess.DEVNULL)
    (archive,) = folder.glob("*.tgz")
    with tarfile.open(archive) as content:
        content.extractall(folder, filter="data")
    return folder / "package"


def warm(table: Path) -> None:
    """Pictures and weights into the cache, and TensorFlow loaded, so that no way pays for the others."""
    import zoo
    from recipes.data import load
    from recipes.quiet import import_keras

    import_keras()
    data = load(str(table), image_shape=SIZE, skip_bad=True, quiet=True)
    print(f"{data.sizes} pictures of {len(data.class_names)} categories", file=sys.stderr, flush=True)
    zoo.create_model("efficientnet_lite0", weights="imagenet").predict(np.zeros((1, 224, 224, 3), np.uint8), verbose=0)


if __name__ == "__main__":
    main()
