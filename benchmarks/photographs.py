"""A few photographs: fine-tuning against the best from scratch, and whether the int8 file says the same.

    python benchmarks/photographs.py                   # three seeds
    python benchmarks/photographs.py --package /       # the package is installed

The images are the cut-out photographs among the stamps of Tux Paint, Debian's `tuxpaint-stamps-default` (GPL-2), got
with `apt-get download` and unpacked with `dpkg -x`; some 210 in seven classes. Drawings are left out: they lie in
folders called `cartoon`, or have few colours. Three of ten images of each class are for testing, others for each
seed; mirrored copies stay with their originals.
"""

import argparse
import csv
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import mean

import numpy as np
from PIL import Image
from processes import answer

PACKAGE = "tuxpaint-stamps-default"
CLASSES = {
    "bird": ["animals/birds"],
    "flower": ["plants/flowers"],
    "fruit": ["food/fruit"],
    "mammal": ["animals/mammals", "animals/marsupials"],
    "money": ["symbols/money"],
    "vegetable": ["food/vegetables"],
    "vehicle": ["vehicles"],
}
COLOURS = 120  # of 32,768: a drawing has fewer
SCRATCH = {"vgg_small": "64x64x3", "resnet8": "64x64x3"}


def is_photograph(file):
    if "cartoon" in str(file):
        return False
    with Image.open(file) as image:
        pixels = np.asarray(image.convert("RGBA"))
    opaque = pixels[pixels[..., 3] > 250][:, :3]
    return len(np.unique(opaque // 8, axis=0)) >= COLOURS


def photographs(stamps):
    """(file, class, group) of every photograph; a stamp and its mirror image are one group."""
    return [
        (file, name, f"{file.parent.name}/{file.stem.removesuffix('_mirror')}")
        for name, folders in CLASSES.items()
        for folder in folders
        for file in sorted((stamps / folder).rglob("*.png"))
        if is_photograph(file)
    ]


def table_of(rows, file, seed):
    from sklearn.model_selection import StratifiedGroupKFold

    _, labels, groups = zip(*rows, strict=True)
    folds = StratifiedGroupKFold(10, shuffle=True, random_state=seed).split(labels, labels, groups)
    tested = {int(i) for _, (_, fold) in zip(range(3), folds, strict=False) for i in fold}
    with open(file, "w", encoding="utf-8", newline="") as out:
        writer = csv.writer(out)
        writer.writerow(("file", "label", "split", "group"))
        writer.writerows((f, n, "test" if i in tested else "train", g) for i, (f, n, g) in enumerate(rows))
    return file


def fetched(folder):
    subprocess.run(["apt-get", "download", PACKAGE], cwd=folder, check=True, stdout=subprocess.DEVNULL)
    (archive,) = folder.glob("*.deb")
    subprocess.run(["dpkg", "-x", archive, folder / "package"], check=True)
    return folder / "package"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--package", type=Path, help="the unpacked package, if it is there already")
    parser.add_argument("--recipe", help="of the fine-tuning; by the number of images if left out")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    results = {}

    def note(way, **metrics):
        for key, value in metrics.items():
            results.setdefault(way, {}).setdefault(key, []).append(value)
        print(way, metrics, file=sys.stderr, flush=True)

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        stamps = (arguments.package or fetched(folder)) / "usr" / "share" / "tuxpaint" / "stamps"
        rows = photographs(stamps)
        print(f"{len(rows)} photographs of {len(CLASSES)} classes", file=sys.stderr)
        for seed in range(arguments.seeds):
            data = table_of(rows, folder / f"{seed}.csv", seed)
            given = ["--data", data, "--seed", seed, "--quiet"]
            tuned = folder / f"tuned-{seed}"
            chosen = ["--recipe", arguments.recipe] if arguments.recipe else []
            got, seconds = answer("finetune", "efficientnet_lite0", *given, *chosen, "--out", tuned)
            note("efficientnet_lite0 fine-tuned", accuracy=got["accuracy"], seconds=seconds)
            file, _ = answer("export", tuned, "--to", "int8", "--budget", "drop=1", "--out", folder / f"{seed}.tflite")
            note("its int8 file", accuracy=file["accuracy_file"], agreement=file["agreement"])
            for model, shape in SCRATCH.items():
                size = ["--input-shape", shape, "--recipe", "small-data"]
                got, seconds = answer("fit", model, *given, *size, "--out", folder / f"{model}-{seed}")
                note(f"{model} from scratch", accuracy=got["accuracy"], seconds=seconds)
    if arguments.json:
        print(json.dumps(results, indent=1))
        return
    for way, metrics in results.items():
        print(f"{way:32} " + "  ".join(f"{key} {mean(values):.4g} {values}" for key, values in metrics.items()))
    scratch = max(mean(metrics["accuracy"]) for way, metrics in results.items() if "scratch" in way)
    ahead = mean(results["efficientnet_lite0 fine-tuned"]["accuracy"]) - scratch
    print(f"fine-tuning is {100 * ahead:.1f} points ahead of the best from scratch (means of {arguments.seeds})")


if __name__ == "__main__":
    main()
