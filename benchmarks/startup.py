"""How soon the command line answers: `zoo list` against `python -c "import keras"`, as whole processes in turn.

python benchmarks/startup.py
"""

import argparse
import json
import subprocess
import sys
import time
from statistics import median

COMMANDS = {
    "zoo list": [sys.executable, "-m", "cli", "list"],
    "zoo show lenet5": [sys.executable, "-m", "cli", "show", "lenet5"],
    "zoo show lennet": [sys.executable, "-m", "cli", "show", "lennet"],
    "import keras": [sys.executable, "-c", "import keras"],
}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    seconds = {name: [] for name in COMMANDS}
    for round_number in range(arguments.rounds + 1):  # the first warms the file cache and is not counted
        for name, command in COMMANDS.items():
            began = time.perf_counter()
            subprocess.run(command, capture_output=True)
            if round_number:
                seconds[name].append(time.perf_counter() - began)
    baseline = median(seconds["import keras"])
    result = {
        name: {
            "ratio_to_import_keras": median(values) / baseline,
            "seconds": [min(values), median(values), max(values)],
        }
        for name, values in seconds.items()
    }
    if arguments.json:
        print(json.dumps(result, indent=1))
    else:
        for name, figures in result.items():
            low, middle, high = figures["seconds"]
            ratio = figures["ratio_to_import_keras"]
            print(f"{name:18} {ratio:.3f} of import keras   {low:.2f} {middle:.2f} {high:.2f} s")


if __name__ == "__main__":
    main()
