"""A TensorFlow SavedModel, for TensorFlow Serving."""

import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from recipes.export.kinds.base import FLOAT_BUDGET, ExportKind, ExportOptions, RunResult
from zoo.errors import FailureError, RequestError

if TYPE_CHECKING:
    from recipes.export.source import ExportSource

_RELOAD = """
import sys, numpy, tensorflow
model = tensorflow.saved_model.load(sys.argv[1])
images = numpy.load(sys.argv[2])
scores = [model.serve(tensorflow.constant(images[i : i + 250], "float32")).numpy() for i in range(0, len(images), 250)]
numpy.save(sys.argv[3], numpy.concatenate(scores))
"""


class SavedModel(ExportKind):
    """A folder: images (B, H, W, C) float32, its function is called `serve`."""

    name = "saved-model"
    summary = "a TensorFlow SavedModel, function `serve`"
    ending = ""
    budget = FLOAT_BUDGET
    runner = "TensorFlow in a new process"

    def write(self, source: "ExportSource", file: Path, options: ExportOptions) -> None:
        from recipes.export.conversion import export_with_keras

        export_with_keras(source.float32_model, file, self.name, format="tf_saved_model")

    def run(self, source: "ExportSource", file: Path, options: ExportOptions) -> RunResult:
        import numpy as np

        with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
            images, scores = Path(folder, "images.npy"), Path(folder, "scores.npy")
            np.save(images, source.data.test.images)
            # A new process: nothing of the model that is in this one can help.
            command = [sys.executable, "-c", _RELOAD, *map(str, (file.absolute(), images, scores))]
            done = subprocess.run(command, capture_output=True, text=True)
            if done.returncode:
                why = (done.stderr.strip().splitlines() or ["it was killed"])[-1]
                raise FailureError(f"the SavedModel cannot be loaded again: {why}")
            return RunResult(np.load(scores))

    def check_replaceable(self, out: Path) -> None:
        if out.exists() and not (out / "saved_model.pb").is_file():
            raise RequestError(f"{out} holds something that is not a SavedModel; choose another folder.")
