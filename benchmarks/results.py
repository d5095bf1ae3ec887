"""The zoo, measured: a row for each (model, recipe, set, seed), as JSON lines in docs/results/.

    python benchmarks/results.py digits --hours 8               # rows that are there are not done again
    python benchmarks/results.py digits --only 'lenet*' --seeds 3
    python benchmarks/results.py emoji                          # pretrained models, fine-tuned; so are photographs
    python benchmarks/results.py digits --check 3               # trains 3 of the rows again
    python docs/generate.py --pages                             # what zoo list --results and the pages have of them

Rows are of the zoo's own architectures up to `--max-params`, plain and, with `--symmetry c4`, as the maximum over
rotated copies of the image where that is not built in; the cheapest come first. Models for images above 64 pixels are
trained on 32x32, and those of more than 100 million multiply-adds on smaller images on half their size. On `emoji` and
`photographs`, the sets of transfer.py (without skin tones) and photographs.py, they are the models with weights that a
package brings, fine-tuned on 96x96; `--table .` writes the table that their commands name.

Each training is a process of its own, whose time and largest memory are the row's; a set that is no name lies beside
it under its own, so that the command can be typed as it is. Then, in this process: the metrics of `zoo evaluate
--invariance`, the int8 file on all test images, its arena as TensorFlow Lite Micro uses it (`arena_measured`; else an
estimate), and its latency beside lenet5's, in turn, one thread. A training that fails leaves a row that says why.

`--check` takes rows at random and trains them by their own commands. On a machine like that of the row, with as many
cores and the same versions, a training ends with the same bits: the row is the `same`. Else it is `within` while 0 is
in the interval of the difference of both accuracies (Newcombe 1998, method 10, 95 %), and `OUTSIDE` is an error. How
far apart two trainings on the same images can be is not in that interval: `spread` of the results has it.
"""

import argparse
import contextlib
import fnmatch
import json
import math
import os
import platform
import random
import shlex
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import zoo
from zoo.errors import RequestError
from zoo.results import FAMILIES, read_rows

ROOT = Path(__file__).parents[1]
REFERENCE = "lenet5"  # that latencies are ratios to
LARGEST, SMALLER = 64, 32  # pixels: models of larger images are trained on smaller ones
DEAR = 1e8  # multiply-adds: models of more are trained on images of half their size
PRETRAINED = ("emoji", "photographs")  # sets that models with published weights are fine-tuned on
TUNED = 96  # pixels
IDENTITY = ("model", "symmetry", "recipe", "data", "seed")


def planned(arguments):
    """What identifies each row that should be there, seed by seed, the cheapest first."""
    from zoo.catalogue import SYMMETRIES, macs, parameters, select

    exact = SYMMETRIES.get(arguments.symmetry, ())  # built in: copies would cost more for nothing
    pretrained = arguments.data in PRETRAINED
    cards = [card for card in select(sort="macs", weights=pretrained) if not card.name.startswith("keras_")]
    most = math.inf if pretrained else arguments.max_params
    cards = [card for card in cards if card.symmetry not in exact]
    cards = [card for card in cards if parameters(card) <= most and macs(card) <= arguments.max_macs]
    for seed in range(arguments.seeds):
        for card in cards:
            if fnmatch.fnmatch(card.name, arguments.only):
                values = (card.name, arguments.symmetry, arguments.recipe, name_of(arguments.data), seed)
                yield dict(zip(IDENTITY, values, strict=True))


def name_of(data):
    return Path(data).name


def command_of(row):
    """`zoo fit` or `zoo finetune`, as it can be typed where the set of images is."""
    card, pretrained = zoo.get_card(row["model"]), row["data"] in PRETRAINED
    own, _, channels = card.input_shape
    side = side_of(card, pretrained)
    settings = [f"model.input_shape=[{side},{side},{channels}]"] if side != own else []
    if row["symmetry"]:
        settings += [f"model.symmetry={row['symmetry']}"]
    words = ["zoo", "finetune" if pretrained else "fit", row["model"]]
    words += ["--data", f"{row['data']}.csv", "--skip-bad"] if pretrained else ["--data", row["data"]]
    words += ["--recipe", row["recipe"], "--seed", str(row["seed"])]
    return [*words, *(word for setting in settings for word in ("--set", setting)), "--out", "run"]


def side_of(card, pretrained):
    """Pixels of the images that a model is trained on."""
    from zoo.catalogue import macs

    own = card.input_shape[0]
    if pretrained:
        return TUNED
    if own > LARGEST:
        return SMALLER
    return own // 2 if macs(card) > DEAR else own


