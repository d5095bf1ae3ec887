"""Small and still right: where a plain int8 file falls short of its network, and what mends it.

    python benchmarks/small.py --part plain --runs runs/small
    python benchmarks/small.py --part repair --runs runs/small --budget 0.99 0.005

trains networks that are known to be hard to quantise (hard-swish, depthwise convolutions, squeeze-and-excitation, tanh,
trained briefly, a new head alone) on digits, one seed each (`--seeds 3`: three, and what they come to as median, least
and most), unless there is a run of it in the folder already, exports
each as int8 and as int16x8, and prints accuracy, agreement, and whether the file is within the usual budget. `repair`
exports with a budget of agreement and accuracy lost, and prints what the int8 file was before and is after biases were
corrected, or layers left in float32: how many, at how many bytes more, and how much slower.

    python benchmarks/small.py --part boards --runs runs/small --seeds 1

trains the networks for boards on digits, with a teacher and without, and prints what their int8 files reach on the test
digits. What is in the folder already is not done again: a stopped benchmark goes on.
"""

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

# What is hard, model, recipe, height and width, channels, epochs, further settings.
NETWORKS = {
    "tanh": ("lenet5", "quick", 32, 1, 3, ()),
    "tanh-1998": ("lenet5_1998", "quick", 32, 1, 3, ()),
    "trained-short": ("lenet5", "quick", 32, 1, 1, ()),
    "residual-short": ("resnet8", "quick", 32, 1, 2, ()),
    "depthwise": ("mobilenet_v1", "quick", 32, 1, 8, ("model.options.width=0.25",)),
    "inverted": ("mobilenet_v2", "quick", 32, 1, 8, ("model.options.width=0.35",)),
    "hard-swish": ("keras_mobilenet_v3_small", "quick", 32, 3, 5, ()),
    "squeeze-excitation": ("keras_efficientnet_b0", "quick", 32, 3, 3, ()),
    "inverted-relu6": ("efficientnet_lite0", "quick", 32, 3, 3, ()),
    "group": ("rosette_d4", "quick", 28, 1, 2, ()),
    "scales": ("scale_cnn", "quick", 28, 1, 3, ()),
    "head-only": ("efficientnet_lite0", "head", 64, 3, 10, ()),
}
BOARDS = ("digits-2k", "digits-5k", "digits-10k", "digits-30k")

ANY = {"agreement": 0.0, "drop": 1.0}


def trained(name, folder, seed):
    from recipes.finetune import finetune
    from recipes.fit import fit
    from recipes.run.folder import Run

    if (folder / "metrics.json").is_file():
        return Run.open(folder)
    model, recipe, size, channels, epochs, settings = NETWORKS[name]
    overrides = [f"epochs={epochs}", f"seed={seed}", f"model.input_shape=[{size},{size},{channels}]", *settings]
    begin = finetune if recipe == "head" else fit
    return begin(model, data="digits", out=folder, recipe=recipe, overrides=overrides, overwrite=True, quiet=True).run


def plain(name, run, folder):
    """How far the converter's files are from the network."""
    from recipes.export.handover import export
    from recipes.export.kinds import QUANTISED_BUDGET
    from recipes.export.parity import is_within
    from zoo.errors import FailureError

    row = {"network": name, "model": run.recipe.model.name}
    for kind in ("int8", "int16x8"):
        try:
            result = export(run, to=kind, out=folder / f"{kind}.tflite", budget=ANY, force=True)
        except FailureError:  # HARD_SWISH has no kernel for 16 bits
            row[f"{kind} within"] = "cannot be converted"
            continue
        row |= {
            "accuracy": f"{result.accuracy_keras:.1%}",
            f"{kind} lost, points": round(100 * result.drop, 2),
            f"{kind} agreement": f"{result.agreement:.1%}",
            f"{kind} bytes": result.bytes,
            f"{kind} within": "yes" if is_within(QUANTISED_BUDGET, result) else "NO",
        }
    return row


