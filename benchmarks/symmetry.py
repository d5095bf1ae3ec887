"""What augmentation, averaging, antialiasing and structure each bring to one small network, and what each costs.

    python benchmarks/symmetry.py --seeds 3       # the table of docs/symmetry.md
    python benchmarks/symmetry.py --part cost     # int8 latency and training steps, p4_cnn against its equal

The embedded digits (3,500 to train, 500 to validate, 1,000 to test), 10 epochs each, all trained alike and upright but
for `augment=rotated`. Accuracy on the test digits as they stand, each turned by an angle of its own (drawn with a fixed
seed), and turned by quarters; the scores of `zoo evaluate --invariance`; the int8 file of the first seed, its bytes and
the largest change of a score under the symmetry. Latency (one thread) and training steps (64 images) are taken of all
in turn, and are ratios to `z2_cnn`: the median of the rounds.

Cost: `p4_cnn` beside `z2_wide`, which is `z2_cnn` with as many maps as p4_cnn has in all: the same convolutions for
whoever executes them, with kernels of their own. Runs are kept in `--out`; those that are there are not trained again.
"""

import argparse
import json
import sys
import time
from pathlib import Path
from statistics import mean, stdev

import numpy as np

import zoo
from zoo.backend import keras
from zoo.normalization import batch_norm

ANGLES_SEED = 2016
WAYS = {
    "z2_cnn": ("z2_cnn", {}, []),
    "z2_cnn, rotated in training": ("z2_cnn", {}, ["augment=rotated"]),
    "z2_cnn, no dropout": ("z2_cnn", {"layer_dropout": 0.0}, ["model.options.layer_dropout=0"]),
    "z2_cnn, no dropout, rotated in training": (
        "z2_cnn",
        {"layer_dropout": 0.0},
        ["model.options.layer_dropout=0", "augment=rotated"],
    ),
    "z2_cnn, antialias": ("z2_cnn", {"antialias": True}, ["model.options.antialias=true"]),
    "z2_cnn, symmetry c4": ("z2_cnn", {"symmetry": "c4"}, ["model.symmetry=c4"]),
    "z2_cnn, no dropout, symmetry c4": (
        "z2_cnn",
        {"layer_dropout": 0.0, "symmetry": "c4"},
        ["model.options.layer_dropout=0", "model.symmetry=c4"],
    ),
    "p4_cnn": ("p4_cnn", {}, []),
    "rosette_d4 (p4m)": ("rosette_d4", {}, []),
    "p4_cnn, rotated in training": ("p4_cnn", {}, ["augment=rotated"]),
}
RECIPE = ["epochs=10", "schedule.name=cosine", "optimizer.learning_rate=4e-3"]
FAMILIES = ("rotation", "translation", "scale", "mirror", "affine")


@zoo.register(input_shape=(28, 28, 1), pooling="flatten")
def z2_wide(x, *, width: int = 40, layer_dropout: float = 0.0):
    """Six 3x3 convolutions of 40 maps: the multiply-adds of p4_cnn."""
    for number in range(1, 7):
        x = keras.layers.Conv2D(width, 3, kernel_initializer="he_normal", name=f"conv{number}")(x)
        x = keras.layers.Activation("relu", name=f"conv{number}_relu")(batch_norm(x, f"conv{number}_bn"))
        if number == 2:
            x = keras.layers.MaxPooling2D(2, name="pool")(x)
    return x


def run_of(name, seed, out):
    """A finished run: the one in its folder, or a new one."""
    from recipes.fit import fit
    from recipes.run.folder import Run

    model, _, settings = WAYS[name]
    folder = out / f"{name.replace(', ', '-').replace(' ', '-').replace('(', '').replace(')', '')}-{seed}"
    if (folder / "metrics.json").exists():
        return Run.open(folder)
    print(folder, file=sys.stderr, flush=True)
    settings = ["augment=none", *RECIPE, *settings, f"seed={seed}"]
    return fit(model, data="digits", recipe="quick", overrides=settings, out=folder, overwrite=True, quiet=True).run


def measured(run):
    """Accuracies and invariances of a run, from a file beside it where they were measured before."""
    from recipes.augment.affine import affine_matrices
    from recipes.augment.warp import warp
    from recipes.evaluate.invariance import measure_invariance

    kept = run.path / "symmetry.json"
    if kept.exists():
        return json.loads(kept.read_text("utf-8"))
    test, model = run.load_data().test, run.load_model()
    images, labels = np.asarray(test.images), np.asarray(test.labels)

    def accuracy(images):
        return float((model.predict(images, batch_size=250, verbose=0).argmax(1) == labels).mean())

    angles = np.random.default_rng(ANGLES_SEED).uniform(0, 360, len(images)).astype("float32")
    quarters = [accuracy(np.ascontiguousarray(np.rot90(images, turns, (1, 2)))) for turns in (1, 2, 3)]
    found = {
        "upright": accuracy(images),
        "any angle": accuracy(warp(images, affine_matrices(angle=angles, height=28, width=28)).numpy()),
        "quarter turns": mean(quarters),
    }
    invariance = measure_invariance(model, test)
    found |= {family: invariance[family]["score"] for family in FAMILIES}
    found["shift consistency"] = invariance["shift_consistency"]
    kept.write_text(json.dumps(found), "utf-8")
    return found


