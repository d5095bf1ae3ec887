"""One writer a kind of export: it fills files, runs what it wrote on the test images, and returns the scores."""

import json
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from recipes.export.c_array import write_c_array
from recipes.export.conversion import TFLITE, convert, of_any_size, to_onnx, to_saved_model
from recipes.export.parity import agreement
from recipes.export.source import Subject
from recipes.tasks import TASKS
from recipes.tflite import metadata
from recipes.tflite.file import LABELS, TFLiteFile, attach
from zoo.errors import FailureError

ENDINGS = dict.fromkeys(TFLITE, ".tflite") | {"onnx": ".onnx", "c-array": ".cc", "saved-model": ""}
_OTHER_SIZE = 1.5  # times the image's own, that a file of open size is tried with
_INSIDE = ("model", "kind", "task", "resize", "image_shape", "run", "versions")  # what the metadata has no field for
_RELOAD = """
import sys, numpy, tensorflow
model = tensorflow.saved_model.load(sys.argv[1])
images = numpy.load(sys.argv[2])
scores = [model.serve(tensorflow.constant(images[i : i + 250], "float32")).numpy() for i in range(0, len(images), 250)]
numpy.save(sys.argv[3], numpy.concatenate(scores))
"""


@dataclass(frozen=True)
class Wishes:
    """What may be chosen of a file.

    Attributes:
        output_type: of the scores of an int8 file: `uint8` or `float32`.
        dynamic_size: leaves height and width of a `.tflite` file open.
        author, license: written into a `.tflite` file.
    """

    output_type: str = "uint8"
    dynamic_size: bool = False
    author: str = ""
    license: str = ""


@dataclass(frozen=True)
class Written:
    """What a writer made: the scores (N, classes) that it gives for the test images, and its operations."""

    scores: np.ndarray
    operators: dict[str, int]


def write(subject: Subject, to: str, file: Path, wishes: Wishes) -> Written:
    """Fills `file`, and others beside it, with a kind of export. The folder should hold nothing else.

    Raises:
        FailureError: the model cannot be converted, or what was written cannot be run.
    """
    return _WRITERS.get(to, _write_tflite)(subject, to, file, wishes)


def _write_tflite(subject: Subject, to: str, file: Path, wishes: Wishes) -> Written:
    network = of_any_size(subject.network) if wishes.dynamic_size else subject.network
    content = convert(network, to, subject.data.train, output_type=wishes.output_type, dynamic_size=wishes.dynamic_size)
    facts = facts_of(subject, to, wishes)
    described = metadata.insert(
        content,
        metadata.classifier_metadata(
            name=subject.name,
            description=facts["description"],
            version=facts["version"],
            author=wishes.author,
            license=wishes.license,
            channels=subject.image_shape[2],
            resize=subject.resize,
            label_file=LABELS,
            shares=TASKS[subject.task].probabilities,
        ),
    )
    inside = {key: facts[key] for key in _INSIDE}
    file.write_bytes(attach(described, subject.class_names, inside))
    beside = facts | {"labels": list(subject.class_names)}
    file.with_suffix(".json").write_text(f"{json.dumps(beside, indent=1, ensure_ascii=False)}\n", "utf-8")
    written = TFLiteFile(file)
    scores = written.predict(subject.data.test.images)
    if wishes.dynamic_size:
        _try_other_size(written, network, subject)
    return Written(scores, written.operators)


def facts_of(subject: Subject, to: str, wishes: Wishes) -> dict[str, Any]:
    """What a file says about itself, as JSON types."""
    height, width, channels = subject.image_shape
    names = subject.class_names
    answer = TASKS[subject.task].answer(names)
    return {
        "model": subject.name,
        "kind": to,
        "task": subject.task,
        "description": f"{subject.name}, {to}: {answer}.",
        "version": subject.digest[:12],
        "author": wishes.author,
        "license": wishes.license,
        "run": subject.digest,
        "image_shape": [height, width, channels],
        "channels": "RGB" if channels == 3 else "grey",
        "pixels": "0-255, as they are",
        "input_type": "uint8" if to == "int8" else "float32",
        "output_type": wishes.output_type if to == "int8" else "float32",
        "dynamic_size": wishes.dynamic_size,
        "resize": subject.resize,
        "made_with": f"convzoo {version('convzoo')}",
        "versions": dict(subject.versions),
    }


def _try_other_size(written: TFLiteFile, network: Any, subject: Subject) -> None:
    """Holds a file of open size against its model on images larger than the run's."""
    images = subject.data.test.images[:50]
    height, width = (int(_OTHER_SIZE * n) for n in images.shape[1:3])
    rows, columns = (np.arange(n) * old // n for n, old in zip((height, width), images.shape[1:3], strict=True))
    larger = images[:, rows][:, :, columns]
    written.resize(height, width)
    same = agreement(network.predict(larger, verbose=0), written.predict(larger), subject.task)
    if not same >= 0.9:
        raise FailureError(f"at {height}x{width} the file agrees with the model to {same:.0%} only.")


def _write_c_array(subject: Subject, to: str, file: Path, wishes: Wishes) -> Written:
    content = convert(subject.network, "int8", subject.data.train, output_type=wishes.output_type)
    whole = file.with_suffix(".tflite")  # the array's very bytes, for tools that want a file
    whole.write_bytes(content)
    write_c_array(content, file.with_suffix(""), subject.class_names, facts_of(subject, to, wishes)["description"])
    written = TFLiteFile(whole)
    return Written(written.predict(subject.data.test.images), written.operators)


def _write_saved_model(subject: Subject, to: str, file: Path, wishes: Wishes) -> Written:
    to_saved_model(subject.network, file)
    with tempfile.TemporaryDirectory() as folder:
        images, scores = Path(folder, "images.npy"), Path(folder, "scores.npy")
        np.save(images, subject.data.test.images)
        # A new process: nothing of the model that is in this one can help.
        command = [sys.executable, "-c", _RELOAD, *map(str, (file.absolute(), images, scores))]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            why = (done.stderr.strip().splitlines() or ["it was killed"])[-1]
            raise FailureError(f"the SavedModel cannot be loaded again: {why}")
        return Written(np.load(scores), {})


def _write_onnx(subject: Subject, to: str, file: Path, wishes: Wishes) -> Written:
    to_onnx(subject.network, file, subject.image_shape)
    import onnx
    import onnxruntime

    operators = Counter(node.op_type for node in onnx.load(str(file)).graph.node)
    session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    scores = [session.run(None, {name: image[None].astype(np.float32)})[0][0] for image in subject.data.test.images]
    return Written(np.stack(scores), dict(sorted(operators.items())))


_WRITERS: dict[str, Callable[[Subject, str, Path, Wishes], Written]] = {
    "c-array": _write_c_array,
    "saved-model": _write_saved_model,
    "onnx": _write_onnx,
}
