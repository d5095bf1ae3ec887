"""Fine-tuning against plain Keras, on emoji: accuracy on images that were not seen, and seconds.

    python benchmarks/transfer.py --base --int8                         # three seeds, 10 epochs of the plain way
    python benchmarks/transfer.py --base --epochs 100 --ways plain,head --seeds 1

The images are those of npm's `emoji-datasource-google` 16.0.0 (Apache-2.0), fetched with `npm pack`: 64x64 PNGs
in the categories of its `emoji.json`. All images whose sequence begins with one code point (skin tones, professions)
come into one part; code points with 30 % of the images are for testing. Test images that are drawn exactly like one
for training are left out. `--base` leaves skin tones out: half the images, and a harder task, because people
are no longer most of them.

`plain` is what Keras' guide to transfer learning does first: the frozen backbone and a new head in one model, `fit`, 10
epochs, on training and validation images together, as it needs none to validate with. The others are
`recipes.finetune`, each timed whole: reading the images, building the model, both phases, the test images. The ways
alternate. `--int8` exports what was fine-tuned, untimed, and prints the fraction of the test images that the
file puts into the same class as the model.
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
from collections import Counter
from pathlib import Path

import numpy as np

PACKAGE = "emoji-datasource-google@16.0.0"


def table_of(package: Path, file: Path, *, base: bool) -> Path:
    """A table of file, label, split and group: groups drawn for testing until they are 30 % of the images."""
    emoji = [one for one in json.loads((package / "emoji.json").read_text("utf-8")) if one["category"] != "Component"]
    forms = {one["unified"]: [one, *({} if base else one.get("skin_variations", {})).values()] for one in emoji}
    count = Counter(group_of(one) for one in emoji for _ in forms[one["unified"]])
    tested, images = set(), 0
    for which in np.random.RandomState(0).permutation(len(count)):
        group = sorted(count)[which]
        if images + count[group] <= 0.3 * count.total():
            tested.add(group)
            images += count[group]
    rows = []
    for one in emoji:
        for form in forms[one["unified"]]:
            image = package / "img" / "google" / "64" / form["image"]
            if image.is_file():
                split = "test" if group_of(one) in tested else "train"
                rows.append((image, one["category"], split, group_of(one)))
    with open(file, "w", encoding="utf-8", newline="") as out:
        csv.writer(out).writerows([("file", "label", "split", "group"), *rows])
    return file


def group_of(one: dict) -> str:
    """The code point that an emoji begins with: a man, a man with red hair and a man cooking are one group."""
    return one["unified"].split("-")[0]


def plain(table: Path, seed: int, epochs: int, shape: tuple) -> float:
    import keras

    import zoo
    from recipes.data import load

    data = load(str(table), image_shape=shape, skip_bad=True, quiet=True)
    keras.utils.set_random_seed(seed)
    model = zoo.create_model("efficientnet_lite0", input_shape=shape, classes=len(data.class_names), weights="imagenet")
    model.get_layer("backbone").trainable = False
    model.compile(keras.optimizers.Adam(1e-3), loss="sparse_categorical_crossentropy")
    images = np.concatenate([data.train.images, data.validation.images])
    labels = np.concatenate([data.train.labels, data.validation.labels])
    model.fit(images, labels, batch_size=64, epochs=epochs, verbose=0)
    return float((model.predict(data.test.images, verbose=0).argmax(1) == data.test.labels).mean())


def tuned(table: Path, seed: int, recipe: str, settings: list[str], folder: Path, shape: tuple) -> float:
    from recipes.finetune import finetune

    overrides = [f"model.input_shape={list(shape)}", f"seed={seed}", *settings]
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


def int8_agreement(run: Path) -> float:
    """Fraction of the test images that the run's int8 file puts into the class that its model puts them into."""
    from recipes.export.handover import export

    return export(run, to="int8", budget={"drop": 1}).agreement


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--base", action="store_true", help="without skin tones")
    parser.add_argument("--size", type=int, default=160, help="of the images, in pixels")
    parser.add_argument("--epochs", type=int, default=10, help="of the plain way, and of the cached head")
    parser.add_argument("--package", type=Path, help="the unpacked package, if it is there already")
    parser.add_argument("--ways", default="plain,head,last-layers,last-stage")
    parser.add_argument(
        "--set", dest="settings", action="append", default=[], help="of the recipes that train more than the head"
    )
    parser.add_argument("--int8", action="store_true", help="export what was fine-tuned, and compare")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    shape = (arguments.size, arguments.size, 3)
    same = [f"epochs={arguments.epochs}", "early_stopping=0"]
    ways = {
        "plain": lambda *a: plain(a[0], a[1], arguments.epochs, shape),
        "head": lambda *a: tuned(a[0], a[1], "head", same, a[2], shape),
        "last-layers": lambda *a: tuned(a[0], a[1], "last-layers", arguments.settings, a[2], shape),
        "last-stage": lambda *a: tuned(a[0], a[1], "last-stage", arguments.settings, a[2], shape),
    }
    ways = {name: ways[name] for name in arguments.ways.split(",")}
    results = {name: {"accuracy": [], "seconds": []} for name in ways}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        package = arguments.package or fetched(folder)
        table = table_of(package, folder / "emoji.csv", base=arguments.base)
        warm(table, shape)
        for seed in range(arguments.seeds):
            for way, run in ways.items():
                began = time.perf_counter()
                results[way]["accuracy"].append(run(table, seed, folder))
                results[way]["seconds"].append(time.perf_counter() - began)
                line = f"seed {seed}  {way}: {results[way]['accuracy'][-1]:.1%}  {results[way]['seconds'][-1]:.1f} s"
                if arguments.int8 and way != "plain":
                    results[way].setdefault("int8_agreement", []).append(int8_agreement(folder / f"{way}-{seed}"))
                    line += f"  int8 agrees in {results[way]['int8_agreement'][-1]:.1%}"
                print(line, file=sys.stderr, flush=True)
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
        agrees = result.get("int8_agreement")
        int8 = f"  int8 agrees in {statistics.mean(agrees):.1%}" if agrees else ""
        print(f"{way:12} {result['mean_accuracy']:.1%}  {result['median_seconds']:6.1f} s{faster}{int8}")


def fetched(folder: Path) -> Path:
    """The package, unpacked below `folder`."""
    subprocess.run(["npm", "pack", "--silent", PACKAGE], cwd=folder, check=True, stdout=subprocess.DEVNULL)
    (archive,) = folder.glob("*.tgz")
    with tarfile.open(archive) as content:
        content.extractall(folder, filter="data")
    return folder / "package"


def warm(table: Path, shape: tuple) -> None:
    """Images and weights into the cache, and TensorFlow loaded, so that no way pays for the others."""
    import zoo
    from recipes.data import load
    from recipes.support.quiet import import_keras

    import_keras()
    data = load(str(table), image_shape=shape, skip_bad=True, quiet=True)
    print(f"{data.sizes} images of {len(data.class_names)} categories", file=sys.stderr, flush=True)
    zoo.create_model("efficientnet_lite0", weights="imagenet").predict(np.zeros((1, 224, 224, 3), np.uint8), verbose=0)


if __name__ == "__main__":
    main()
