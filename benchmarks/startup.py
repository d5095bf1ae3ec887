"""How soon the command line answers, against `python -c "import keras"`, as whole processes in turn.

`zoo predict FILE.tflite IMAGE` names an image with LiteRT alone; asked is at most a third.

python benchmarks/startup.py
python benchmarks/startup.py --sizes   # megabytes on disk: what `pip install .` brings, and the group `files`
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
import tomllib
from importlib.metadata import distribution
from pathlib import Path
from statistics import median

from packaging.requirements import Requirement
from processes import ZOO

COMMANDS = {
    "zoo list": [*ZOO, "list"],
    "zoo show lenet5": [*ZOO, "show", "lenet5"],
    "zoo show lennet": [*ZOO, "show", "lennet"],
    "import keras": [sys.executable, "-c", "import keras"],
}

EXPECTED = (0, 2)  # a mistyped name is answered, too
# A file and an image to name with it; an untrained net takes as long as a trained one.
PROGRAM = """
import sys
from PIL import Image
from recipes.export import convert
from recipes.data import Split
from recipes.data.readers.digits import read_digits
from recipes.data.decoding import to_array
import zoo

images, labels = read_digits()
Image.fromarray(images[0, :, :, 0]).save(sys.argv[2])
image = to_array(Image.open(sys.argv[2]), (32, 32, 1))
model = zoo.create_model("lenet5", input_shape=(32, 32, 1), classes=10)
open(sys.argv[1], "wb").write(convert(model, "int8", Split(image[None], labels[:1])))
"""


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--sizes", action="store_true")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    if arguments.sizes:
        sizes = {name: megabytes(requirements) for name, requirements in installations().items()}
        print(
            json.dumps(sizes)
            if arguments.json
            else "\n".join(f"{name:6} {size:,.0f} MB" for name, size in sizes.items())
        )
        return
    with tempfile.TemporaryDirectory() as folder:
        files = [str(Path(folder, name)) for name in ("lenet5.tflite", "digit.png")]
        subprocess.run([sys.executable, "-c", PROGRAM, *files], check=True, capture_output=True)
        seconds = measure(COMMANDS | {"zoo predict FILE": [*ZOO, "predict", *files]}, arguments)
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
        for name, measured in result.items():
            low, middle, high = measured["seconds"]
            ratio = measured["ratio_to_import_keras"]
            print(f"{name:18} {ratio:.3f} of import keras   {low:.2f} {middle:.2f} {high:.2f} s")


def installations():
    """The packages that each way to install brings, as pyproject.toml has them."""
    content = tomllib.loads(Path(__file__).parents[1].joinpath("pyproject.toml").read_text("utf-8"))
    return {"all": content["project"]["dependencies"], "files": content["dependency-groups"]["files"]}


def megabytes(requirements):
    """Of the installed packages that these are and need, in turn."""
    sizes, waiting = {}, [Requirement(line) for line in requirements]
    while waiting:
        needed = waiting.pop()
        if needed.name not in sizes and (needed.marker is None or needed.marker.evaluate({"extra": ""})):
            installed = distribution(needed.name)
            files = [Path(installed.locate_file(file)) for file in installed.files or ()]
            sizes[needed.name] = sum(file.stat().st_size for file in files if file.is_file())
            waiting += [Requirement(line) for line in installed.requires or ()]
    return sum(sizes.values()) / 1e6


def measure(commands, arguments):
    """Seconds of each command in turn, by name."""
    seconds = {name: [] for name in commands}
    for round_number in range(arguments.rounds + 1):  # the first warms the file cache and is not counted
        for name, command in commands.items():
            began = time.perf_counter()
            done = subprocess.run(command, capture_output=True, text=True)
            if done.returncode not in EXPECTED:
                raise SystemExit(f"{name}: {done.stderr}")
            if round_number:
                seconds[name].append(time.perf_counter() - began)
    return seconds


if __name__ == "__main__":
    main()
