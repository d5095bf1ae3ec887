"""What kernels at several scales bring on digits that come smaller and larger, beside plain kernels.

    python benchmarks/scale.py --seeds 3    # trained at one size, and at all sizes
    python benchmarks/scale.py --part file  # the int8 files of the first seed

`plain_twin` has the layers of `scale_cnn` with 3x3 kernels, at one scale: as many free parameters. Both are trained
alike on the 3,500 embedded digits, (a) as they are and (b) with every image scaled by 0.3 to 1.6 anew in each epoch,
and tested on the 1,000 test digits at each factor, scaled as `zoo augment write` scales them. Runs are kept in
`--out`; those that are there are not trained again.
"""

import argparse
import json
import sys
from pathlib import Path
from statistics import mean, stdev

import numpy as np

import zoo
from zoo.backend import keras
from zoo.normalization import batch_norm

FACTORS = (0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 1.2, 1.4, 1.6)
# Small nets that are seen converge: batches and epochs so that a run takes a minute or two.
SETTINGS = ("epochs=14", "batch_size=64", "optimizer.ema=0.98", "augment=none")
TRAININGS = {"as they are": (), "scaled": ("augment.scale=[0.3, 1.6]",)}


@zoo.register(input_shape=(28, 28, 1), pooling="max")
def plain_twin(x):
    """The layers of scale_cnn with plain 3x3 kernels."""
    for number, filters in enumerate((8, 12, 24, 48), start=1):
        name, size = f"conv{number}", 1 if number == 4 else 3
        own = {"kernel_initializer": "he_normal", "use_bias": False}
        x = keras.layers.Conv2D(filters, size, padding="same", name=name, **own)(x)
        x = keras.layers.Activation("relu", name=f"{name}_relu")(batch_norm(x, f"{name}_bn"))
        if number < 3:
            x = keras.layers.MaxPooling2D(2, name=f"pool{number}")(x)
    return x


def run_of(model, training, seed, out):
    """A finished run: the one in its folder, or a new one."""
    from recipes.fit import fit
    from recipes.run.folder import Run

    folder = out / f"{model}-{training.replace(' ', '-')}-{seed}"
    if (folder / "metrics.json").exists():
        return Run.open(folder)
    print(f"{folder}", file=sys.stderr, flush=True)
    overrides = [*SETTINGS, *TRAININGS[training], f"seed={seed}"]
    return fit(model, data="digits", recipe="digits", overrides=overrides, out=folder, overwrite=True, quiet=True).run


def scaled(images, factor):
    """Images uint8 (N, H, W, C) whose content is larger by a factor."""
    from recipes.augment import Augment
    from recipes.augment.write import varied

    return np.concatenate([batch for batch, _ in varied(images, Augment(scale=(factor, factor)), "test")])


def accuracies(predict, part):
    return [float((predict(scaled(part.images, f)).argmax(1) == part.labels).mean()) for f in FACTORS]


def measured(arguments):
    """Accuracy at each factor, by training and model; the mean over seeds, and its spread over the mean of factors."""
    rows = {}
    for seed in range(arguments.seeds):  # all of one seed first: what is there can be looked at
        for training in TRAININGS:
            for model in arguments.models:
                run = run_of(model, training, seed, arguments.out)
                part = run.load_data().parts[arguments.images]
                trained = run.load_model()
                found = accuracies(lambda images: trained.predict(images, verbose=0), part)  # noqa: B023
                rows.setdefault(f"{model}, {training}", []).append(found)
    table = {}
    for name, found in rows.items():
        means = [mean(row) for row in found]
        table[name] = {
            "accuracy": dict(zip(FACTORS, np.mean(found, axis=0).tolist(), strict=True)),
            "mean": mean(means),
            "spread": stdev(means) if len(means) > 1 else 0.0,
            "by seed": means,
            "parameters": zoo.describe(name.split(",")[0]).parameters,
            "macs": zoo.describe(name.split(",")[0]).macs,
        }
    return table


def file(arguments):
    """The int8 file of the first seed of each training: accuracy at each factor, bytes and operators."""
    from recipes.export.handover import export
    from recipes.tflite.file import TFLiteFile

    table = {}
    for training in TRAININGS:
        for model in arguments.models:
            run = run_of(model, training, 0, arguments.out)
            exported = export(run, to="int8", force=True)
            part = run.load_data().parts[arguments.images]
            found = accuracies(TFLiteFile(exported.file).predict, part)
            table[f"{model}, {training}"] = {
                "accuracy": dict(zip(FACTORS, found, strict=True)),
                "mean": mean(found),
                "bytes": exported.bytes,
                "operators": exported.operators,
            }
    return table


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", default=["plain_twin", "scale_cnn"])
    parser.add_argument("--part", choices=["model", "file"], default="model")
    parser.add_argument("--images", choices=["validation", "test"], default="test")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--out", type=Path, default=Path("runs/scale"))
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    found = (measured if arguments.part == "model" else file)(arguments)
    if arguments.json:
        print(json.dumps(found, indent=1))
        return
    print(" " * 26, *(f"{factor:6g}" for factor in FACTORS), "  mean")
    for name, row in found.items():
        print(f"{name:26}", *(f"{row['accuracy'][f]:6.1%}" for f in FACTORS), f"{row['mean']:6.1%}", flush=True)
        others = {key: value for key, value in row.items() if key not in ("accuracy", "mean")}
        print(" " * 4, others)


if __name__ == "__main__":
    main()
