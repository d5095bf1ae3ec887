"""What an export costs and what it keeps: size, agreement, accuracy and latency of nets trained briefly on digits.

    python benchmarks/export.py --runs runs/export

trains each net into a folder of `runs/export`, unless there is a run of it there already, exports it as float32 and
int8, and prints the table. Latencies are ratios, measured in turn on one thread: our float32 file to the same net
exported by Keras as it is (`model.export(format="litert")`, float input), and our int8 file to our float32 file.
"""

import argparse
import json
import os
import sys
import tempfile
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

# Recipe, height and width, epochs, learning rate. The heads of these nets take images of any size: those that need
# 200 million multiply-adds and more for 32x32 get smaller ones, and are trained in minutes.
MODELS = {
    "lenet5": ("digits", 32, 25, 4e-3),
    "all_cnn_c": ("quick", 20, 15, 1e-3),
    "vgg_small": ("quick", 32, 5, 2e-3),
    "resnet8": ("quick", 32, 8, 2e-3),
    "nin": ("quick", 20, 8, 1e-3),
    "efficientnet_lite0": ("last-stage", 64, 10, 3e-3),  # fine-tuned from ImageNet
}


def trained(name, folder):
    from recipes.finetune import finetune
    from recipes.fit import fit
    from recipes.run.folder import Run

    if (folder / "model.keras").is_file():
        return Run.open(folder)
    recipe, size, epochs, rate = MODELS[name]
    overrides = [f"epochs={epochs}", f"optimizer.learning_rate={rate}", "schedule.name=cosine"]
    if recipe == "last-stage":
        overrides.append(f"model.input_shape=[{size},{size},3]")
        return finetune(name, data="digits", out=folder, recipe=recipe, overrides=overrides, quiet=True).run
    overrides.append(f"model.input_shape=[{size},{size},1]")
    return fit(name, data="digits", out=folder, recipe=recipe, overrides=overrides, quiet=True).run


def measure(run, folder, repeats):
    import keras

    from recipes.export.handover import export
    from recipes.support.quiet import native_output_hidden
    from recipes.tflite.latency import benchmark

    any_result = {"drop": 1.0, "agreement": 0.0}
    ours = {k: export(run, to=k, out=folder / f"{k}.tflite", budget=any_result) for k in ("float32", "int8")}
    model, plain = run.load_model(), folder / "plain.tflite"
    signature = [keras.InputSpec(shape=(1, *model.input_shape[1:]), dtype="float32")]
    with native_output_hidden():
        model.export(plain, format="litert", input_signature=signature, verbose=False)
    times = benchmark([plain, *(result.file for result in ours.values())], threads=[1], repeats=repeats)
    return {
        "model": run.recipe.model.name,
        "input": "x".join(map(str, model.input_shape[1:])),
        "parameters": model.count_params(),
        "float32 bytes": ours["float32"].bytes,
        "int8 bytes": ours["int8"].bytes,
        "accuracy keras": ours["int8"].accuracy_keras,
        "float32 agreement": ours["float32"].agreement,
        "int8 agreement": ours["int8"].agreement,
        "int8 drop, points": round(100 * ours["int8"].drop, 2),
        "float32 / plain": round(times[1].ratio, 3),
        "int8 / float32": round(times[2].median_ms / times[1].median_ms, 3),
        "float32 ms": round(times[1].median_ms, 4),
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="*", default=list(MODELS), choices=MODELS)
    parser.add_argument("--runs", type=Path, help="where the runs are, or are kept; a folder that goes away otherwise")
    parser.add_argument("--repeats", type=int, default=500)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        runs = arguments.runs or Path(folder)
        runs.mkdir(parents=True, exist_ok=True)
        for name in arguments.models:
            files = Path(folder, f"{name}-files")
            files.mkdir()
            rows.append(measure(trained(name, runs / name), files, arguments.repeats))
            print(rows[-1], file=sys.stderr, flush=True)
    if arguments.json:
        print(json.dumps(rows, indent=1))
        return
    print(f"| {' | '.join(rows[0])} |\n|{'---|' * len(rows[0])}")
    for row in rows:
        print(f"| {' | '.join(f'{value:,}' if isinstance(value, int) else str(value) for value in row.values())} |")


if __name__ == "__main__":
    main()
