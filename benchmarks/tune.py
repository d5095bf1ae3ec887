"""What a search is worth and what it costs, each part by whole `zoo` processes.

    python benchmarks/tune.py lenet5 --time 10m --seeds 3
    python benchmarks/tune.py lenet5 --part overhead workers kills

- search: `zoo tune`, then the default recipe and the winner (`best.toml`) trained on several seeds each, for as many
  epochs; accuracy on the test images, which no search has seen.
- overhead: of a search, the fraction of time that is not spent training; the winner's own training apart.
- workers: trials a minute of two workers on two cores beside one that is bound to one core, in turn, the same trials.
- kills: a search that is killed at random moments, all its workers at once, and gone on with, beside one left alone.
"""

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import mean, stdev

from processes import ZOO, answer, zoo

import recipes.tune

SMALL = ["epochs=3", "batch_size=128"]  # of a trial where many of them count, not what they come to


def tune_command(arguments, out, settings=(), *more):
    given = ["tune", arguments.model, "--data", arguments.data, "--folds", arguments.folds, "--out", out, *more]
    given += ["--space", arguments.space] if arguments.space else []
    return [*given, *(part for setting in settings for part in ("--set", setting))]


def search(arguments, folder):
    out = arguments.out or Path(folder, "study")
    budget = ["--time", arguments.time, "--seed", arguments.search_seed]
    found, seconds = answer(*tune_command(arguments, out, arguments.set, *budget))
    settings = [part for setting in arguments.set for part in ("--set", setting)]
    contestants = {
        "default": [arguments.model, *settings],
        "winner": [Path(found["study"], "best.toml")],
    }
    accuracy = {name: [] for name in contestants}
    for seed in range(arguments.seeds):
        for name, what in contestants.items():
            run = Path(folder, f"{name}-{seed}")
            fitted, _ = answer("fit", *what, "--data", arguments.data, "--seed", seed, "--out", run, "--quiet")
            accuracy[name].append(fitted["accuracy"])
            print(f"seed {seed}: {name} {accuracy[name][-1]:.4f}", file=sys.stderr, flush=True)
    states = [row["state"] for row in found["trials"]]
    return {
        "trials": {state: states.count(state) for state in sorted(set(states))},
        "minutes, the winner's training included": seconds / 60,
        "settings": found["best"]["settings"],
        "score in the folds": found["best"]["score"],
        **{name: {"mean": mean(v), "spread": spread(v), "values": v} for name, v in accuracy.items()},
        "difference in points": 100 * (mean(accuracy["winner"]) - mean(accuracy["default"])),
    }


def spread(values):
    return stdev(values) if len(values) > 1 else 0.0


def overhead(arguments, folder):
    out = Path(folder, "overhead")
    zoo(*tune_command(arguments, out, arguments.set, "--trials", arguments.trials, "--pruner", "none", "--quiet"))
    rows = recipes.tune.show(out)
    first, last = bounds(out)
    return {
        "trials": len(rows),
        "seconds from the first trial to the end of the last": last - first,
        "seconds training": sum(row["seconds_training"] for row in rows),
        "fraction that is not training": 1 - sum(row["seconds_training"] for row in rows) / (last - first),
    }


def bounds(study):
    """When the first trial of a study began and the last ended, in seconds."""
    trials = [t for t in recipes.tune.Study.open(study).trials().get_trials(deepcopy=False) if t.state.is_finished()]
    return min(t.datetime_start for t in trials).timestamp(), max(t.datetime_complete for t in trials).timestamp()


