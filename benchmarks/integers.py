"""Quantisation-aware training: what it keeps, and whether its file is the same network.

    python benchmarks/integers.py resnet8 vgg_small --out runs/integers

trains each model on the digits by `quick`, goes on from that run by `qat` with weights of eight bits and of four, and
writes the int8 file of all three. A run that is in the folder is not trained again.

- accuracy: of the model in Keras, and of the file, on the test images.
- within a step: test images of which no score in the file is further from the model's than one step of the output.
- agreement: test images whose first class is the same.
"""

import argparse
import os
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

STEP = 1.01 / 256  # of a score, which is a share


def trained(make, folder):
    from recipes.run.folder import Run

    if not (folder / "metrics.json").is_file():
        make(folder)
    return Run.open(folder)


def row(name, run, folder):
    """A line of the table, from a run."""
    import numpy as np

    from recipes.export import convert
    from recipes.tflite.file import TFLiteFile

    model, data = run.load_model(), run.load_data()
    file = folder / f"{name}.tflite"
    file.write_bytes(convert(model, "int8", data.train))
    ours, theirs = (
        np.asarray(scores)
        for scores in (model.predict(data.test.batches(64), verbose=0), TFLiteFile(file).predict(data.test.images))
    )
    right = [100 * (scores.argmax(axis=1) == data.test.labels).mean() for scores in (ours, theirs)]
    within = 100 * (np.abs(ours - theirs).max(axis=1) < STEP).mean()
    agreement = 100 * (ours.argmax(axis=1) == theirs.argmax(axis=1)).mean()
    size = f"{file.stat().st_size:,}"
    return f"| {name} | {right[0]:.1f} % | {right[1]:.1f} % | {within:.1f} % | {agreement:.1f} % | {size} |"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="+")
    parser.add_argument("--data", default="digits")
    parser.add_argument("--set", action="append", default=[], dest="settings", help="of the recipe of the first run")
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()

    from recipes.finetune import finetune
    from recipes.fit import fit

    arguments.out.mkdir(parents=True, exist_ok=True)
    always = {"quiet": True, "overwrite": True}
    print(
        "| run | accuracy | of the file | within a step | agreement | bytes |\n|---|---:|---:|---:|---:|---:|",
        flush=True,
    )
    for model in arguments.models:
        first = {"data": arguments.data, "recipe": "quick", "overrides": arguments.settings, **always}
        source = trained(lambda out, m=model, given=first: fit(m, out=out, **given), arguments.out / model)
        print(row(model, source, arguments.out), flush=True)
        for bits in ("int8", "int4"):
            given = {"recipe": "qat", "overrides": [f"finetune.quantize={bits}"], **always}
            name = f"{model}-{bits}"
            run = trained(lambda out, s=source, g=given: finetune(s.path, out=out, **g), arguments.out / name)
            print(row(name, run, arguments.out), flush=True)


if __name__ == "__main__":
    main()
