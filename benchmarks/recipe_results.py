"""What a recipe reaches: accuracy on the test images as they are and changed, the int8 file, and the time.

    python benchmarks/recipe_results.py lenet5 --data digits --recipe digits --seeds 3

Each training is a process of its own, `zoo fit`, timed from start to end.
"""

import argparse
import json
import sys
import tempfile
from pathlib import Path
from statistics import mean, stdev

import numpy as np
from processes import answer


def train(arguments, seed, out):
    words = ["fit", *([arguments.model] if arguments.model else []), "--data", arguments.data, "--quiet"]
    words += ["--out", out, "--seed", seed]
    words += ["--recipe", arguments.recipe] if arguments.recipe else []
    return answer(*words, *(word for setting in arguments.set for word in ("--set", setting)))


# Thirty degrees either way, four pixels in each of the eight directions, and seven tenths of the size.
COMPASS = [(4 * x, 4 * y) for x in (-1, 0, 1) for y in (-1, 0, 1) if x or y]
CHANGES = {
    "rotated +30": [{"angle": 30}],
    "rotated -30": [{"angle": -30}],
    "shifted 4 px": [{"shift_x": x, "shift_y": y} for x, y in COMPASS],
    "scaled 0.7": [{"scale": 0.7}],
}


def accuracies(run):
    """Of the test images under each change, the mean where it has several forms."""
    from recipes.augment.pipeline import affine_matrices
    from recipes.augment.warp import warp

    test, model = run.load_data().test, run.load_model()
    height, width = test.images.shape[1:3]

    def accuracy(change):
        matrix = affine_matrices(**change, height=height, width=width)
        changed = warp(test.images, np.repeat(matrix, len(test), axis=0)).numpy()
        return float((model.predict(changed, verbose=0).argmax(1) == test.labels).mean())

    return {name: mean(accuracy(change) for change in changes) for name, changes in CHANGES.items()}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", nargs="?", help="the recipe's own if left out")
    parser.add_argument("--data", default="digits")
    parser.add_argument("--recipe", help="by the data if left out")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()

    from recipes.export.handover import export
    from recipes.run.folder import Run

    rows = []
    for seed in range(arguments.seeds):
        with tempfile.TemporaryDirectory() as folder:
            metrics, seconds = train(arguments, seed, Path(folder, "run"))
            run = Run.open(Path(folder, "run"))
            int8 = export(run, to="int8", budget={"drop": 1.0})
            rows.append(
                {
                    "seed": seed,
                    "accuracy": metrics["accuracy"],
                    **accuracies(run),
                    "int8 accuracy": int8.accuracy_file,
                    "int8 agreement": int8.agreement,
                    "int8 bytes": int8.bytes,
                    "minutes": seconds / 60,
                }
            )
        print(rows[-1], file=sys.stderr, flush=True)
    metrics = {key: [row[key] for row in rows] for key in rows[0] if key != "seed"}
    summary = {
        key: {"mean": mean(values), "spread": stdev(values) if len(values) > 1 else 0.0, "values": values}
        for key, values in metrics.items()
    }
    if arguments.json:
        print(json.dumps(summary, indent=1))
    else:
        for key, figure in summary.items():
            print(f"{key:16} {figure['mean']:.4f} +- {figure['spread']:.4f}   {figure['values']}")


if __name__ == "__main__":
    main()