def prepared(arguments, folder):
    """Where the set of images is, as a path; None if its name is enough."""
    if arguments.data not in PRETRAINED:
        return Path(arguments.data).resolve() if Path(arguments.data).exists() else None
    import photographs
    import transfer

    file, fetched = folder / f"{arguments.data}.csv", arguments.package and arguments.package.resolve()
    if arguments.data == "emoji":
        return transfer.table_of(fetched or transfer.fetched(folder), file, base=True)
    stamps = (fetched or photographs.fetched(folder)) / "usr" / "share" / "tuxpaint" / "stamps"
    return photographs.table_of(photographs.photographs(stamps), file, seed=0)


def workplace(folder, source):
    """A new folder, with the set of images in it under its own name."""
    folder.mkdir()
    if source:
        (folder / source.name).symlink_to(source)
    return folder


def trained(command, folder):
    """Trains in a process of its own: seconds, and the most memory that it held, in MB."""
    from processes import ZOO, finished

    words = [*ZOO, *command[1:], "--quiet", "--json"]
    ended = finished(words, cwd=folder, env=os.environ | {"PYTHONPATH": str(ROOT)})
    if ended.code:
        raise RuntimeError(ended.last_line or f"exit code {ended.code}")
    return ended.seconds, ended.mebibytes


def measured(row, folder, reference):
    """A whole row."""
    import keras

    from recipes.evaluate import evaluate
    from recipes.export import export
    from recipes.run import Run
    from recipes.tasks.selective import wilson
    from recipes.tflite.latency import benchmark
    from zoo.anatomy import dissect

    keras.backend.clear_session()
    command = command_of(row)
    seconds, memory = trained(command, folder)
    run = Run.open(folder / "run")
    metrics = evaluate(run, invariance=True)
    exported = export(run, to="int8", budget={"agreement": 0, "drop": 1}, force=True)
    anatomy = dissect(run.load_model())
    own = Path(exported.file)
    timing = benchmark([reference, own], threads=[1], repeats=100)[-1]
    arena, is_measured = arena_of(own)
    return row | {
        "image": list(run.recipe.model.input_shape),
        "accuracy": metrics["accuracy"],
        "accuracy_interval": metrics["accuracy_interval"],
        "int8_accuracy": exported.accuracy_file,
        "int8_interval": wilson(round(exported.accuracy_file * exported.images), exported.images),
        "agreement": exported.agreement,
        "calibration_error": metrics["calibration_error"],
        **{family: metrics["invariance"][family]["score"] for family in FAMILIES},
        "exact_symmetry": metrics.get("symmetry"),
        "int8_exact_symmetry": exported.symmetry,
        "parameters": anatomy.parameters,
        "macs": anatomy.macs,
        "int8_bytes": exported.bytes,
        "arena_bytes": arena,
        "arena_measured": is_measured,
        "latency_ms": timing.median_ms,
        "latency_ratio": timing.ratio,
        "peak_memory_mb": round(memory),
        "seconds": round(seconds, 1),
        "test_images": exported.images,
        "command": shlex.join(command),
        **circumstances(run),
    }


def arena_of(file):
    """Bytes that TensorFlow Lite Micro uses for an int8 file, and whether it was there to tell."""
    from recipes.export.kinds.c_array import arena_estimate
    from recipes.tflite.graph import read_graph
    from recipes.tflite.micro import MicroFile, is_installed, lacking_operations

    content = file.read_bytes()
    graph = read_graph(content)
    if is_installed() and not lacking_operations(graph):
        with contextlib.suppress(RequestError):  # it refuses some files for other reasons
            return MicroFile(file, content, graph).arena().total, True
    return arena_estimate(graph), False


def circumstances(run):
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True)
    names = [line.split(":")[1].strip() for line in lines_of("/proc/cpuinfo") if line.startswith("model name")]
    cores = (
        f"{len(os.sched_getaffinity(0))} of {os.cpu_count()}" if hasattr(os, "sched_getaffinity") else os.cpu_count()
    )
    machine = f"{names[0] if names else platform.processor()}, {cores} cores, {platform.system()}"
    return {"commit": commit.stdout.strip(), "versions": dict(run.recipe.versions), "machine": machine}


def lines_of(file):
    return Path(file).read_text().splitlines() if Path(file).exists() else []


