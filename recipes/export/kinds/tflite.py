"""TFLite in every precision, for phones: builtin operations only, with labels and metadata inside."""

import json
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from recipes.export.kinds.base import FLOAT_BUDGET, QUANTISED_BUDGET, Budget, ExportKind, ExportOptions, RunResult
from zoo.backend import as_keras_ships, keras, tf
from zoo.errors import FailureError, unknown

if TYPE_CHECKING:
    import numpy as np

    from recipes.data import Split
    from recipes.export.source import ExportSource
    from recipes.tflite.file import TFLiteFile
    from recipes.tflite.graph import Graph

REPRESENTATIVE = 200  # training images that the ranges of integers are taken from
_OTHER_SIZE = 1.5  # times the image's own, that a file of open size is tried with
_TRACED = 8  # test images that errors are traced through the layers with
_INSIDE = (  # what the metadata has no field for
    "model",
    "kind",
    "task",
    "resize",
    "image_shape",
    "symmetry",
    "symmetric_to",
    "float_layers",
    "temperature",
    "threshold",
    "run",
    "versions",
)


@dataclass(frozen=True)
class TFLite(ExportKind):
    """A `.tflite` file of one precision.

    Attributes:
        weights: dtype of the weights: `float32`, `float16` or `int8`.
        values: dtype of what is computed between layers: `float32`, `int16` or `int8`; with `int8`, pixels are uint8.
        instead: kinds to try where this one is beyond its budget; empty for a float kind.
    """

    name: str
    summary: str
    budget: Budget
    weights: str = "float32"
    values: str = "float32"
    instead: str = ""
    ending = ".tflite"
    runner = "LiteRT"
    dynamic_size = True

    @property
    def integers(self) -> bool:  # type: ignore[override]
        return self.values == "int8"

    @property
    def symmetric_to(self) -> float:  # type: ignore[override]
        """Integers are added to the same sum in any order; with `dynamic` each image has ranges of its own."""
        return 0.0 if self.values != "float32" else 0.05 if self.weights == "int8" else 1e-4

    def convert(
        self, model: "keras.Model", train: "Split", *, output_type: str = "uint8", dynamic_size: bool = False
    ) -> bytes:
        """The TFLite flatbuffer of a model, see `convert`."""
        from recipes.export.conversion import to_tflite
        from recipes.export.four_bits import with_four_bits
        from recipes.tflite.graph import read_graph
        from zoo.ranges import exporting, has_four_bits, is_quantized

        height, width, channels = train.images.shape[1:]
        shape = (1, None, None, channels) if dynamic_size else (1, height, width, channels)
        with exporting(model):
            content = to_tflite(model, shape, self.name, self._converter_settings(model, train, output_type))
        if has_four_bits(model):
            content = with_four_bits(content)
        graph = read_graph(content)
        if is_quantized(model) and (floats := _in_floats(graph)):
            raise FailureError(f"{model.name} has layers that are not integers in the file: {', '.join(floats)}.")
        if graph.custom:
            layers = sorted({operator.layer for operator in graph.operators if operator.custom})
            raise FailureError(
                f"{model.name} needs operations that TFLite does not have built in: {', '.join(graph.custom)} "
                f"(in {', '.join(layers)})."
            )
        return content

    def _converter_settings(self, model: "keras.Model", train: "Split", output_type: str) -> dict[str, Any]:
        """What `tf.lite.TFLiteConverter` is told; a model that rounds its values brings their ranges itself."""
        from zoo.ranges import is_quantized

        own_ranges = is_quantized(model)
        operations = {
            "float32": tf.lite.OpsSet.TFLITE_BUILTINS,
            "int16": tf.lite.OpsSet.EXPERIMENTAL_TFLITE_BUILTINS_ACTIVATIONS_INT16_WEIGHTS_INT8,
            "int8": tf.lite.OpsSet.TFLITE_BUILTINS_INT8,
        }
        target: dict[str, Any] = {"supported_ops": [operations["float32" if own_ranges else self.values]]}
        settings: dict[str, Any] = {"target_spec": target}
        if self.weights != "float32":
            settings["optimizations"] = [tf.lite.Optimize.DEFAULT]
        if self.weights == "float16":
            target["supported_types"] = [tf.float16]
        if self.values != "float32" and not own_ranges:
            settings["representative_dataset"] = _representative(train)
        if self.values == "int8":
            settings["inference_input_type"] = tf.uint8
            settings["inference_output_type"] = tf.as_dtype(output_type)
        return settings

    def write(self, source: "ExportSource", file: Path, options: ExportOptions) -> None:
        from recipes.export.pooling import pooling_as_convolution
        from recipes.tasks import TASKS
        from recipes.tflite import metadata
        from recipes.tflite.file import LABELS, attach
        from zoo.ranges import is_quantized

        model = source.any_size_model if options.dynamic_size else source.float32_model
        content = source.integers or self.convert(
            model, source.data.train, output_type=options.output_type, dynamic_size=options.dynamic_size
        )
        if self.values == "int8" and not is_quantized(source.model):  # which computes the mean as the file does
            content = pooling_as_convolution(content)
        facts = self._facts(source, options)
        described = metadata.insert(
            content,
            metadata.classifier_metadata(
                name=source.name,
                description=facts["description"],
                version=facts["version"],
                author=options.author,
                license=options.license,
                channels=source.image_shape[2],
                resize=source.resize,
                label_file=LABELS,
                shares=TASKS[source.task].probabilities,
                threshold=source.answers.get("threshold"),
            ),
        )
        inside = {key: facts[key] for key in _INSIDE if key in facts}
        file.write_bytes(attach(described, source.class_names, inside))
        beside = facts | {"labels": list(source.class_names)}
        file.with_suffix(".json").write_text(f"{json.dumps(beside, indent=1, ensure_ascii=False)}\n", "utf-8")

    def _facts(self, source: "ExportSource", options: ExportOptions) -> dict[str, Any]:
        """What a file says about itself, as JSON types."""
        from zoo.groups import symmetry_of

        whole, group = self.values == "int8", symmetry_of(source.model)
        return {
            "model": source.name,
            "kind": self.name,
            "task": source.task,
            "description": describe(source, self.name),
            "version": source.digest[:12],
            "author": options.author,
            "license": options.license,
            "run": source.digest,
            "image_shape": list(source.image_shape),
            "channels": "RGB" if source.image_shape[2] == 3 else "grey",
            "pixels": "0-255, as they are",
            "input_type": "uint8" if whole else "float32",
            "output_type": options.output_type if whole else "float32",
            "dynamic_size": options.dynamic_size,
            "resize": source.resize,
            **({"symmetry": group, "symmetric_to": self.symmetric_to} if group else {}),
            **({"float_layers": list(source.float_layers)} if source.float_layers else {}),
            **source.answers,
            "made_with": f"convzoo {version('convzoo')}",
            "versions": dict(source.versions),
        }

    def run(self, source: "ExportSource", file: Path, options: ExportOptions) -> RunResult:
        from recipes.scorers.tflite import TFLiteScorer

        opened = TFLiteScorer(file, isolated=False)
        scores = opened.scores(source.data.test.images)
        if options.dynamic_size:
            _check_other_size(opened.file, source)
        return RunResult(scores, opened.file.operators)

    def advice(self, source: "ExportSource", file: Path) -> str:
        return quantised_advice(source, file, self.instead) if self.instead else super().advice(source, file)


