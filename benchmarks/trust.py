"""Whether what a model says of itself is true: its probabilities, its thresholds, and images that it does not know.

    python benchmarks/trust.py --fashion /usr/share/datasets/fashion-mnist                     # calibration
    python benchmarks/trust.py --fashion /usr/share/datasets/fashion-mnist --part precision
    python benchmarks/trust.py --fashion /usr/share/datasets/fashion-mnist --part unknown
    python benchmarks/trust.py --fashion /usr/share/datasets/fashion-mnist --part exposed --emoji package

Runs of digits and of Fashion-MNIST are kept in `--out`; those that are there are not trained again. Temperatures and
thresholds are fitted on validation images, and everything is measured on test images. `int8 again` is the int8 file
with a temperature of its own on top; `chance int8` is the calibration error of probabilities that are right, spread as
the int8 file's are: mean, 5 and 95 % of a thousand draws.

`precision` resamples: of the test images a sample is drawn with replacement, a threshold is chosen on it, and held
against all test images; and again with one half of them against the other half.

`exposed` trains LeNet-5 against unknown images, digits against Fashion-MNIST's and the reverse, and beside it the same
without; both are tested on unknown images of the kind that it was trained against, and on emoji, which neither has seen
(npm's `emoji-datasource-google`, see transfer.py).
"""

import argparse
import json
import sys
from pathlib import Path

import numpy as np

# Small nets that are seen converge: epochs so that a run takes a minute or three.
RUNS = {
    "digits lenet5": ("digits", "lenet5", "digits-lenet", ("epochs=20",)),
    "digits vgg": ("digits", None, "digits-vgg", ("epochs=15",)),
    "fashion lenet5": ("fashion", "lenet5", "digits-lenet", ("epochs=6", "augment=none")),
    "fashion smoothed": ("fashion", "lenet5", "digits-lenet", ("epochs=6", "augment=none", "label_smoothing=0.1")),
}

HALF_STEP = 1 / 512  # of an int8 score, for those that are 0


def run_of(name, seed, arguments, *, exposed=False):
    """A finished run: the one in its folder, or a new one; `exposed` to the unknown images of the other set."""
    from recipes.fit import fit
    from recipes.run.folder import Run

    folder = arguments.out / f"{name.replace(' ', '-')}{'-exposed' * exposed}-{seed}"
    if (folder / "metrics.json").exists():
        return Run.open(folder)
    print(f"{folder}", file=sys.stderr, flush=True)
    source, model, recipe, settings = RUNS[name]
    data = arguments.fashion if source == "fashion" else source
    overrides = [*settings, f"seed={seed}"]
    if exposed:
        overrides.append(f"unknown.source={other_than(source, arguments)}")
    return fit(model, data=data, recipe=recipe, overrides=overrides, out=folder, overwrite=True, quiet=True).run


def int8_of(run):
    from recipes.export.handover import export
    from recipes.tflite.file import TFLiteFile

    file = run.path / f"{run.recipe.model.name}-int8.tflite"
    if not file.exists():
        export(run, to="int8")
    return TFLiteFile(file)


def calibration(arguments):
    """Calibration error, Brier score and loss of the test images before and after, and of the int8 file as it is."""
    from recipes.tasks.calibration import fit_temperature, reheated
    from recipes.tasks.metrics import calibration, calibration_error, log_loss

    rows = {}
    for seed in range(arguments.seeds):
        for name in arguments.runs:
            run = run_of(name, seed, arguments)
            metrics, data, file = run.metrics, run.load_data(), int8_of(run)
            row = {"temperature": metrics["calibration"]["temperature"], "accuracy": metrics["accuracy"]}
            for state, found in (("before", metrics["calibration"]["before"]), ("after", metrics)):
                row |= {f"{key} {state}": found[key] for key in ("calibration_error", "brier_score", "loss")}
            test, scores = data.test, file.predict(data.test.images)
            found = calibration(test.labels, scores) | {"loss": log_loss(test.labels, scores)}
            row["accuracy int8"] = float((scores.argmax(1) == test.labels).mean())
            row |= {f"{key} int8": found[key] for key in ("calibration_error", "brier_score", "loss")}
            validation = np.maximum(file.predict(data.validation.images), HALF_STEP)
            row["temperature int8"] = fit_temperature(np.log(validation), data.validation.labels)
            again = reheated(np.maximum(scores, HALF_STEP), row["temperature int8"])
            row |= {"calibration_error int8 again": calibration_error(test.labels, again)}
            row |= dict(zip(("chance int8", "chance int8, 5 %", "chance int8, 95 %"), by_chance(scores), strict=True))
            rows[f"{name} {seed}"] = row
            print(f"{name} {seed}", {key: round(value, 4) for key, value in row.items()}, file=sys.stderr, flush=True)
    return rows


