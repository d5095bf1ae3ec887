"""What symmetry that is built in brings, beside the same learnt from turned images.

    python benchmarks/rotated.py --seeds 5                # digits turned by any angle
    python benchmarks/rotated.py --part upright --seeds 3 # trained upright, tested by quarter turns
    python benchmarks/rotated.py --part fine              # equivariance at 45 and 22.5 degrees
    python benchmarks/rotated.py --part mirrored --seeds 3 --data /usr/share/datasets/fashion-mnist

Any angle: each of the embedded digits (3,500 to train, 500 to validate, 1,000 to test) is turned once by an angle drawn
with a fixed seed. `plain_twin` is `rosette_c4` with plain kernels, twice as many maps in place of its fields, and as
many parameters. All are trained alike, turned by any angle again in every epoch. Runs are kept in `--out`; those that
are there are not trained again.

Mirrored: a network as it is, and with `model.symmetry=mirror`, both trained alike on images that are mirrored at
random, and tested on the test images as they are and mirrored.
"""

import argparse
import json
import sys
from pathlib import Path
from statistics import mean, stdev

import numpy as np

import zoo
from recipes.data.readers import READERS, Arrays, MemoryReader
from zoo.backend import keras
from zoo.normalization import batch_norm

ANGLES_SEED = 2016
PARTS = ("any-angle", "upright", "fine", "mirrored")
ANY_ANGLE = "rotated-digits"  # the recipe


@zoo.register(input_shape=(28, 28, 1), pooling="average")
def plain_twin(x, *, wider: int = 2):
    """The layers of rosette_c4 without its symmetry: kernels of their own for as many maps as have its parameters."""
    for number, fields in enumerate((4, 8, 12, 12, 16, 16, 32), start=1):
        name, size = f"conv{number}", 1 if number == 7 else 3
        padding, own = "valid" if number < 3 else "same", {"kernel_initializer": "he_normal", "use_bias": False}
        x = keras.layers.Conv2D(wider * fields, size, padding=padding, name=name, **own)(x)
        x = keras.layers.Activation("relu", name=f"{name}_relu")(batch_norm(x, f"{name}_bn"))
        if number in (2, 4):
            x = keras.layers.MaxPooling2D(2, name=f"pool{number // 2}")(x)
    return x


class TurnedDigits(MemoryReader):
    """The embedded digits, each turned by an angle of its own."""

    called = "turned-digits"

    @property
    def is_name(self):
        return self.source == "turned-digits"

    def is_there(self):
        return self.is_name

    def read(self):
        from recipes.augment.affine import affine_matrices
        from recipes.augment.warp import warp
        from recipes.data import load

        digits, random, parts = load("digits", quiet=True), np.random.default_rng(ANGLES_SEED), {}
        for part, split in digits.parts.items():
            angles = random.uniform(0, 360, len(split)).astype("float32")
            turned = warp(split.images, affine_matrices(angle=angles, height=28, width=28)).numpy()
            parts[part] = turned, np.asarray(split.labels, np.int64)
        return Arrays(parts, digits.class_names)


READERS.insert(0, TurnedDigits)


def run_of(model, data, recipe, settings, seed, out, name=None):
    """A finished run: the one in its folder, or a new one."""
    from recipes.fit import fit
    from recipes.run.folder import Run

    folder = out / f"{name or f'{model}-{data}'}-{seed}"
    if (folder / "metrics.json").exists():
        return Run.open(folder)
    print(f"{folder}", file=sys.stderr, flush=True)
    overrides = [*settings, f"seed={seed}"]
    return fit(model, data=data, recipe=recipe, overrides=overrides, out=folder, overwrite=True, quiet=True).run


def best_on_validation(run):
    rows = (run.path / "history.csv").read_text("utf-8").split()
    column = rows[0].split(",").index("val_accuracy")
    return max(float(row.split(",")[column]) for row in rows[1:])


def any_angle(arguments):
    """Error on turned digits, by model and seed."""
    rows = {}
    for model in arguments.models:
        runs = [
            run_of(model, "turned-digits", arguments.recipe, arguments.set, seed, arguments.out)
            for seed in range(arguments.first_seed, arguments.first_seed + arguments.seeds)
        ]
        errors = [1 - run.metrics["accuracy"] for run in runs]
        anatomy = zoo.describe(model)
        rows[model] = {
            "error": mean(errors),
            "spread": stdev(errors) if len(errors) > 1 else 0.0,
            "errors": errors,
            "validation_errors": [1 - best_on_validation(run) for run in runs],
            "parameters": anatomy.parameters,
            "macs": anatomy.macs,
        }
    plain = rows.get("plain_twin")
    for row in rows.values():
        row["ratio"] = row["error"] / plain["error"] if plain else None
    return rows


