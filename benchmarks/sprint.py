"""What a sprint recipe is made of, and how much sooner it ends than the recipe that it shortens.

    python benchmarks/sprint.py                     # each ingredient left out or exchanged, three seeds
    python benchmarks/sprint.py --part time         # both recipes in turn
    python benchmarks/sprint.py --recipe fashion-sprint --data /usr/share/datasets/fashion-mnist --part time

ablation: the best accuracy on the validation images, of which the test images are no part; the mean over seeds, what
    it differs by from the recipe's, seed by seed, and seconds of processors.
time: seconds of `zoo fit` from start to end, of the clock and of processors, beside the recipe that it shortens
    (digits-lenet, fashion), round after round.

Trainings are kept in --out, and not done again.
"""

import argparse
import json
import statistics
import sys
import tempfile
from functools import partial
from pathlib import Path

from processes import ZOO, finished

DIGITS = {
    "as it is": [],
    "half the epochs": ["epochs=10"],
    "augmentation of digits": ["augment=digits"],
    "no augmentation": ["augment=none"],
    "no averaged weights": ["optimizer.ema=0"],
    "cosine schedule": ["schedule.name=cosine", "schedule.warmup_epochs=1"],
    "no label smoothing": ["label_smoothing=0"],
    "sgd": ["optimizer.name=sgd", "optimizer.learning_rate=0.1", "optimizer.weight_decay=0", "optimizer.l2=5e-4"],
    "lion": ["optimizer.name=lion", "optimizer.learning_rate=4e-4"],
    "muon": ["optimizer.name=muon"],
    "batches of 128": ["batch_size=128"],
    "mean in place of gem": ["model.pooling=average"],
    "bfloat16": ["precision=mixed_bfloat16"],
}
FASHION = {
    "as it is": [],
    "adamw": ["optimizer.name=adamw"],
    "shifts too": ["augment=cifar"],
    "no augmentation": ["augment=none"],
    "no averaged weights": ["optimizer.ema=0"],
    "no label smoothing": ["label_smoothing=0"],
    "gem in place of mean": ["model.pooling=gem"],
    "bfloat16": ["precision=mixed_bfloat16"],
}
CHANGES = {"digits-sprint": DIGITS, "fashion-sprint": FASHION}
LONGER = {"digits-sprint": "digits-lenet", "fashion-sprint": "fashion"}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--part", choices=["ablation", "time"], default="ablation")
    parser.add_argument("--recipe", choices=list(CHANGES), default="digits-sprint")
    parser.add_argument("--data", default="digits")
    parser.add_argument("--only", nargs="+", choices=[*dict.fromkeys([*DIGITS, *FASHION])], metavar="CHANGE")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--set", action="append", default=[], dest="settings", help="of every training")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    if wrong := sorted(set(arguments.only or []) - set(CHANGES[arguments.recipe])):
        parser.error(
            f"{wrong[0]!r} is no change of {arguments.recipe}; allowed: {', '.join(CHANGES[arguments.recipe])}."
        )
    said = sys.stderr if arguments.json else sys.stdout
    with tempfile.TemporaryDirectory() as folder:
        out = arguments.out or Path(folder)
        part = ablation if arguments.part == "ablation" else times
        result = part(arguments, out, partial(print, file=said, flush=True))
    if arguments.json:
        print(json.dumps(result, indent=1))


def trained(data, recipe, settings, folder):
    """What a training took, and its run: seconds of the clock and of processors, and the best validation accuracy."""
    kept = folder / "took.json"
    if not kept.is_file():
        words = [word for setting in settings for word in ("--set", setting)]
        command = [*ZOO, "fit", "--data", data, "--recipe", recipe, *words, "--quiet"]
        ended = finished([*command, "--overwrite", "--out", str(folder)], cwd=Path(__file__).parents[1])
        if ended.code:
            raise SystemExit(ended.errors)
        seconds = {"clock": ended.seconds, "processors": ended.processors}
        kept.write_text(json.dumps(seconds))

    from recipes.run.folder import Run

    best = max(row["val_accuracy"] for row in Run.open(folder).history)
    return json.loads(kept.read_text()) | {"accuracy": best}


def ablation(arguments, out, say):
    rows, plain, changes = [], [], CHANGES[arguments.recipe]
    say("| change | validation, % | beside the recipe, points, by seed | processor seconds |\n|---|---:|---|---:|")
    for change in dict.fromkeys(["as it is", *(arguments.only or changes)]):
        seeds = range(arguments.seeds)
        found = [
            trained(
                arguments.data,
                arguments.recipe,
                [*changes[change], *arguments.settings, f"seed={seed}"],
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
    ratios, recipe, longer = {"clock": [], "processors": []}, arguments.recipe, LONGER[arguments.recipe]
    for number in range(arguments.rounds):
        pair = [
            trained(arguments.data, name, arguments.settings, out / f"{name}-{number}") for name in (recipe, longer)
        ]
        for kind, values in ratios.items():
            values.append(pair[0][kind] / pair[1][kind])
            say(f"{kind}: {recipe} {pair[0][kind]:.0f} s, {longer} {pair[1][kind]:.0f} s")
        say(f"validation: {pair[0]['accuracy']:.1%} and {pair[1]['accuracy']:.1%}".replace("%", " %"))
    for kind, values in ratios.items():
        say(f"{kind}: {statistics.median(values):.2f} ({min(values):.2f} to {max(values):.2f}) of {longer}'s seconds")
    return ratios


if __name__ == "__main__":
    main()