def by_chance(scores, times=1000):
    """Calibration errors where each prediction is right with the probability that it has: their mean, 5 and 95 %."""
    from recipes.tasks.metrics import calibration_error

    random, best = np.random.default_rng(0), scores.max(1)
    pairs = np.stack([best, np.zeros_like(best)], axis=1)
    found = [calibration_error((random.random(len(best)) >= best).astype(int), pairs) for _ in range(times)]
    return np.mean(found), *np.quantile(found, [0.05, 0.95])


def precision(arguments):
    """How often a threshold keeps the precision that it was chosen for, and what it leaves."""
    from recipes.tasks.selective import choose_threshold

    rows = {}
    for name in arguments.runs:
        run = run_of(name, 0, arguments)
        test, model, file = run.load_data().test, run.load_model(), int8_of(run)
        for what, predict in (("Keras", lambda images: model.predict(images, verbose=0)), ("int8", file.predict)):  # noqa: B023
            scores = predict(test.images)
            best, right = scores.max(1), scores.argmax(1) == test.labels
            for wanted in arguments.precision:
                rows[f"{name} {what} {wanted}"] = resampled(choose_threshold, best, right, wanted, arguments.times)
    return rows


def resampled(choose, best, right, wanted, times):
    """Of many samples: in how many a threshold was found, and of all in how many the precision does not hold."""
    random, count = np.random.default_rng(0), len(best)
    row = {"found": 0, "broken": 0, "coverage": [], "found in halves": 0, "broken in halves": 0}
    for _ in range(times):
        sample, mixed = random.integers(0, count, count), random.permutation(count)
        half, rest = mixed[: count // 2], mixed[count // 2 :]
        for rows, judged, end in ((sample, np.arange(count), ""), (half, rest, " in halves")):
            chosen = choose(best[rows], right[rows], wanted)
            if chosen is None:
                continue
            given = best[judged] >= chosen.value
            row[f"found{end}"] += 1
            row[f"broken{end}"] += bool(given.any() and right[judged][given].mean() < wanted)
            if not end:
                row["coverage"].append(float(given.mean()))
    return row | {"times": times, "coverage": float(np.mean(row["coverage"])) if row["coverage"] else 0.0}


def unknown(arguments):
    """How well the test images of digits and of Fashion are told apart by models of one of them."""
    from recipes.evaluate import evaluate

    rows = {}
    for seed in range(arguments.seeds):
        for name in arguments.runs:
            other = other_than(RUNS[name][0], arguments)
            run = run_of(name, seed, arguments)
            for key, found in evaluate(run, unknown=other)["unknown"]["by"].items():
                rows[f"{name} {seed} {key}"] = found
    return rows


def other_than(source, arguments):
    return arguments.fashion if source == "digits" else "digits"


def exposed(arguments):
    """Accuracy, and how well unknown images are told apart, with and without others to learn against."""
    from transfer import table_of

    from recipes.evaluate import evaluate

    emoji = table_of(arguments.emoji, arguments.out / "emoji.csv", base=True)
    rows = {}
    for seed in range(arguments.seeds):
        for name in ("digits lenet5", "fashion lenet5"):
            for trained in (False, True):
                run = run_of(name, seed, arguments, exposed=trained)
                row = {"accuracy": run.metrics["accuracy"]}
                for what, source in (("other set", other_than(RUNS[name][0], arguments)), ("emoji", str(emoji))):
                    found = evaluate(run, unknown=source, skip_bad=True)["unknown"]["by"]
                    row |= {f"{what}, {key}": found[key]["auroc"] for key in ("maximum probability", "energy")}
                rows[f"{name}{' exposed' * trained} {seed}"] = row
                print(row, file=sys.stderr, flush=True)
    return rows


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="*", default=list(RUNS), help="of " + ", ".join(RUNS))
    parser.add_argument("--part", choices=["calibration", "precision", "unknown", "exposed"], default="calibration")
    parser.add_argument("--fashion", default="/usr/share/datasets/fashion-mnist", help="the folder of Fashion-MNIST")
    parser.add_argument("--emoji", type=Path, default=Path("package"), help="the unpacked package, for --part exposed")
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--times", type=int, default=100, help="samples of --part precision")
    parser.add_argument("--precision", type=float, nargs="*", default=[0.99, 0.97, 0.95])
    parser.add_argument("--out", type=Path, default=Path("runs/trust"))
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    parts = {"calibration": calibration, "precision": precision, "unknown": unknown, "exposed": exposed}
    found = parts[arguments.part](arguments)
    if arguments.json:
        print(json.dumps(found, indent=1))
        return
    for name, row in found.items():
        print(name)
        print(" ", ", ".join(f"{key} {value:.4g}" for key, value in row.items()), flush=True)


if __name__ == "__main__":
    main()