def fill(arguments, file):
    """Adds the rows that are not there, each as soon as it is measured."""
    there = {tuple(row[key] for key in IDENTITY) for row in read_rows(file)}
    end = time.monotonic() + 3600 * arguments.hours
    with tempfile.TemporaryDirectory() as folder:
        reference = Path(folder, "reference.tflite")
        todo = [row for row in planned(arguments) if tuple(row.values()) not in there]
        if todo:
            make_reference(reference)
            source = prepared(arguments, Path(folder))
        for number, row in enumerate(todo):
            if time.monotonic() > end:
                return
            print(f"{number + 1} of {len(todo)}: {row['model']}", file=sys.stderr, flush=True)
            place = workplace(Path(folder, str(number)), source)
            try:
                found = measured(row, place, reference)
            except Exception as error:  # it stands in the table, too
                found = row | {"failed": f"{type(error).__name__}: {error}".replace(f"{place}/", "")[:500]}
            with file.open("a", encoding="utf-8") as rows:
                rows.write(f"{json.dumps(found)}\n")


def make_reference(file):
    """The int8 file of lenet5: how good it is has no part in how fast it is."""
    from recipes.export import export
    from recipes.fit import fit

    given = {"data": "digits", "recipe": "quick", "overrides": ["epochs=1"], "quiet": True}
    run = fit(REFERENCE, **given, out=file.parent / "reference").run
    export(run, to="int8", out=file, budget={"agreement": 0, "drop": 1}, force=True)


def check(arguments, file):
    """Trains rows again; whether none is outside."""
    rows = [row for row in read_rows(file) if "failed" not in row and fnmatch.fnmatch(row["model"], arguments.only)]
    verdicts = []
    with tempfile.TemporaryDirectory() as folder:
        source = prepared(arguments, Path(folder))
        for number, row in enumerate(random.sample(rows, min(arguments.check, len(rows)))):
            place = workplace(Path(folder, str(number)), source)
            trained(shlex.split(row["command"]), place)
            again = json.loads((place / "run" / "metrics.json").read_text("utf-8"))
            verdicts.append(verdict(row, again))
            said = f"{verdicts[-1]:8}{row['model']}, seed {row['seed']}: accuracy {row['accuracy']:.4f}"
            said += f", again {again['accuracy']:.4f}; calibration error {row['calibration_error']:.6f}"
            print(f"{said}, again {again['calibration_error']:.6f}", flush=True)
    print(", ".join(f"{verdicts.count(one)} {one}" for one in ("same", "within", "OUTSIDE")))
    return "OUTSIDE" not in verdicts


def verdict(row, again):
    """What a second training says of a row, see above."""
    from recipes.tasks.selective import wilson

    if all(math.isclose(row[key], again[key], rel_tol=1e-9) for key in ("accuracy", "calibration_error")):
        return "same"
    first, second, images = row["accuracy"], again["accuracy"], row["test_images"]
    low, high = row["accuracy_interval"]
    least, most = wilson(round(second * images), images)
    lower, upper = math.hypot(second - least, high - first), math.hypot(most - second, first - low)
    return "within" if -upper <= second - first <= lower else "OUTSIDE"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", nargs="?", default="digits", help="what zoo fit --data takes, emoji, or photographs")
    parser.add_argument("--recipe", help="quick, and last-stage where models are fine-tuned, if left out")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--symmetry", help="a group of model.symmetry; without, models as they are")
    parser.add_argument("--only", default="*", metavar="GLOB", help="models of this name")
    parser.add_argument("--max-params", type=float, default=5e6)
    parser.add_argument("--max-macs", type=float, default=float("inf"), help="at the card's own settings")
    parser.add_argument("--package", type=Path, help="the unpacked package of emoji or photographs, if it is there")
    parser.add_argument(
        "--table", type=Path, metavar="FOLDER", help="only write the table of emoji or photographs there"
    )
    parser.add_argument("--hours", type=float, default=8, help="after which no row is begun")
    parser.add_argument("--check", type=int, metavar="N", help="train N rows again")
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "results")
    arguments = parser.parse_args()
    arguments.recipe = arguments.recipe or ("last-stage" if arguments.data in PRETRAINED else "quick")
    if arguments.table:
        if arguments.data not in PRETRAINED:
            parser.error(f"--table is for {' and '.join(PRETRAINED)}, not for {arguments.data}")
        arguments.table.mkdir(parents=True, exist_ok=True)
        prepared(arguments, arguments.table.resolve())
        return 0
    file = arguments.out / f"{name_of(arguments.data)}.jsonl"
    if arguments.check:
        return 0 if check(arguments, file) else 1
    arguments.out.mkdir(parents=True, exist_ok=True)
    fill(arguments, file)
    return 0


if __name__ == "__main__":
    sys.exit(main())
