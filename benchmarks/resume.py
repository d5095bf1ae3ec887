"""Kills trainings at random moments, goes on with them, and compares every ending with a training left alone.

python benchmarks/resume.py --endings 20
"""

import argparse
import json
import random
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from recipes.run.folder import Run

# Everything that has a state: augmentation, dropout, momenta, moving averages of the weights, a schedule.
SETTINGS = ["augment=digits", "model.dropout=0.3", "optimizer.ema=0.99", "schedule.warmup_epochs=1"]
EVERY_EPOCH = (
    "import sys, recipes.training.loop, cli\nrecipes.training.loop.CHECKPOINT_SECONDS = 0\n"
    "sys.exit(cli.main(sys.argv[1:]))"
)


def start(*arguments):
    """The command line as a process that checkpoints after every epoch."""
    command = [sys.executable, "-c", EVERY_EPOCH, *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def fit_command(model, out, epochs):
    settings = [part for setting in [*SETTINGS, f"epochs={epochs}"] for part in ("--set", setting)]
    return ["fit", model, "--data", "digits", "--recipe", "quick", "--out", out, *settings]


def same_ending(one, other):
    texts = all((one.path / f).read_text() == (other.path / f).read_text() for f in ("history.csv", "metrics.json"))
    weights = zip(one.load_model().get_weights(), other.load_model().get_weights(), strict=True)
    return texts and all(np.array_equal(mine, theirs) for mine, theirs in weights)


def killed(arguments, out, moments, longest):
    """A training that is killed at a random moment of the first `longest` seconds of its writing, about every other
    one a second time, and then gone on with to its end; how often it was killed."""
    process, kills = start(*fit_command(arguments.model, out, arguments.epochs)), 0
    for _ in range(moments.choice((1, 2))):
        while not (out / "recipe.toml").exists() and process.poll() is None:
            time.sleep(0.01)
        time.sleep(moments.uniform(0, longest))
        if process.poll() is not None:
            break
        process.kill()
        process.wait()
        kills += 1
        process = start("resume", out)
    process.wait()
    return kills


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="lenet5")
    parser.add_argument("--endings", type=int, default=20, help="how many killed trainings are compared")
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    moments, kills, endings, same = random.Random(arguments.seed), 0, 0, 0
    with tempfile.TemporaryDirectory() as folder:
        alone = Path(folder, "alone")
        process = start(*fit_command(arguments.model, alone, arguments.epochs))
        while not (alone / "recipe.toml").exists():
            time.sleep(0.01)
        began = time.perf_counter()
        process.wait()
        longest = time.perf_counter() - began
        while endings < arguments.endings:
            out = Path(folder, "killed")
            shutil.rmtree(out, ignore_errors=True)
            if times := killed(arguments, out, moments, longest):
                kills, endings = kills + times, endings + 1
                same += same_ending(Run.open(out), Run.open(alone))
                print(f"{kills} kills, {same} of {endings} endings the same", file=sys.stderr, flush=True)
    result = {"kills": kills, "endings": endings, "identical": same}
    print(json.dumps(result) if arguments.json else f"{kills} kills: {same} of {endings} endings identical")
    return int(same != endings)


if __name__ == "__main__":
    sys.exit(main())
