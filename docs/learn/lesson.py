"""What the scripts of the lessons share: digits, a short training, and tables that are printed and kept.

A lesson is a function of whether it is to be small and of the folder for its drawings. It gives its tables: by title,
rows of text, the header first.
"""

import argparse
import json
import math
import re
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import numpy as np

from recipes.data import Data, Split, load
from zoo.backend import as_keras_ships, keras, tf

Tables = dict[str, list[list[str]]]
Lesson = Callable[[bool, Path], Tables]
FEW = 128  # digits to train, where a lesson is small
HERE = Path(__file__).parent
BLOCK = re.compile(r"<!-- table: (.+?) -->\n.*?<!-- end -->", re.S)
COMMAND = re.compile(r"<!-- command -->\n.*?<!-- end -->", re.S)


def digits(small: bool = False, size: int = 28) -> Data:
    """The embedded digits, uint8 (N, size, size, 1): 3,500 to train, 500 to validate, 1,000 to test; small, fewer."""
    data = load("digits", image_shape=(size, size, 1))
    if not small:
        return data
    few = {"train": data.train[:FEW], "validation": data.validation[:64], "test": data.test[:64]}
    return Data(data.source, data.class_names, data.image_shape, **few)


def trained(
    build: Callable[[], "keras.Model"], split: Split, *, seed: int = 0, epochs: int = 8, learning_rate: float = 2e-3
) -> "keras.Model":
    """A new model, trained on a split by AdamW in batches of 64; the learning rate falls along a cosine."""
    keras.utils.set_random_seed(seed)
    model = build()
    rate = keras.optimizers.schedules.CosineDecay(learning_rate, epochs * math.ceil(len(split) / 64))
    optimizer = keras.optimizers.AdamW(rate, weight_decay=0.01)
    # Without XLA, or numbers depend on the kind of machine. A few steps are done before a graph of them is traced.
    how = {"jit_compile": False, "run_eagerly": len(split) <= FEW}
    model.compile(optimizer, "sparse_categorical_crossentropy", metrics=["accuracy"], **how)
    model.fit(split.images, split.labels, batch_size=64, epochs=epochs, verbose=0)
    return model


def accuracy(model: "keras.Model", images: np.ndarray, labels: np.ndarray) -> float:
    """How many images in a hundred get their label."""
    return 100 * float((model.predict(images, batch_size=250, verbose=0).argmax(-1) == labels).mean())


def spread(values: Sequence[float]) -> str:
    """Mean and standard deviation as text; of one value, itself."""
    return f"{mean(values):.1f} ± {stdev(values):.1f}" if len(values) > 1 else f"{values[0]:.1f}"


def markdown(table: list[list[str]]) -> str:
    """A table in Markdown, its first column to the left and all others to the right."""
    head, *rows = (f"| {' | '.join(row)} |" for row in table)
    return "\n".join([head, f"|---|{'---:|' * (len(table[0]) - 1)}", *rows])


def with_results(page: str, script: str, stored: dict[str, Any]) -> str:
    """The text of a page with a stored run of its script between its marks."""
    command = (
        f"`python docs/learn/{script}` computes all that this page shows; it took {stored['seconds']} seconds of "
        f"processor time ({stored['versions']})."
    )

    def table(found: re.Match[str]) -> str:
        return f"<!-- table: {found[1]} -->\n\n{markdown(stored['tables'][found[1]])}\n\n<!-- end -->"

    page = COMMAND.sub(lambda found: f"<!-- command -->\n\n{command}\n\n<!-- end -->", page)
    return BLOCK.sub(table, page)


@as_keras_ships
def main(lesson: Lesson) -> None:
    """The command line of a lesson."""
    script = Path(lesson.__code__.co_filename)
    parser = argparse.ArgumentParser(description="Computes a lesson, prints its tables, and draws its images.")
    parser.add_argument("--small", action="store_true", help="a few images and steps: does it run?")
    parser.add_argument("--out", type=Path, default=Path("runs/learn"), help="folder for its drawings")
    parser.add_argument("--write", action="store_true", help="put tables and drawings into the page")
    arguments = parser.parse_args()
    out = HERE if arguments.write else arguments.out
    out.mkdir(parents=True, exist_ok=True)
    tf.get_logger().setLevel("ERROR")  # many models in one process: it warns that functions are traced anew
    tables = lesson(arguments.small, out)
    seconds = round(time.process_time())  # with all imports
    for title, table in tables.items():
        print(f"{title}\n\n{markdown(table)}\n")
    print(f"{seconds} seconds of processor time; drawings are in {out}.")
    if arguments.write:
        versions = f"TensorFlow {tf.__version__}, Keras {keras.__version__}"
        stored = {"seconds": seconds, "versions": versions, "tables": tables}
        script.with_suffix(".json").write_text(json.dumps(stored, indent=1, ensure_ascii=False) + "\n", "utf-8")
        page = script.with_suffix(".md")
        page.write_text(with_results(page.read_text("utf-8"), script.name, stored), "utf-8")
