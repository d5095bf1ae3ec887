"""What an export costs and what it keeps: size, agreement, accuracy and latency of nets trained briefly on digits.

    python benchmarks/export.py --models lenet5 resnet8 --epochs 3

Latencies are ratios, measured in turn on one thread: our float32 file to the same net exported by Keras as it is
(`model.export(format="litert")`), and our int8 file to our float32 file.
"""

import argparse
import json
import os
import sys
import tempfile
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

MODELS = ("lenet5", "all_cnn_c", "vgg_small", "resnet8", "nin")


def measure(name, arguments, folder):
    import keras

    from recipes.benchmark import benchmark
    from recipes.export import export
    from recipes.fit import fit
    from recipes.quiet import native_output_hidden

    overrides = [f"epochs={arguments.epochs}"]
    if arguments.size:
        overrides.append(f"model.input_shape=[{arguments.size},{arguments.size},1]")
    run = fit(name, data="digits", out=folder / name, recipe=arguments.recipe, overrides=overrides, quiet=True).run
    files = {kind: export(run, to=kind, budget={"drop": 1.0, "agreement": 0.0}) for kind in ("float32", "int8")}
    model, plain = run.load_model(), folder / f"{name}-plain.tflite"
    signature = [keras.InputSpec(shape=(1, *model.input_shape[1:]), dtype="float32")]
    with native_output_hidden():
        model.export(plain, format="litert", input_signature=signature, verbose=False)
    times = benchmark([plain, files["float32"].file, files["int8"].file], threads=[1], repeats=arguments.repeats)
    return {
        "model": name,
        "parameters": model.count_params(),
        "accuracy keras": files["int8"].accuracy_keras,
        **{f"{kind} {key}": getattr(result, key) for kind, result in files.items() for key in ("bytes", "agreement")},
        "int8 drop, points": round(100 * files["int8"].drop, 2),
        "float32 / plain export": round(times[1].ratio, 3),
        "int8 / float32": round(times[2].median_ms / times[1].median_ms, 3),
        "float32 ms": round(times[1].median_ms, 4),
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="*", default=MODELS)
    parser.add_argument("--recipe", default="quick")
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--size", type=int, help="another height and width of the pictures")
    parser.add_argument("--repeats", type=int, default=500)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    rows = []
    for name in arguments.models:
        with tempfile.TemporaryDirectory() as folder:
            rows.append(measure(name, arguments, Path(folder)))
        print(rows[-1], file=sys.stderr, flush=True)
    if arguments.json:
        print(json.dumps(rows, indent=1))
        return
    for key in rows[0]:
        print(f"{key:24}", *(f"{row[key]:>12}" for row in rows))


if __name__ == "__main__":
    main()
