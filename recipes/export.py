"""From a run to a `.tflite` file that is proven to behave like the model it came from."""

import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from recipes.data import Split
from recipes.quiet import native_output_hidden
from recipes.run import Run, write_whole
from recipes.tflite import TFLiteFile, attach, custom_operators
from zoo.errors import FailureError, RequestError, unknown

REPRESENTATIVE = 200  # training pictures that int8 ranges are taken from


@dataclass(frozen=True)
class Budget:
    """How far a file may be from its model before it is refused.

    Attributes:
        agreement: least share of test pictures that both put into the same class.
        drop: largest loss of accuracy on the test pictures, as a share.
    """

    agreement: float = 0.0
    drop: float = 1.0


# A float file computes the same function; a quantised one may decide differently where it was a near thing.
BUDGETS = {
    "float32": Budget(agreement=0.995),
    "float16": Budget(agreement=0.995),
    "dynamic": Budget(drop=0.01),
    "int8": Budget(drop=0.01),
}


@dataclass(frozen=True)
class Exported:
    """A file that passed, and what was measured.

    Attributes:
        file: where it is.
        bytes: its size.
        agreement: share of test pictures with the same top-1 class as the Keras model.
        max_difference: largest difference of any score.
        accuracy_keras, accuracy_file: on the test pictures.
        operators: TFLite operations and how often each is used.
    """

    file: str
    bytes: int
    agreement: float
    max_difference: float
    accuracy_keras: float
    accuracy_file: float
    operators: dict[str, int]

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def export(
    run: str | Path | Run,
    *,
    to: str = "int8",
    out: str | Path | None = None,
    budget: Mapping[str, float] | None = None,
) -> Exported:
    """Exports a run's model to TFLite, runs the file on the test pictures, and hands it over if it agrees.

    The file holds builtin operations only, takes one picture (1, H, W, C) of pixels 0-255 (uint8 for `int8`, else
    float32), and carries its labels. For `int8`, ranges come from 200 training pictures.

    Args:
        run: the run or its folder.
        to: `float32`, `float16` (weights), `dynamic` (int8 weights), or `int8` (all of it; uint8 in and out).
        out: the file to write; `MODEL-TO.tflite` in the run's folder if None.
        budget: replaces parts of `BUDGETS[to]`.

    Raises:
        RequestError: an unknown kind, or a run that cannot be read.
        FailureError: the file is beyond the budget or needs other operations; nothing is left at `out`.
    """
    if to not in BUDGETS:
        raise unknown("kind of export", to, BUDGETS)
    limits = _budget(to, budget or {})
    run = run if isinstance(run, Run) else Run.open(run)
    out = Path(out) if out else run.path / f"{run.recipe.model.name}-{to}.tflite"
    if out.suffix != ".tflite":
        raise RequestError(f"{out} does not end in .tflite.")
    if not out.parent.is_dir():
        raise RequestError(f"{out.parent} is not a folder; make it first.")
    recipe, model, data = run.recipe, run.load_model(), run.load_data()
    content = convert(model, to, data.train)
    facts = {
        "model": recipe.model.name,
        "kind": to,
        "resize": recipe.data.resize,
        "versions": recipe.versions,
    }
    results: list[Exported] = []

    def write_and_prove(aside: Path) -> None:
        aside.write_bytes(attach(content, run.class_names, facts))
        results.append(_prove(TFLiteFile(aside), model, data.test, out))
        _hold_against(limits, results[0])

    try:
        write_whole(out, write_and_prove)
    except FailureError:
        out.unlink(missing_ok=True)  # an older file under this name must not pass for this one
        raise
    run.write_json(f"export-{to}.json", results[0].to_dict())
    return results[0]


def convert(model: keras.Model, to: str, train: Split) -> bytes:
    """The TFLite flatbuffer of a model with pictures (B, H, W, C) as input.

    Raises:
        FailureError: the model needs operations that TFLite does not have built in.
    """
    options: dict[str, Any] = {"target_spec": {"supported_ops": [tf.lite.OpsSet.TFLITE_BUILTINS]}}
    if to != "float32":
        options["optimizations"] = [tf.lite.Optimize.DEFAULT]
    if to == "float16":
        options["target_spec"]["supported_types"] = [tf.float16]
    if to == "int8":
        options["target_spec"]["supported_ops"] = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
        options["representative_dataset"] = _representative(train)
        options["inference_input_type"] = options["inference_output_type"] = tf.uint8
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "model.tflite")
        signature = [keras.InputSpec(shape=(1, *train.images.shape[1:]), dtype="float32")]
        try:
            with native_output_hidden():
                model.export(file, format="litert", input_signature=signature, verbose=False, **options)
        except Exception as error:  # the converter raises bare RuntimeError and worse
            why = str(error).strip().splitlines()[-1]
            raise FailureError(f"{model.name} cannot be converted to {to}: {why}") from error
        content = file.read_bytes()
    if foreign := custom_operators(content):
        raise FailureError(f"{model.name} needs operations that TFLite does not have built in: {', '.join(foreign)}.")
    return content


def _representative(train: Split) -> Callable[[], Iterator[list[np.ndarray]]]:
    """Training pictures, evenly over the classes; the converter takes the ranges of int8 values from them."""
    by_class = np.argsort(train.labels, kind="stable")
    rows = by_class[np.linspace(0, len(train) - 1, min(REPRESENTATIVE, len(train))).round().astype(int)]
    images = train.images[rows].astype(np.float32)
    # Black and white must occur for the pixels' own range to be exactly 0-255, whatever the pictures hold.
    images[0, 0, 0], images[0, -1, -1] = 0, 255
    return lambda: ([image[None]] for image in images)


def _prove(file: TFLiteFile, model: keras.Model, test: Split, out: Path) -> Exported:
    expected = model.predict(test.images, batch_size=250, verbose=0)
    received = file.predict(test.images)
    return Exported(
        file=str(out),
        bytes=file.path.stat().st_size,
        agreement=float((expected.argmax(1) == received.argmax(1)).mean()),
        max_difference=float(np.abs(expected - received).max()),
        accuracy_keras=float((expected.argmax(1) == test.labels).mean()),
        accuracy_file=float((received.argmax(1) == test.labels).mean()),
        operators=file.operators,
    )


def _hold_against(budget: Budget, result: Exported) -> None:
    drop = result.accuracy_keras - result.accuracy_file
    # Written so that not-a-number is beyond any budget.
    if not (result.agreement >= budget.agreement and drop <= budget.drop and np.isfinite(result.max_difference)):
        raise FailureError(
            f"the file agrees with the model on {result.agreement:.2%} of the test pictures (at least "
            f"{budget.agreement:.2%} asked) and its accuracy is {100 * drop:.2f} points lower (at most "
            f"{100 * budget.drop:.2f} allowed): {result.file} was not written."
        )


def _budget(to: str, changes: Mapping[str, float]) -> Budget:
    values = asdict(BUDGETS[to])
    for name, value in changes.items():
        if name not in values:
            raise unknown("budget", name, values)
        if not 0 <= value <= 1:
            raise RequestError(f"budget {name}={value} is not possible; allowed: a share, 0 to 1.")
        values[name] = value
    return Budget(**values)