PRECISIONS = (
    TFLite("float32", "the same numbers", FLOAT_BUDGET),
    TFLite("float16", "weights at half the size", FLOAT_BUDGET, weights="float16"),
    TFLite("dynamic", "int8 weights, float values", QUANTISED_BUDGET, weights="int8", instead="float16"),
    TFLite(
        "int8",
        "all integers; pixels uint8 in, scores uint8 out (`--output-type float32` for float scores)",
        QUANTISED_BUDGET,
        weights="int8",
        values="int8",
        instead="int16x8 or dynamic",
    ),
    TFLite(
        "int16x8",
        "int8 weights, int16 values; floats in and out",
        QUANTISED_BUDGET,
        weights="int8",
        values="int16",
        instead="float16",
    ),
)


@as_keras_ships
def convert(
    model: "keras.Model", to: str, train: "Split", *, output_type: str = "uint8", dynamic_size: bool = False
) -> bytes:
    """The TFLite flatbuffer of a model with images (B, H, W, C) as input. It is not verified, and has no metadata.

    Args:
        model: computes in float32, see `recipes.export.conversion.in_float32`.
        to: `float32`, `float16`, `dynamic`, `int8` or `int16x8`.
        train: where `int8` and `int16x8` take their ranges from; its images' size is the file's.
        output_type: of the scores of `int8`: `uint8` or `float32`.
        dynamic_size: leaves height and width open; the model must, too, see `recipes.export.conversion.of_any_size`.

    Raises:
        RequestError: an unknown precision.
        FailureError: the model needs operations that TFLite does not have built in.
    """
    precisions = {kind.name: kind for kind in PRECISIONS}
    if to not in precisions:
        raise unknown("precision", to, precisions)
    return precisions[to].convert(model, train, output_type=output_type, dynamic_size=dynamic_size)


