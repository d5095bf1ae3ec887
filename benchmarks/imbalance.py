"""Rare classes: class weights, logit adjustment and thresholds by class, on a Fashion-MNIST that was made imbalanced.

    python benchmarks/imbalance.py --fashion /usr/share/datasets/fashion-mnist --out runs/imbalance

Of the most frequent class 2,000 images are drawn, of the rarest 20, by a constant factor from class to class; which
class is how frequent is drawn by the seed, too. LeNet-5 learns from nine tenths of them and is scored on the 10,000
test images, of which all classes have as many: their accuracy is the balanced accuracy. `as frequent` weighs the
classes as they are in training. `class thresholds` is what `class_thresholds=balanced` makes of the run `nothing`: the
training is the same, and validation images say what is added to the logits after it. Runs are kept in `--out`.
"""

import argparse
import gzip
import json
import struct
import sys
from pathlib import Path

import numpy as np

WAYS = {
    "nothing": (),
    "class weights": ("class_weight=balanced",),
    "logit adjustment, .5": ("logit_adjustment=0.5",),
    "logit adjustment, 1": ("logit_adjustment=1",),
}
MOST, LEAST = 2_000, 20  # images of a class


def imbalanced(source, folder, seed):
    """The set as a folder of IDX files."""
    from recipes.data.readers.idx import IdxReader

    parts = IdxReader(str(source)).read().parts
    images, labels = parts["train"]
    random = np.random.default_rng(seed)
    counts = np.round(np.geomspace(MOST, LEAST, 10)).astype(int)
    rows = [
        random.permutation(np.flatnonzero(labels == label))[:count]
        for label, count in zip(random.permutation(10), counts, strict=True)
    ]
    folder.mkdir(parents=True, exist_ok=True)
    for part, (given, named) in {"train": (images, labels), "t10k": parts["test"]}.items():
        kept = np.concatenate(rows) if part == "train" else np.arange(len(named))
        header = struct.pack(">iiii", 0x803, len(kept), *given.shape[1:3])
        pixels, classes = given[kept].tobytes(), named[kept].astype(np.uint8).tobytes()
        (folder / f"{part}-images-idx3-ubyte.gz").write_bytes(gzip.compress(header + pixels, 1))
        (folder / f"{part}-labels-idx1-ubyte.gz").write_bytes(
            gzip.compress(struct.pack(">ii", 0x801, len(kept)) + classes)
        )
    return folder


def judged(scores, labels, frequency):
    right = scores.argmax(1) == labels
    recall = np.array([right[labels == label].mean() for label in range(len(frequency))])
    rarest = frequency.argsort()[:3]
    return {
        "balanced accuracy": float(recall.mean()),
        "as frequent": float(recall @ frequency),
        "three rarest": float(recall[rarest].mean()),
        "worst class": float(recall.min()),
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--fashion", type=Path, default=Path("/usr/share/datasets/fashion-mnist"))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=15)
    parser.add_argument("--out", type=Path, default=Path("runs/imbalance"))
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()

    from recipes.fit import fit
    from recipes.run.folder import Run
    from recipes.tasks.calibration import class_thresholds

    rows = {}
    for seed in range(arguments.seeds):
        folder = arguments.out / f"fashion-{seed}"
        if not folder.exists():
            imbalanced(arguments.fashion, folder, seed)
        for way, settings in WAYS.items():
            out = arguments.out / f"{way.replace(' ', '-').replace(',', '')}-{seed}"
            overrides = [f"epochs={arguments.epochs}", "augment=none", f"seed={seed}", *settings]
            if (out / "metrics.json").exists():
                run = Run.open(out)
            else:
                given = {"data": str(folder), "recipe": "digits-lenet", "overrides": overrides, "quiet": True}
                run = fit("lenet5", out=out, overwrite=True, **given).run
            data = run.load_data()
            frequency = np.bincount(data.train.labels, minlength=10) / len(data.train)
            model = run.load_model()
            scores = model.predict(data.test.images, verbose=0)
            rows.setdefault(way, []).append(judged(scores, data.test.labels, frequency))
            if way == "nothing":
                validation = np.log(np.maximum(model.predict(data.validation.images, verbose=0), 1e-38))
                strength, added = class_thresholds(validation, data.validation.labels, frequency * len(data.train))
                found = judged(scores * np.exp(added), data.test.labels, frequency)
                rows.setdefault("class thresholds", []).append(found | {"strength": strength})
            print(seed, way, rows[way][-1], file=sys.stderr, flush=True)
    if arguments.json:
        print(json.dumps(rows, indent=1))
        return
    columns = list(rows["nothing"][0])
    print(f"{'':24}" + "".join(f"{column:>20}" for column in columns) + "   balanced accuracy, seed by seed")
    for way, found in rows.items():
        means = "".join(f"{np.mean([row[column] for row in found]):20.1%}" for column in columns)
        print(f"{way:24}{means}   " + ", ".join(f"{row['balanced accuracy']:.1%}" for row in found))


if __name__ == "__main__":
    main()
