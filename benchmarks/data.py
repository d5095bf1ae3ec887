"""What is claimed about reading images: `python benchmarks/data.py [--json]`, about three minutes on two cores.

Both sides of a ratio run in turn, in the same process, so that a noisy machine disturbs both; what is printed are the
median, the least and the largest of the ratios of each round. The images are JPEGs cut from the two photographs that
scikit-learn ships. Nothing is left behind.

doctor: examining files (decoding, digest, thumbnail) against merely decoding them with Pillow, two threads each.
feeding: the second and later epochs of a folder at its own size, reshuffled each time, against
    `keras.utils.image_dataset_from_directory` uncached, as it comes; once in memory, once mapped from disk.
memory: the largest resident set of a process that examines the files, and of one that reads them for a training with
    images mapped from disk, less what it takes to import what they need.
many (`--many 10000 100000 1000000`, 4.5 GB of disk): the same of examining so many PNGs of 8x8 pixels.
"""

import argparse
import json
import os
import shutil
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
sys.path.insert(0, str(Path(__file__).parents[1]))

import numpy as np
from processes import peak

SIDE = 256


def photographs(folder: Path, count: int) -> Path:
    """A folder of two classes with so many JPEGs, all different."""
    from PIL import Image
    from sklearn.datasets import load_sample_images

    random = np.random.default_rng(0)
    sources = [Image.fromarray(image) for image in load_sample_images().images]
    for number in range(count):
        image = sources[number % 2]
        x, y = random.integers(0, image.width - SIDE), random.integers(0, image.height - SIDE)
        path = folder / ("china", "flower")[number % 2] / f"{number:05}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        image.crop((x, y, x + SIDE, y + SIDE)).save(path, quality=90)
    return folder


def ratios(ours: list[float], theirs: list[float]) -> dict[str, float]:
    each = np.divide(ours, theirs)
    return {
        "median": round(float(np.median(each)), 2),
        "min": round(float(each.min()), 2),
        "max": round(float(each.max()), 2),
        "ours_per_second": round(float(np.median(ours))),
        "theirs_per_second": round(float(np.median(theirs))),
    }


def doctor(folder: Path, rounds: int) -> dict[str, float]:
    """Files a second: the whole of `check`, without anything remembered, against decoding alone."""
    from PIL import Image

    from recipes.data.checks.doctor import check
    from recipes.support import threads

    threads.THREADS = 2
    import scipy.sparse.csgraph  # noqa: F401  (what is imported at first use is not a matter of files)
    import sklearn.model_selection  # noqa: F401
    from rich import console, progress  # noqa: F401

    paths = sorted(folder.rglob("*.jpg"))

    def decode(path: Path) -> None:
        with Image.open(path) as image:
            image.load()

    ours, theirs = [], []
    for number in range(rounds):
        os.environ["CONVZOO_CACHE"] = str(folder.parent / f"doctor-{number}")
        began = time.perf_counter()
        report = check(str(folder), quiet=True)
        ours.append(len(paths) / (time.perf_counter() - began))
        assert report.images == len(paths)
        began = time.perf_counter()
        with ThreadPoolExecutor(2) as pool:
            list(pool.map(decode, paths))
        theirs.append(len(paths) / (time.perf_counter() - began))
    began = time.perf_counter()
    check(str(folder), quiet=True)
    return ratios(ours, theirs) | {"second_start_seconds": round(time.perf_counter() - began, 2)}