def upright(arguments):
    """Accuracy on digits as they stand and turned by quarters, of models that were trained upright."""
    rows = {}
    for model in arguments.models:
        found = []
        for seed in range(arguments.first_seed, arguments.first_seed + arguments.seeds):
            run = run_of(model, "digits", "digits", ["augment=none", *arguments.set], seed, arguments.out)
            test, trained = run.load_data().test, run.load_model()
            of_turn = [trained.predict(np.rot90(test.images, turns, (1, 2)), verbose=0).argmax(1) for turns in range(4)]
            found.append([float((predicted == test.labels).mean()) for predicted in of_turn])
        rows[model] = {
            "upright": mean(row[0] for row in found),
            "quarter turns": mean(mean(row[1:]) for row in found),
            "the same": all(len(set(row)) == 1 for row in found),
            "by seed": found,
        }
    return rows


def mirrored(arguments):
    """Accuracy on test images as they are and mirrored, and how often both have the same answer."""
    rows, shape = {}, (28, 28, 1)
    settings = ["epochs=4", "augment.horizontal_flip=true", f"model.input_shape={list(shape)}", *arguments.set]
    for model in arguments.models:
        for group in ("none", "mirror"):
            found, own = [], [*settings, f"model.symmetry={group}"]
            for seed in range(arguments.first_seed, arguments.first_seed + arguments.seeds):
                run = run_of(model, arguments.data, "quick", own, seed, arguments.out, f"{model}-{group}-mirrored")
                test, trained = run.load_data().test, run.load_model()
                both = (test.images, np.ascontiguousarray(test.images[:, :, ::-1]))
                one, other = (trained.predict(images, batch_size=250, verbose=0).argmax(1) for images in both)
                found.append([float(same.mean()) for same in (one == test.labels, other == test.labels, one == other)])
            columns = dict(zip(("as it is", "mirrored", "consistency"), zip(*found, strict=True), strict=True))
            macs = zoo.describe(model, input_shape=shape, symmetry=group).macs
            rows[f"{model}, {group}"] = {key: mean(values) for key, values in columns.items()} | {
                "macs": macs,
                "by seed": found,
            }
    return rows


def fine(arguments):
    """How far the scores of turned images are from those of the images, of models with random weights.

    The digits are enlarged and blurred first, so that turning them loses little; what remains is the network's. The
    error is the root mean square difference of the logits' input over their spread between images.
    """
    from recipes.augment.affine import affine_matrices
    from recipes.augment.warp import warp
    from recipes.data import load

    images = load("digits", quiet=True).test.images[:: 1000 // arguments.images].astype("float32")
    size = 57
    smooth = np.asarray(keras.ops.image.resize(images, (size, size), interpolation="bicubic"))
    kernel = np.outer(*[np.array([1, 4, 6, 4, 1]) / 16] * 2)[..., None, None].astype("float32")
    smooth = np.asarray(keras.ops.conv(smooth, kernel, padding="same"))
    rows = {}
    for model in arguments.models:
        found = {angle: [] for angle in (90, 45, 22.5)}
        for seed in range(arguments.seeds):
            keras.utils.set_random_seed(seed)
            built = zoo.create_model(model, input_shape=(size, size, 1))
            built(smooth, training=True)
            features = keras.Model(built.input, built.get_layer("pooling").output)
            before = features.predict(smooth, verbose=0)
            for angle in found:
                turned = warp(
                    smooth, affine_matrices(angle=[float(angle)], height=size, width=size), interpolation="bicubic"
                )
                after = features.predict(turned.numpy(), verbose=0)
                found[angle].append(float(np.sqrt(((after - before) ** 2).mean()) / before.std(axis=0).mean()))
        rows[model] = {f"{angle:g} degrees": mean(errors) for angle, errors in found.items()}
    return rows


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*")
    parser.add_argument("--part", choices=PARTS, default="any-angle")
    parser.add_argument("--recipe", default=ANY_ANGLE)
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--data", default="/usr/share/datasets/fashion-mnist", help="of --part mirrored")
    parser.add_argument("--images", type=int, default=100, help="of --part fine")
    parser.add_argument("--out", type=Path, default=Path("runs/rotated"))
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    own = {
        "any-angle": ["plain_twin", "rosette_c4"],
        "upright": ["plain_twin", "rosette_c4", "p4_cnn"],
        "fine": ["plain_twin", "rosette_c4", "rosette_c8"],
        "mirrored": ["lenet5"],
    }
    arguments.models = arguments.models or own[arguments.part]
    arguments.out.mkdir(parents=True, exist_ok=True)
    parts = {"any-angle": any_angle, "upright": upright, "fine": fine, "mirrored": mirrored}
    found = parts[arguments.part](arguments)
    if arguments.json:
        print(json.dumps(found, indent=1))
        return
    for model, row in found.items():
        values = "   ".join(
            f"{key} {value:.4f}" if isinstance(value, float) else f"{key} {value}" for key, value in row.items()
        )
        print(f"{model:12} {values}")


if __name__ == "__main__":
    main()