def workers(arguments, folder):
    cores = sorted(os.sched_getaffinity(0))[:2]
    if len(cores) < 2:
        sys.exit("two workers need two cores")
    rates = {1: [], 2: []}
    for number in range(arguments.rounds):
        for count in rates:
            out = Path(folder, f"workers-{number}-{count}")
            asked = ["--trials", arguments.trials, "--pruner", "none", "--sampler", "random", "--workers", count]
            given = tune_command(arguments, out, [*SMALL, *arguments.set], *asked, "--quiet")
            bound = {"preexec_fn": lambda count=count: os.sched_setaffinity(0, set(cores[:count]))}
            one_thread = {"TF_NUM_INTRAOP_THREADS": "1", "TF_NUM_INTEROP_THREADS": "1"} if count == 1 else {}
            zoo(*given, env=os.environ | one_thread, **bound)
            first, last = bounds(out)
            rates[count].append(60 * arguments.trials / (last - first))
            print(f"round {number}: {count} workers {rates[count][-1]:.1f} trials/min", file=sys.stderr, flush=True)
    ratios = [two / one for one, two in zip(rates[1], rates[2], strict=True)]
    return {"trials a minute, one": rates[1], "trials a minute, two": rates[2], "ratio": mean(ratios), "ratios": ratios}


def kills(arguments, folder):
    moments, survived = random.Random(arguments.seed), 0
    alone, killed = Path(folder, "alone"), Path(folder, "killed")
    # Drawn at random, a trial depends on its number alone: both searches must come to the same.
    asked = ["--trials", arguments.trials, "--pruner", "none", "--sampler", "random"]
    asked += ["--workers", arguments.workers, "--quiet"]
    zoo(*tune_command(arguments, alone, [*SMALL, *arguments.set], *asked))
    words = list(map(str, tune_command(arguments, killed, [*SMALL, *arguments.set], *asked)))
    while survived < arguments.kills:
        process = subprocess.Popen([*ZOO, *words], stdout=subprocess.DEVNULL, start_new_session=True)
        time.sleep(moments.uniform(*arguments.between))
        if process.poll() is not None:
            break
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        survived += 1
        print(f"{survived} kills, {states_of(killed)}", file=sys.stderr, flush=True)
    zoo(*words)
    ended = [result(row) for row in recipes.tune.show(killed) if row["state"] == "complete"]
    wanted = [result(row) for row in recipes.tune.show(alone)]
    return {
        "kills": survived,
        "trials": len(wanted),
        "lost": len([one for one in wanted if one not in ended]),
        "twice": len(ended) - len(set(ended)),
        "other": len([one for one in ended if one not in wanted]),
    }


def result(row):
    return row["seed"], *row["settings"], *row["folds"]


def states_of(study):
    if not (study / "study.toml").exists():
        return "nothing begun"
    states = [row["state"] for row in recipes.tune.show(study)]
    return ", ".join(f"{states.count(state)} {state}" for state in sorted(set(states))) or "nothing begun"


PARTS = {"search": search, "overhead": overhead, "workers": workers, "kills": kills}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", nargs="?", default="lenet5")
    parser.add_argument("--part", nargs="+", choices=PARTS, default=["search"])
    parser.add_argument("--data", default="digits")
    parser.add_argument("--space", help="the model's own if left out")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="of the default recipe")
    parser.add_argument("--folds", type=int, default=3)
    parser.add_argument("--time", default="10m", help="of the search")
    parser.add_argument("--search-seed", type=int, default=0, help="of the search")
    parser.add_argument("--seeds", type=int, default=3, help="trainings of the default and of the winner each")
    parser.add_argument("--out", type=Path, help="keeps the study of the search; one that is there is gone on with")
    parser.add_argument("--trials", type=int, default=8, help="of overhead, workers and kills")
    parser.add_argument("--rounds", type=int, default=3, help="of workers")
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--workers", type=int, default=1, help="of the search that is killed")
    parser.add_argument("--between", nargs=2, type=float, default=[5, 25], metavar="SECONDS", help="two kills, from to")
    parser.add_argument("--seed", type=int, default=0, help="of the moments of the kills")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        results = {part: PARTS[part](arguments, folder) for part in arguments.part}
    if arguments.json:
        print(json.dumps(results, indent=1))
        return
    for part, measured in results.items():
        print(part)
        for name, value in measured.items():
            print(f"  {name:45} {f'{value:.4g}' if isinstance(value, float) else value}")
        if part == "search":
            enough = measured["difference in points"] >= 0.3
            print("  the winner is", "" if enough else "NOT", "0.3 points or more above the default")


if __name__ == "__main__":
    main()
