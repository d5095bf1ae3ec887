"""The small CNNs of the zoo in TensorFlow Lite Micro: do they run, is the arena exact, are scores those of LiteRT?

    python benchmarks/boards.py --out runs/boards

trains every CNN of up to 300,000 parameters for two epochs of the digits, exports it as a C array and runs that on all
test images. A model that has a row in the folder already is not measured again: a stopped benchmark goes on.

- arena: bytes measured; `exact` is whether the model starts in so many and does not in 16 fewer. `planned` is what
  `zoo inspect --memory` plans for values, `card` what `zoo list` estimates of them; `estimate` is for the whole arena,
  as the header has it without TensorFlow Lite Micro.
- equal: test images whose scores are those of LiteRT to the last bit; `reference`, those of the others that are equal
  to LiteRT's reference kernels. `apart` is the largest difference, in steps of a score. `at` has the operations in
  whose outputs values differ first, on up to 20 of the images that differ, from LiteRT and from its reference kernels.
"""

import argparse
import json
import os
import sys
from collections import Counter
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

MOST_PARAMETERS = 300_000
NO_CNN = ("mlp", "locally_connected")
SETTINGS = ["epochs=2", "optimizer.learning_rate=2e-3"]
TRACED = 20  # images that differ, which are looked into


def trained(name, folder):
    from recipes.fit import fit
    from recipes.run.folder import Run

    if (folder / "model.keras").is_file():
        return Run.open(folder)
    options = {"recipe": "quick", "overrides": SETTINGS, "quiet": True, "overwrite": True}
    return fit(name, data="digits", out=folder, **options).run


def starts(content, arena):
    """Whether TensorFlow Lite Micro starts in so many bytes."""
    from tflite_micro import runtime

    from recipes.support.quiet import native_output_hidden

    try:
        with native_output_hidden():
            runtime.Interpreter.from_bytes(content, arena_size=arena)
    except RuntimeError:
        return False
    return True


def first_differences(content, other, images):
    """The operations in whose outputs values differ first from another interpreter's, and on how many images."""
    import numpy as np
    from tflite_micro import runtime

    keep = runtime.InterpreterConfig.kPreserveAllTensors
    micro = runtime.Interpreter.from_bytes(content, arena_size=2**26, intrepreter_config=keep)
    found = Counter()
    for image in images:
        micro.set_input(other.as_input(image[None]), 0)
        micro.invoke()
        other.set_input(image)
        other.invoke()
        for operator in other.graph.operators:
            pairs = [(micro.GetTensor(i, 0)["tensor_data"], other._interpreter.get_tensor(i)) for i in operator.outputs]
            if not all(np.array_equal(ours.reshape(theirs.shape), theirs) for ours, theirs in pairs):
                found[operator.kind] += 1
                break
    return dict(found)


def measure(name, folder):
    import zoo
    from recipes.export.handover import export
    from recipes.export.kinds.c_array import arena_estimate
    from recipes.tflite.file import TFLiteFile
    from recipes.tflite.memory import plan_memory
    from zoo.errors import FailureError

    run = trained(name, folder / name)
    shape = "x".join(map(str, run.recipe.model.input_shape))
    row = {"model": name, "image": shape, "parameters": zoo.get_card(name).parameters}
    file = folder / f"{name}.cc"
    try:
        result = export(run, to="c-array", out=file, budget={"agreement": 0.0, "drop": 1.0}, force=True)
    except FailureError as error:
        return row | {"runs": str(error)}
    board = result.board
    content, graph = file.with_suffix(".tflite").read_bytes(), TFLiteFile(file.with_suffix(".tflite")).graph
    row |= {
        "runs": "yes",
        "flash": result.bytes,
        "accuracy": round(result.accuracy_file, 4),
        "agreement": round(result.agreement, 4),
        "arena": board["arena_bytes"],
        "exact": starts(content, board["arena_bytes"]) and not starts(content, board["arena_bytes"] - 16),
        "values": board["values_bytes"],
        "planned": plan_memory(graph).bytes,
        "card": zoo.describe(name, input_shape=tuple(run.recipe.model.input_shape)).arena_bytes,
        "estimate": arena_estimate(graph),
        "images": board["images"],
        "equal": board["equal"],
        "reference": board["equal_reference"],
        "apart": round(board["max_difference"] / board["step"]),
    }
    images, at = run.load_data().test.images, {}
    for called, reference in (("LiteRT", False), ("reference", True)):
        other = TFLiteFile(file.with_suffix(".tflite"), keep_all=True, reference=reference)
        ours = other.in_micro().run(other.as_input(images[:200]))
        theirs = TFLiteFile(file.with_suffix(".tflite"), reference=reference).predict(images[:200])
        differ = (other.as_scores(ours) != theirs).any(axis=1)
        at[called] = first_differences(content, other, images[:200][differ][:TRACED])
    return row | {"at": at}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="where runs, files and rows are kept")
    parser.add_argument("--models", nargs="*", help="only these")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    from zoo.catalogue import select

    names = [card.name for card in select(max_params=MOST_PARAMETERS, sort="params") if card.name not in NO_CNN]
    rows = []
    arguments.out.mkdir(parents=True, exist_ok=True)
    for name in arguments.models or names:
        kept = arguments.out / f"{name}.json"
        if not kept.is_file():
            kept.write_text(json.dumps(measure(name, arguments.out)))
        rows.append(json.loads(kept.read_text()))
        print(rows[-1], file=sys.stderr, flush=True)
    if arguments.json:
        print(json.dumps(rows, indent=1))
        return
    columns = list(dict.fromkeys(key for row in rows for key in row))
    print(f"| {' | '.join(columns)} |\n|{'---|' * len(columns)}")
    for row in rows:
        values = [row.get(column, "") for column in columns]
        print(f"| {' | '.join(f'{value:,}' if type(value) is int else str(value) for value in values)} |")


if __name__ == "__main__":
    main()