def repair(name, run, folder, budget):
    """The int8 file before and after it was mended."""
    from recipes.export.handover import export
    from zoo.errors import FailureError

    before = export(run, out=folder / "before.tflite", budget=ANY, force=True)
    start = time.perf_counter()
    try:
        after = export(run, out=folder / "after.tflite", budget=budget, force=True)
    except FailureError as error:
        after, tried = None, getattr(error, "tried", ())
    else:
        tried = after.tried
    best = next((way for way in tried if way["taken"]), None)
    floats = best["way"] if best else "the converter's"
    judged = f"{best['agreement']:.1%} on validation" if best else ""  # symmetric models are not repaired
    return {
        "network": name,
        "model": run.recipe.model.name,
        "accuracy": f"{before.accuracy_keras:.1%}",
        "before: lost, points": round(100 * before.drop, 2),
        "agreement": f"{before.agreement:.1%}",
        "bytes": before.bytes,
        "after": floats if after else f"refused (best: {floats})",
        "after: lost, points": round(100 * after.drop, 2) if after else "",
        "after: agreement": f"{after.agreement:.1%}" if after else judged,
        "more bytes": after.bytes - before.bytes if after else "",
        "latency ratio": round(best["latency_ratio"], 2) if best else 1.0,
        "seconds": round(time.perf_counter() - start),
    }


def together(rows):
    """One row of those of several seeds: `median (least to most)` of numbers, and of words each that there is."""
    row = {}
    for key in max(rows, key=len):
        values = [value for one in rows if (value := one.get(key, "")) != ""]
        try:
            numbers = [float(str(value).removesuffix("%")) for value in values]
            middle, least, most = (f"{f(numbers):.10g}" for f in (statistics.median, min, max))
        except (ValueError, statistics.StatisticsError):
            row[key] = "; ".join(dict.fromkeys(map(str, values)))
        else:
            row[key] = middle if least == most else f"{middle} ({least} to {most})"
    return row


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--part", default="plain", choices=["plain", "repair", "boards"])
    parser.add_argument("--budget", nargs=2, type=float, default=[0.97, 0.01], metavar=("AGREEMENT", "DROP"))
    parser.add_argument("--networks", nargs="*", default=list(NETWORKS), choices=NETWORKS)
    parser.add_argument("--recipes", nargs="*", default=list(BOARDS), choices=BOARDS, help="of boards")
    parser.add_argument("--seeds", type=int, help="how many: 3 of boards, 1 of the others")
    parser.add_argument("--runs", type=Path, help="where the runs are, or are kept; a folder that goes away otherwise")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        runs = arguments.runs or Path(folder)
        runs.mkdir(parents=True, exist_ok=True)
        if arguments.part == "boards":
            from pebbles import table

            rows = table(arguments.recipes, arguments.seeds or 3, runs)
        for name in arguments.networks if arguments.part != "boards" else ():
            found = []
            for seed in range(arguments.seeds or 1):
                called = f"{name}-{seed}" if seed else name
                files = Path(folder, f"{called}-files")
                files.mkdir()
                try:
                    run = trained(name, runs / called, seed)
                    if arguments.part == "plain":
                        found.append(plain(name, run, files))
                    else:
                        budget = dict(zip(("agreement", "drop"), arguments.budget, strict=True))
                        found.append(repair(name, run, files, budget))
                except Exception as error:  # one network that fails must not cost the rows of the others
                    found.append({"network": name, "model": f"{error}"})
                print(found[-1], file=sys.stderr, flush=True)
            rows.append(together(found) if len(found) > 1 else found[0])
    if arguments.json:
        print(json.dumps(rows, indent=1))
        return
    header = max(rows, key=len)
    print(f"| {' | '.join(header)} |\n|{'---|' * len(header)}")
    for row in rows:
        print(f"| {' | '.join(str(row.get(key, '')) for key in header)} |")


if __name__ == "__main__":
    main()
