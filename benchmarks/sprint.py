"""What a sprint recipe is made of, and how much sooner it ends than the recipe that it shortens.

    python benchmarks/sprint.py                     # each ingredient left out or exchanged, three seeds
    python benchmarks/sprint.py --part time         # both recipes in turn

ablation: the best accuracy on the validation digits, of which the test digits are no part; the mean over seeds, what
    it differs by from the recipe's, seed by seed, and seconds of processors.
time: seconds of `zoo fit` from start to end, of the clock and of processors, beside digits-lenet, round after round.

Trainings are kept in --out, and not done again.
"""

import argparse
import json
import statistics
import sys
import tempfile
from functools import partial
from pathlib import Path

from processes import finished

RECIPE, LONGER = "digits-sprint", "digits-lenet"
CHANGES = {
    "as it is": [],
    "half the epochs": ["epochs=10"],
    "augmentation of digits": ["augment=digits"],
    "no augmentation": ["augment=none"],
    "no averaged weights": ["optimizer.ema=0"],
    "cosine schedule": ["schedule.name=cosine", "schedule.warmup_epochs=1"],
    "no label smoothing": ["label_smoothing=0"],
    "sgd": ["optimizer.name=sgd", "optimizer.learning_rate=0.1", "optimizer.weight_decay=0", "optimizer.l2=5e-4"],
    "lion": ["optimizer.name=lion", "optimizer.learning_rate=4e-4"],
    "batches of 128": ["batch_size=128"],
    "mean in place of gem": ["model.pooling=average"],
    "bfloat16": ["precision=mixed_bfloat16"],
}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--part", choices=["ablation", "time"], default="ablation")
    parser.add_argument("--only", nargs="+", choices=list(CHANGES), default=list(CHANGES), metavar="CHANGE")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--set", action="append", default=[], dest="settings", help="of every training")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    said = sys.stderr if arguments.json else sys.stdout
    with tempfile.TemporaryDirectory() as folder:
        out = arguments.out or Path(folder)
        part = ablation if arguments.part == "ablation" else times
        result = part(arguments, out, partial(print, file=said, flush=True))
    if arguments.json:
        print(json.dumps(result, indent=1))


def trained(recipe, settings, folder):
    """What a training took, and its run: seconds of the clock and of processors, and the best validation accuracy."""
    kept = folder / "took.json"
    if not kept.is_file():
        words = [word for setting in settings for word in ("--set", setting)]
        command = [sys.executable, "-m", "cli", "fit", "--data", "digits", "--recipe", recipe, *words, "--quiet"]
        ended = finished([*command, "--overwrite", "--out", str(folder)], cwd=Path(__file__).parents[1])
        if ended.code:
            raise SystemExit(ended.errors)
        seconds = {"clock": ended.seconds, "processors": ended.processors}
        kept.write_text(json.dumps(seconds))

    from recipes.run.folder import Run

    best = max(row["val_accuracy"] for row in Run.open(folder).history)
    return json.loads(kept.read_text()) | {"accuracy": best}


def ablation(arguments, out, say):
    rows, plain = [], []
    say("| change | validation, % | beside the recipe, points, by seed | processor seconds |\n|---|---:|---|---:|")
    for change in dict.fromkeys(["as it is", *arguments.only]):
        seeds = range(arguments.seeds)
        found = [
            trained(
                RECIPE,
                [*CHANGES[change], *arguments.settings, f"seed={seed}"],
                out / f"{change.replace(' ', '-')}-{seed}",
            )
            for seed in seeds
        ]
        plain = plain or found
        row = {
            "change": change,
            "accuracy": statistics.mean(one["accuracy"] for one in found),
            "beside": [100 * (one["accuracy"] - other["accuracy"]) for one, other in zip(found, plain, strict=True)],
            "seconds": statistics.median(one["processors"] for one in found),
        }
        rows.append(row)
        beside = ", ".join(f"{points:+.1f}" for points in row["beside"]) if change != "as it is" else ""
        say(f"| {change} | {row['accuracy']:.1%} | {beside} | {row['seconds']:.0f} |".replace("%", " %"))
    return rows


def times(arguments, out, say):
    ratios = {"clock": [], "processors": []}
    for number in range(arguments.rounds):
        pair = [trained(recipe, arguments.settings, out / f"{recipe}-{number}") for recipe in (RECIPE, LONGER)]
        for kind, values in ratios.items():
            values.append(pair[0][kind] / pair[1][kind])
            say(f"{kind}: {RECIPE} {pair[0][kind]:.0f} s, {LONGER} {pair[1][kind]:.0f} s")
    for kind, values in ratios.items():
        say(f"{kind}: {statistics.median(values):.2f} ({min(values):.2f} to {max(values):.2f}) of {LONGER}'s seconds")
    return ratios


if __name__ == "__main__":
    main()
