"""From a Keras model to another format: TFLite in every precision, ONNX, SavedModel. Nothing is proven here."""

import importlib.util
import json
import tempfile
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from recipes.data import Split
from recipes.support.quiet import native_output_hidden
from recipes.tflite.graph import read_graph
from zoo.errors import FailureError, RequestError
from zoo.layers import register_layers

TFLITE = ("float32", "float16", "dynamic", "int8", "int16x8")
REPRESENTATIVE = 200  # training images that the ranges of integers are taken from
_OPERATIONS = {
    "int8": tf.lite.OpsSet.TFLITE_BUILTINS_INT8,
    "int16x8": tf.lite.OpsSet.EXPERIMENTAL_TFLITE_BUILTINS_ACTIVATIONS_INT16_WEIGHTS_INT8,
}


def convert(
    model: keras.Model, to: str, train: Split, *, output_type: str = "uint8", dynamic_size: bool = False
) -> bytes:
    """The TFLite flatbuffer of a model with images (B, H, W, C) as input.

    Args:
        model: computes in float32, see `in_float32`.
        to: one of `TFLITE`.
        train: where `int8` and `int16x8` take their ranges from; its images' size is the file's.
        output_type: of the scores of `int8`: `uint8` or `float32`.
        dynamic_size: leaves height and width open; the model must, too, see `of_any_size`.

    Raises:
        FailureError: the model needs operations that TFLite does not have built in.
    """
    options: dict[str, Any] = {"target_spec": {"supported_ops": [_OPERATIONS.get(to, tf.lite.OpsSet.TFLITE_BUILTINS)]}}
    if to != "float32":
        options["optimizations"] = [tf.lite.Optimize.DEFAULT]
    if to == "float16":
        options["target_spec"]["supported_types"] = [tf.float16]
    if to in _OPERATIONS:
        options["representative_dataset"] = _representative(train)
    if to == "int8":
        options["inference_input_type"] = tf.uint8
        options["inference_output_type"] = tf.as_dtype(output_type)
    height, width, channels = train.images.shape[1:]
    shape = (1, None, None, channels) if dynamic_size else (1, height, width, channels)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "model.tflite")
        _export(model, file, to, format="litert", input_signature=_signature(shape), **options)
        content = file.read_bytes()
    if foreign := read_graph(content).custom:
        raise FailureError(
            f"{model.name} needs operations that TFLite does not have built in: {', '.join(foreign)}"
            f"{_layers_of(content)}."
        )
    return content


def to_saved_model(model: keras.Model, folder: Path) -> None:
    """Writes a TensorFlow SavedModel: images (B, H, W, C) float32, its function is called `serve`."""
    _export(model, folder, "saved-model", format="tf_saved_model")


def to_onnx(model: keras.Model, file: Path, shape: tuple[int, int, int]) -> None:
    """Writes ONNX for one image (1, H, W, C) float32.

    Raises:
        RequestError: the extra `onnx` is not installed.
    """
    require_onnx()
    _export(model, file, "onnx", format="onnx", input_signature=_signature((1, *shape)))


def require_onnx() -> None:
    """Raises a `RequestError` that says what to install, unless it is."""
    missing = [name for name in ("tf2onnx", "onnx", "onnxruntime") if importlib.util.find_spec(name) is None]
    if missing:
        raise RequestError(f"--to onnx needs {', '.join(missing)}: pip install 'convzoo[onnx]'")


def in_float32(model: keras.Model) -> keras.Model:
    """The model itself, or its copy in float32 if it was trained in another precision.

    Keras exports a mixed-precision model without complaint into a file that no interpreter loads.
    """
    if all(layer.compute_dtype in ("float32", None) for layer in model._flatten_layers()):
        return model

    def plain(node: dict[str, Any]) -> dict[str, Any]:
        if node.get("class_name") == "DTypePolicy":
            return {**node, "config": {"name": "float32"}}
        return {**node, "dtype": "float32"} if node.get("dtype") in ("float16", "bfloat16") else node

    return _rebuilt(model, plain)


def of_any_size(model: keras.Model) -> keras.Model:
    """The model with height and width left open, with the same weights.

    Raises:
        RequestError: its head depends on the size of the image.
    """

    def open_size(node: dict[str, Any]) -> dict[str, Any]:
        node = {key: value for key, value in node.items() if key != "build_config"}  # holds the sizes of before
        shape = node.get("batch_shape")
        return {**node, "batch_shape": [None, None, None, shape[3]]} if shape and len(shape) == 4 else node

    refusal = RequestError(
        f"{model.name} has a head for one size of image: --dynamic-size needs a pooled one, as in `average`."
    )
    try:
        opened = _rebuilt(model, open_size)
    except Exception as error:  # Keras raises whatever a layer says to an unknown size
        raise refusal from error
    fixed = [layer for layer in opened._flatten_layers() if isinstance(layer, keras.layers.Flatten)]
    if any(layer.output.shape[1] is None for layer in fixed):
        raise refusal
    return opened


def _rebuilt(model: keras.Model, change: Callable[[dict[str, Any]], dict[str, Any]]) -> keras.Model:
    """A copy with the same weights, from the model's config with `change` made to every object in it."""

    def walk(node: Any) -> Any:
        if isinstance(node, dict):
            return {key: walk(value) for key, value in change(node).items()}
        return [walk(value) for value in node] if isinstance(node, list | tuple) else node

    register_layers()
    config = json.loads(json.dumps(keras.saving.serialize_keras_object(model)))
    config.pop("compile_config", None)
    copy = keras.saving.deserialize_keras_object(walk(config), safe_mode=True)
    copy.set_weights(model.get_weights())
    return copy


def _export(model: keras.Model, path: Path, to: str, **options: Any) -> None:
    try:
        with native_output_hidden(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the converters' remarks on the libraries they use
            model.export(path, verbose=False, **options)
    except OSError:
        raise
    except Exception as error:  # the converters raise bare RuntimeError and worse
        why = (str(error).strip().splitlines() or [type(error).__name__])[-1]
        raise FailureError(f"{model.name} cannot be converted to {to}: {why}") from error


def _signature(shape: tuple[int | None, ...]) -> list[keras.InputSpec]:
    return [keras.InputSpec(shape=shape, dtype="float32")]


def _layers_of(content: bytes) -> str:
    layers = sorted({operator.layer for operator in read_graph(content).operators if operator.custom})
    return f" (in {', '.join(layers)})" if layers else ""


def _representative(train: Split) -> Callable[[], Iterator[list[np.ndarray]]]:
    """Training images, evenly over the labels; the converter takes the ranges of integers from them."""
    by_class = np.lexsort(np.atleast_2d(train.labels.T))
    rows = by_class[np.linspace(0, len(train) - 1, min(REPRESENTATIVE, len(train))).round().astype(int)]
    images = train.images[rows].astype(np.float32)
    # Black and white must occur for the pixels' own range to be exactly 0-255, whatever the images hold.
    images[0, 0, 0], images[0, -1, -1] = 0, 255
    return lambda: ([image[None]] for image in images)