def calibrated(model: "keras.Model", train: "Split") -> bytes:
    """The float32 flatbuffer of a model with the ranges of its values, as the converter has it before it rounds.

    Raises:
        FailureError: the converter failed.
    """
    from recipes.export.conversion import to_tflite
    from zoo.keras_internals import CALIBRATE_ONLY

    (int8,) = (kind for kind in PRECISIONS if kind.name == "int8")
    settings = int8._converter_settings(model, train, "uint8") | {CALIBRATE_ONLY: True}
    return to_tflite(model, (1, *train.images.shape[1:]), "int8", settings)


def _in_floats(graph: "Graph") -> list[str]:
    """Layers with operations on floats, but for what makes float scores of the last integers."""
    found = [
        operator.layer
        for operator in graph.operators
        if operator.kind != "DEQUANTIZE" and any(graph.tensors[i].dtype == "float32" for i in operator.outputs)
    ]
    return sorted(set(found))


def describe(source: "ExportSource", kind: str) -> str:
    """A line on what a file is and what it answers."""
    from recipes.tasks import TASKS

    answer = TASKS[source.task].answer(source.class_names)
    return f"{source.name}, {kind}: {answer}."


@contextmanager
def float_twin(source: "ExportSource") -> Iterator[Path]:
    """The float32 file of a model, in the block."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        twin = Path(folder, "float32.tflite")
        twin.write_bytes(convert(source.float32_model, "float32", source.data.train))
        yield twin


def quantised_advice(source: "ExportSource", file: Path, instead: str) -> str:
    """In which layers a quantised `.tflite` file went wrong, and what to try."""
    from recipes.export.layers import layer_errors
    from zoo.ranges import is_quantized

    if is_quantized(source.model):
        return "The model computes as the file does: a difference is a fault of the converter or of LiteRT."
    with float_twin(source) as twin:
        errors = layer_errors(file, twin, source.data.test.images[:_TRACED])
    worst = ", ".join(f"{layer} (+{error:.1%})" for layer, error in errors[:3] if error > 0)
    where = f"Most of the error comes in at {worst}. " if worst else ""
    what = f"Try --to {instead}, `zoo finetune RUN --recipe qat`, or train with more weight decay or augmentation"
    return f"{where}{what}; --budget agreement=X or drop=X allows it."


def _check_other_size(opened: "TFLiteFile", source: "ExportSource") -> None:
    """Compares a file of open size with its model on images larger than the run's."""
    import numpy as np

    from recipes.export.parity import agreement

    images = source.data.test.images[:50]
    old_height, old_width = images.shape[1:3]
    height, width = int(_OTHER_SIZE * old_height), int(_OTHER_SIZE * old_width)
    rows = np.arange(height) * old_height // height
    columns = np.arange(width) * old_width // width
    larger = images[:, rows][:, :, columns]
    opened.resize(height, width)
    same = agreement(source.any_size_model.predict(larger, verbose=0), opened.predict(larger), source.task)
    if not same >= 0.9:
        raise FailureError(f"at {height}x{width} the file agrees with the model to {same:.0%} only.")


def _representative(train: "Split") -> "Callable[[], Iterator[list[np.ndarray]]]":
    """Training images, evenly over the labels; the converter takes the ranges of integers from them."""
    import numpy as np

    from recipes.support.rows import evenly_spaced

    by_class = np.lexsort(np.atleast_2d(train.labels.T))
    rows = by_class[evenly_spaced(len(train), REPRESENTATIVE)]
    images = train.images[rows].astype(np.float32)
    # Black and white must occur for the pixels' own range to be exactly 0-255, whatever the images hold.
    images[0, 0, 0], images[0, -1, -1] = 0, 255
    return lambda: ([image[None]] for image in images)
