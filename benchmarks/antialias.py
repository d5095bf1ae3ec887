"""What a blur before subsampling, and subsampling that follows shifts exactly, bring: shift consistency and accuracy.

    python benchmarks/antialias.py                                     # digits: 3 models, 3 ways, 3 seeds
    python benchmarks/antialias.py --data /usr/share/datasets/fashion-mnist
    python benchmarks/antialias.py resnet8 --ways plain polyphase --files  # of int8 files too

Images of 28x28 stand in the middle of 32x32, with zeros around. All are trained alike, without augmentation: nothing
but the network knows of shifts. Digits: the embedded ones (3,500 to train, 500 to validate, 1,000 to test), 8 epochs;
a folder in the format of MNIST: 4,000 to train and 1,000 to validate, drawn with a fixed seed, and the first 1,000 of
its test images, 6 epochs. `vgg_small` has a width of 16, `mobilenet_v2` of 0.35.

Consistency is how often two random shifts of an image get the same class (Zhang 2019, section 4.1), over 8 pairs of
shifts with a fixed seed: `shift` moves by at most 2 pixels each way, which moves nothing over the edge; `circular` by
any number of pixels, what leaves on one side coming in on the other. Runs are kept in `--out`; those that are there are
not trained again.
"""

import argparse
import json
import sys
from functools import cache
from pathlib import Path
from statistics import mean, stdev

import numpy as np

import zoo
from recipes.data.readers import READERS, Arrays, MemoryReader

WAYS = {
    "plain": {},
    "antialias": {"antialias": True},
    "polyphase": {"polyphase": True},
    "both": {"antialias": True, "polyphase": True},
}
MODELS = {"resnet8": {}, "vgg_small": {"width": 16}, "mobilenet_v2": {"width": 0.35}}
SHAPE = (32, 32, 1)
PAIRS = 8
PREFIX = "framed:"


class Framed(MemoryReader):
    """Images of 28x28 in the middle of 32x32; of a large set, a part."""

    called = "framed:DATA"

    @property
    def is_name(self):
        return self.source.startswith(PREFIX)

    def is_there(self):
        return self.is_name

    def read(self):
        from recipes.data import load

        data, most, random = load(self.source.removeprefix(PREFIX), quiet=True), {}, np.random.default_rng(2019)
        if len(data.train) > 4000:
            most = {"train": 4000, "validation": 1000, "test": 1000}
        parts = {}
        for part, split in data.parts.items():
            count = min(most.get(part, len(split)), len(split))
            chosen = np.arange(count) if part == "test" else np.sort(random.permutation(len(split))[:count])
            images = np.pad(np.asarray(split.images)[chosen], [(0, 0), (2, 2), (2, 2), (0, 0)])
            parts[part] = images, np.asarray(split.labels, np.int64)[chosen]
        return Arrays(parts, data.class_names)


READERS.insert(0, Framed)


def run_of(model, way, data, epochs, seed, out):
    """A finished run: the one in its folder, or a new one."""
    from recipes.fit import fit
    from recipes.run.folder import Run

    folder = out / f"{model}-{way}-{Path(data).name}-{seed}"
    if (folder / "metrics.json").exists():
        return Run.open(folder)
    print(folder, file=sys.stderr, flush=True)
    options = MODELS.get(model, {}) | WAYS[way]
    settings = [f"model.options.{name}={json.dumps(value)}" for name, value in options.items()]
    settings += [f"epochs={epochs}", f"seed={seed}", "model.pooling=average", f"model.input_shape={list(SHAPE)}"]
    settings += ["augment=none", "schedule.name=cosine", "model.hidden=[]"]
    recipe = {"recipe": "quick", "overrides": settings, "out": folder}
    return fit(model, data=PREFIX + data, overwrite=True, quiet=True, **recipe).run


@cache
def pairs(most):
    """Two shifts each, (down, right)."""
    return np.random.default_rng(PAIRS).integers(-most, most + 1, (PAIRS, 2, 2)).tolist()


def consistency(predict, images, most):
    """How often two shifts get the same class."""
    found = []
    for pair in pairs(most):
        one, other = (predict(np.roll(images, shift, (1, 2))).argmax(1) for shift in pair)
        found.append(float((one == other).mean()))
    return mean(found)


def measured(run, *, files):
    """Accuracy and consistencies of a run, from a file beside it where they were measured before."""
    kept = run.path / "consistency.json"
    found = json.loads(kept.read_text("utf-8")) if kept.exists() else {}
    images = run.load_data().test.images
    if "shift" not in found:
        model = run.load_model()

        def predict(images):
            return model.predict(images, batch_size=250, verbose=0)

        found |= {"accuracy": run.metrics["accuracy"]}
        found |= {"shift": consistency(predict, images, 2), "circular": consistency(predict, images, 16)}
    if files and "int8 circular" not in found:
        from recipes.evaluate.symmetry import measure_symmetry
        from recipes.export import export
        from recipes.tflite.file import TFLiteFile

        file = run.path / "model-int8.tflite"
        export(run, to="int8", out=file)
        predict = TFLiteFile(file).predict
        found |= {"int8 shift": consistency(predict, images, 2), "int8 circular": consistency(predict, images, 16)}
        found |= {"int8 largest change": measure_symmetry(predict, images, "shift").largest}
    kept.write_text(json.dumps(found), "utf-8")
    return found


def row_of(model, way, arguments):
    seeds = range(arguments.first_seed, arguments.first_seed + arguments.seeds)
    runs = [run_of(model, way, arguments.data, arguments.epochs, seed, arguments.out) for seed in seeds]
    found = [measured(run, files=arguments.files) for run in runs]
    anatomy = zoo.describe(model, input_shape=SHAPE, pooling="average", hidden=(), **MODELS.get(model, {}), **WAYS[way])
    row = {"parameters": anatomy.parameters, "macs": anatomy.macs, "seeds": len(runs)}
    for name in found[0]:
        values = [one[name] for one in found if name in one]
        row[name] = mean(values)
        row[f"{name} spread"] = stdev(values) if len(values) > 1 else 0.0
    return row


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", default=list(MODELS))
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=["plain", "antialias", "polyphase"])
    parser.add_argument("--data", default="digits")
    parser.add_argument("--epochs", type=int)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--files", action="store_true", help="also measure int8 files")
    parser.add_argument("--out", type=Path, default=Path("runs/antialias"))
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    arguments.epochs = arguments.epochs or (8 if arguments.data == "digits" else 6)
    arguments.out.mkdir(parents=True, exist_ok=True)
    rows = {}
    for model in arguments.models:
        for way in arguments.ways:
            row = rows[f"{model} {way}"] = row_of(model, way, arguments)
            if not arguments.json:
                values = (
                    f"{key} {value:.4f}" if isinstance(value, float) else f"{key} {value}" for key, value in row.items()
                )
                print(f"{model:12} {way:10} {'   '.join(values)}", flush=True)
    if arguments.json:
        print(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
