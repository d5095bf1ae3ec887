"""What the number of classes costs: `python benchmarks/classes.py [--json]`, about half an hour on two cores.

Each command runs in a process of its own on made-up sets that differ in their number of classes alone: a table of
small images whose pattern tells the class, as many images in all. Printed are processor seconds, the largest resident
set and what went to stdout, and the first two as ratios to the fewest classes. Nothing is left behind.

`--images 100000` measures a long table, `--task multilabel` two classes an image, `--commands evaluate report` fewer
commands (those that they need run too).
"""

import argparse
import json
import os
import sys
import tempfile
from pathlib import Path

import numpy as np
from processes import ZOO, finished

ROOT = Path(__file__).parents[1]
SIDE, BITS = 32, 4  # pixels; a pattern has BITS x BITS squares
COMMANDS = ("check", "fit", "evaluate", "report", "compare", "export", "predict", "embed", "cross-validate")


def make_set(folder: Path, classes: int, images: int, task: str) -> Path:
    """A table of images (32, 32), each a class's pattern, dimmed, under noise of a random pattern of its own."""
    from PIL import Image

    random = np.random.default_rng(0)
    patterns = random.integers(0, 2, (classes, BITS, BITS))
    (folder / "images").mkdir(parents=True)
    lines = ["file,label"]
    for number in range(images):
        shown = [number % classes, *([random.integers(classes)] if task == "multilabel" else [])]
        pattern = 140 * patterns[shown].max(0) + random.integers(0, 100, (BITS, BITS))
        pixels = np.kron(pattern, np.ones((SIDE // BITS, SIDE // BITS))).astype(np.uint8)
        file = f"images/{number:06}.png"
        Image.fromarray(pixels).save(folder / file, compress_level=1)
        lines.append(f"{file},{'|'.join(f'class {label:05}' for label in dict.fromkeys(shown))}")
    table = folder / "table.csv"
    table.write_text("\n".join(lines) + "\n", "utf-8")
    return table


def arguments(command: str, table: Path, run: Path) -> list[str]:
    """A command line after `zoo`; all but the check and the cross-validation take the run that `fit` makes."""
    folder, recipe = run.parent, ["--recipe", "quick", "--set", "epochs=1", "--set", "model.input_shape=[32,32,1]"]
    validated = ["cross-validate", "lenet5", "--data", str(table), "--folds", "2", *recipe]
    out = {
        "check": ["data", "check", str(table)],
        "fit": ["fit", "lenet5", "--data", str(table), "--out", str(run), *recipe],
        "evaluate": ["evaluate", str(run)],
        "report": ["report", str(run)],
        "compare": ["compare", str(run), str(run), "--plot", str(folder / "compare.png")],
        "export": ["export", str(run), "--to", "float32", "--force", "--out", str(folder / "model.tflite")],
        "predict": ["predict", str(folder / "model.tflite"), str(next((table.parent / "images").iterdir()))],
        "embed": ["embed", str(run), str(table), "--out", str(folder / "features.npz")],
        "cross-validate": [*validated, "--out", str(folder / "predictions.csv")],
    }
    return out[command]


def measured(command: list[str], cache: Path, limit: float) -> dict[str, float | int | str]:
    """Processor seconds, mebibytes and bytes of output of a process of its own, and how it ended."""
    environment = os.environ | {"CONVZOO_CACHE": str(cache), "PYTHONPATH": str(ROOT), "TF_CPP_MIN_LOG_LEVEL": "3"}
    with tempfile.TemporaryFile() as output:
        words = ["timeout", f"{limit:g}", *ZOO, *command]
        ended = finished(words, stdout=output, env=environment)
        return {
            "seconds": round(ended.processors, 1),
            "MiB": round(ended.mebibytes),
            "printed": output.seek(0, 2),
            "ended": "" if ended.code == 0 else f"exit {ended.code}: {ended.last_line[:160]}",
        }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--classes", type=int, nargs="+", default=[10, 200, 1000])
    parser.add_argument("--images", type=int, default=20_000)
    parser.add_argument("--task", choices=("classification", "multilabel"), default="classification")
    parser.add_argument("--commands", nargs="+", choices=COMMANDS, default=list(COMMANDS))
    parser.add_argument("--limit", type=float, default=1200, help="seconds after which a command is ended")
    parser.add_argument("--keep", type=Path, help="where sets and runs are kept, or are already")
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args()
    needed = {"fit"} & set(COMMANDS) if set(asked.commands) - {"check", "cross-validate"} else set()
    needed |= {"export"} if "predict" in asked.commands else set()
    results: dict[str, dict[int, dict]] = {}
    with tempfile.TemporaryDirectory() as temporary:
        for classes in asked.classes:
            folder = (asked.keep or Path(temporary)) / f"{asked.task}-{asked.images}-{classes}"
            table, run = folder / "table.csv", folder / "run"
            if not table.exists():
                make_set(folder, classes, asked.images, asked.task)
            for command in COMMANDS:
                done = {"fit": run / "model.keras", "export": folder / "model.tflite"}.get(command)
                if command not in asked.commands and not (command in needed and not done.exists()):
                    continue
                line = arguments(command, table, run) + (["--overwrite"] if command == "fit" else [])
                found = measured(line, folder / "cache", asked.limit)
                results.setdefault(command, {})[classes] = found
                print(command, classes, found, file=sys.stderr, flush=True)
    if asked.json:
        print(json.dumps({"images": asked.images, "task": asked.task, "commands": results}, indent=1))
        return
    print(f"{'command':15}{'classes':>8}{'seconds':>9}{'ratio':>7}{'MiB':>7}{'ratio':>7}{'printed':>9}")
    for command, by_classes in results.items():
        first = next(iter(by_classes.values()))
        for classes, found in by_classes.items():
            ratios = found["seconds"] / first["seconds"], found["MiB"] / first["MiB"]
            numbers = f"{found['seconds']:9.1f}{ratios[0]:7.2f}{found['MiB']:7,}{ratios[1]:7.2f}{found['printed']:9,}"
            print(f"{command:15}{classes:8,}{numbers} {found['ended']}")


if __name__ == "__main__":
    main()
