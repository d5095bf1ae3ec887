"""What `zoo fit --dry-run` says a training takes, against what it takes.

    python benchmarks/estimate.py
    python benchmarks/estimate.py --cases resnet8:quick:8 lenet5:digits --rounds 3

A case is MODEL:RECIPE, or MODEL:RECIPE:EPOCHS, on digits. Every command is a process of its own; the estimate and
the training of a round follow each other, in turn first. Ratios are those of the estimate to the seconds from the
beginning of the command to its end; 1 is right, below 1 it takes longer than was said.

With --processor both are seconds of one processor that the command is bound to, by one thread of TensorFlow: what
else the machine does then hardly counts, and on a machine that does nothing else they are the seconds of the clock.
"""

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

CASES = ["mlp:quick", "lenet5:digits:10", "pebble:digits-5k:10", "resnet8:quick:2", "vgg_small:quick:1"]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", nargs="+", default=CASES, metavar="MODEL:RECIPE[:EPOCHS]")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--processor", action="store_true", help="seconds of one processor, not of the clock")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    rows = []
    for case in arguments.cases:
        pairs = [
            measured(case, training_first=bool(number % 2), processor=arguments.processor)
            for number in range(arguments.rounds)
        ]
        ratios = [said / took for said, took in pairs]
        rows.append(
            {
                "model:recipe": case,
                "estimate": statistics.median(said for said, _ in pairs),
                "took": statistics.median(took for _, took in pairs),
                "min": min(ratios),
                "ratio": statistics.median(ratios),
                "max": max(ratios),
                "pairs": pairs,
            }
        )
        print_row(rows[-1], sys.stderr if arguments.json else sys.stdout)
    every = [said / took for row in rows for said, took in row["pairs"]]
    last = {"min": min(every), "median": statistics.median(every), "max": max(every), "of": len(every)}
    if arguments.json:
        print(json.dumps({"cases": rows, "ratio": last}, indent=1))
    else:
        print(f"estimate / took: {last['min']:.2f} to {last['max']:.2f}, median {last['median']:.2f}, of {len(every)}")


def print_row(row, file):
    print(
        f"{row['model:recipe']:24} estimate {row['estimate']:6.1f} s  took {row['took']:6.1f} s  "
        f"ratio {row['ratio']:.2f} ({row['min']:.2f} to {row['max']:.2f})",
        file=file,
        flush=True,
    )


def measured(case, *, training_first, processor):
    """Seconds that are announced, and those that the training then takes."""
    model, recipe, *epochs = case.split(":")
    command = ["fit", model, "--data", "digits", "--recipe", recipe, *(["--epochs", *epochs] if epochs else [])]

    def announced():
        return json.loads(zoo(*command, "--out", "unused", "--dry-run", "--json", processor=processor))["seconds"]

    def taken():
        with tempfile.TemporaryDirectory() as folder:
            began = used() if processor else time.perf_counter()
            zoo(*command, "--out", str(Path(folder, "run")), "--quiet", processor=processor)
            return (used() if processor else time.perf_counter()) - began

    if training_first:
        took = taken()
        return announced(), took
    return announced(), taken()


def used():
    """Seconds of processors that the commands so far have used."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def zoo(*arguments, processor):
    program = "import sys, time\n"
    environment, bound = dict(os.environ), None
    if processor:
        program += "time.perf_counter = time.process_time\n"
        environment |= {"TF_NUM_INTRAOP_THREADS": "1", "TF_NUM_INTEROP_THREADS": "1"}
        one = {min(os.sched_getaffinity(0))}

        def bound():
            os.sched_setaffinity(0, one)

    program += "import cli\nsys.exit(cli.main(sys.argv[1:]))"
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments],
        env=environment,
        preexec_fn=bound,
        check=True,
        capture_output=True,
        text=True,
    )
    return done.stdout


if __name__ == "__main__":
    main()