def int8_file(run):
    """The int8 file of a run, written once, and what its verification found."""
    from recipes.export import export

    file, kept = run.path / "model-int8.tflite", run.path / "model-int8.json"
    if not kept.exists():
        done = export(run, to="int8", out=file)
        kept.write_text(json.dumps({"accuracy": done.accuracy_file, "bytes": done.bytes}), "utf-8")
    return file, json.loads(kept.read_text("utf-8"))


def latencies(files, rounds):
    """For each file its milliseconds, by round: all of them one after another, one thread."""
    from recipes.tflite.latency import benchmark

    return [[row.median_ms for row in benchmark(files, threads=[1], repeats=100)] for _ in range(rounds)]


def steps(models, rounds, images=64):
    """For each model the seconds of a training step, by round: all of them one after another."""
    random, found = np.random.default_rng(0), []
    trained = []
    for name, options in models:
        model = zoo.create_model(name, **options)
        model.compile(optimizer="adamw", loss="sparse_categorical_crossentropy")
        batch = random.integers(0, 256, (images, *model.input_shape[1:]), np.uint8), random.integers(0, 10, images)
        model.train_on_batch(*batch)
        trained.append((model, batch))
    for _ in range(rounds):
        row = []
        for model, batch in trained:
            began = time.perf_counter()
            for _ in range(5):
                model.train_on_batch(*batch)
            row.append((time.perf_counter() - began) / 5)
        found.append(row)
    return found


def ratios(rounds, to=0):
    """For each column its ratio to one column, by round: the median, the least and the largest."""
    each = np.array(rounds) / np.array(rounds)[:, [to]]
    return [(float(np.median(column)), float(column.min()), float(column.max())) for column in each.T]


def table(arguments):
    rows, files, models = {}, [], []
    for name in arguments.ways:
        model, options, _ = WAYS[name]
        runs = [run_of(name, seed, arguments.out) for seed in range(arguments.seeds)]
        found = [measured(run) for run in runs]
        anatomy = zoo.describe(model, **options)
        file, told = int8_file(runs[0])
        files.append(file)
        models.append((model, options))
        rows[name] = {"parameters": anatomy.parameters, "macs": anatomy.macs, "int8 bytes": told["bytes"]}
        rows[name] |= {"int8 accuracy": told["accuracy"]}
        for key in found[0]:
            values = [one[key] for one in found]
            rows[name][key] = mean(values)
            rows[name][f"{key} spread"] = stdev(values) if len(values) > 1 else 0.0
    latency, step = ratios(latencies(files, arguments.rounds)), ratios(steps(models, arguments.rounds))
    for row, one, other in zip(rows.values(), latency, step, strict=True):
        row |= {"int8 latency": one, "training step": other}
    return rows


def cost(arguments):
    """p4_cnn over its equal in multiply-adds: latency of int8 files, and a training step."""
    from recipes.export import export

    files = []
    for name in ("z2_wide", "p4_cnn"):
        from recipes.fit import fit

        folder = arguments.out / f"cost-{name}"
        if not (folder / "metrics.json").exists():
            own = ["epochs=1", "augment=none"]
            fit(name, data="digits", recipe="quick", overrides=own, out=folder, overwrite=True, quiet=True)
        file = folder / "model-int8.tflite"
        if not file.exists():
            export(folder, to="int8", out=file)
        files.append(file)
    models = [("z2_wide", {}), ("p4_cnn", {})]
    macs = [zoo.describe(name).macs for name, _ in models]
    (_, latency), (_, step) = ratios(latencies(files, arguments.rounds)), ratios(steps(models, arguments.rounds))
    return {"p4_cnn / z2_wide": {"macs": macs[1] / macs[0], "int8 latency": latency, "training step": step}}


def text(value):
    if isinstance(value, tuple):
        return "{:.2f} ({:.2f} to {:.2f})".format(*value)
    return f"{value:.4f}" if isinstance(value, float) else f"{value:,}"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("ways", nargs="*", help=f"any of: {'; '.join(WAYS)}")
    parser.add_argument("--part", choices=["table", "cost"], default="table")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--rounds", type=int, default=11)
    parser.add_argument("--out", type=Path, default=Path("runs/symmetry"))
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    arguments.ways = arguments.ways or list(WAYS)
    arguments.out.mkdir(parents=True, exist_ok=True)
    found = {"table": table, "cost": cost}[arguments.part](arguments)
    if arguments.json:
        print(json.dumps(found, indent=1))
        return
    for name, row in found.items():
        print(f"{name}\n  " + "\n  ".join(f"{key:24} {text(value)}" for key, value in row.items()))


if __name__ == "__main__":
    main()