def feeding(folder: Path, rounds: int) -> dict[str, dict[str, float]]:
    """Images a second at the folder's own size, batches of 64."""
    import keras

    from recipes.data import load, pixels

    os.environ["CONVZOO_CACHE"] = str(folder.parent / "feeding")
    shape = (SIDE, SIDE, 3)

    held = load(str(folder), image_shape=shape, quiet=True).train.batches(64, seed=0)
    pixels.MEMORY = 0
    mapped = load(str(folder), image_shape=shape, quiet=True).train.batches(64, seed=0)
    theirs = keras.utils.image_dataset_from_directory(folder, image_size=(SIDE, SIDE), batch_size=64, verbose=False)
    sides = {"memory": held, "disk": mapped, "keras": theirs}
    rates: dict[str, list[float]] = {name: [] for name in sides}
    for number in range(rounds + 1):
        for name, dataset in sides.items():
            repeats = 1 if name == "keras" else 5  # as long as it takes to be measured
            began, seen = time.perf_counter(), 0
            for _ in range(repeats):
                seen += sum(len(images) for images, _ in dataset)
            if number:  # the first epoch is not counted, on either side
                rates[name].append(seen / (time.perf_counter() - began))
    return {name: ratios(rates[name], rates["keras"]) for name in ("memory", "disk")}


def memory(folder: Path) -> dict[str, Any]:
    """Megabytes."""
    size = f"image_shape=({SIDE}, {SIDE}, 3), quiet=True"
    tasks = {
        "examining": f"recipes.data.checks.doctor.check({str(folder)!r}, quiet=True)",
        "reading": f"recipes.data.pixels.MEMORY = 0; recipes.data.load({str(folder)!r}, {size})",
    }
    found = {name: taken(task, folder.parent / f"memory-{name}") for name, task in tasks.items()}
    found["images_megabytes"] = round(len(list(folder.rglob("*.jpg"))) * SIDE * SIDE * 3 / 2**20)
    return found


def taken(task: str, cache: Path) -> dict[str, int]:
    """Megabytes that a new process takes at most, less what the imports take."""
    start = "import recipes.data.checks.doctor, recipes.data.pixels, sklearn.model_selection, scipy.sparse"
    before, after = peak(start, task, CONVZOO_CACHE=str(cache))
    return {"megabytes": round(after - before), "with_imports": round(after)}


def small_files(temporary: Path, counts: list[int]) -> dict[int, dict[str, int]]:
    """Megabytes for examining so many small files, in ten classes, all different."""
    from PIL import Image

    random, found = np.random.default_rng(0), {}
    for count in counts:
        folder = temporary / f"small-{count}"
        for number in range(count):
            place = folder / str(number % 10) / f"{number:07}.png"
            if number < 10:
                place.parent.mkdir(parents=True)
            Image.fromarray(random.integers(0, 256, (8, 8, 3), np.uint8)).save(place)
        began = time.perf_counter()
        task = f"recipes.data.checks.doctor.check({str(folder)!r}, quiet=True)"
        found[count] = taken(task, temporary / f"cache-{count}") | {"seconds": round(time.perf_counter() - began)}
        shutil.rmtree(folder)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--rounds", type=int, default=5, help="how often both sides run")
    parser.add_argument("--files", type=int, default=10_000, help="JPEGs for the measurement of memory")
    parser.add_argument("--many", type=int, nargs="+", metavar="FILES", help="this alone, of so many small files")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        if arguments.many:
            print(json.dumps({"many": small_files(Path(temporary), arguments.many)}, indent=1))
            return
        folder = photographs(Path(temporary, "photographs"), 2_000)
        results = {"doctor": doctor(folder, arguments.rounds), "feeding": feeding(folder, arguments.rounds)}
        many = photographs(Path(temporary, "many", "photographs"), arguments.files)
        results["memory"] = memory(many)
    if arguments.json:
        print(json.dumps(results, indent=1))
        return
    for name, result in (("doctor", results["doctor"]), *(("feeding, " + k, v) for k, v in results["feeding"].items())):
        print(
            f"{name}: {result['median']}x (from {result['min']} to {result['max']}), "
            f"{result['ours_per_second']:,} against {result['theirs_per_second']:,} images/s"
        )
    print(f"second start of the doctor: {results['doctor']['second_start_seconds']} s")
    for name in ("examining", "reading"):
        print(
            f"memory for {name} {arguments.files:,} JPEGs: {results['memory'][name]['megabytes']} MB "
            f"({results['memory']['images_megabytes']:,} MB of pixels)"
        )


if __name__ == "__main__":
    main()
