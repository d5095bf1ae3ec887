"""A Keras model made ready for export, and Keras' own exporter without its noise. Nothing is verified here."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from recipes.support.quiet import native_output_hidden
from zoo.backend import keras, tf
from zoo.decomposition import decomposed
from zoo.errors import FailureError, RequestError
from zoo.groups import SHIFT, symmetry_of
from zoo.keras_internals import all_layers
from zoo.layers import ScaleNormalization
from zoo.precision import in_precision, rebuilt


def in_float32(model: keras.Model) -> keras.Model:
    """The model itself, or its copy in float32 if it was trained in another precision, or normalises scales.

    Keras exports a mixed-precision model without complaint into a file that no interpreter loads. Normalisation that
    follows several convolutions is no part of them for the converter: integers would round it once more.
    """
    model = in_precision(model, "float32")
    return decomposed(model) if any(isinstance(one, ScaleNormalization) for one in all_layers(model)) else model


def of_any_size(model: keras.Model) -> keras.Model:
    """The model with height and width left open, with the same weights.

    Raises:
        RequestError: its head depends on the size of the image, or it has a symmetry built in.
    """

    if group := symmetry_of(model):
        sizes = "of one size" if group == SHIFT else "square and of one size"
        raise RequestError(
            f"{model.name} gives the same scores under {group}, for which its images must be {sizes}: "
            "--dynamic-size is not possible."
        )

    def open_size(node: dict[str, Any]) -> dict[str, Any]:
        node = {key: value for key, value in node.items() if key != "build_config"}  # holds the sizes of before
        shape = node.get("batch_shape")
        return {**node, "batch_shape": [None, None, None, shape[3]]} if shape and len(shape) == 4 else node

    refusal = RequestError(
        f"{model.name} has a head for one size of image: --dynamic-size needs a pooled one, as in `average`."
    )
    try:
        opened = rebuilt(model, open_size)
    except Exception as error:  # Keras raises whatever a layer says to an unknown size
        raise refusal from error
    fixed = [layer for layer in all_layers(opened) if isinstance(layer, keras.layers.Flatten)]
    if any(layer.output.shape[1] is None for layer in fixed):
        raise refusal
    return opened


def export_with_keras(model: keras.Model, path: Path, kind: str, **options: Any) -> None:
    """`keras.Model.export` without what the converters print.

    Args:
        path: the file or folder to write.
        kind: what is written, for the message.
        options: of `keras.Model.export`.

    Raises:
        FailureError: the converter failed.
    """
    with _quietly(model, kind):
        model.export(path, verbose=False, **options)


def to_tflite(model: keras.Model, shape: tuple[int | None, ...], kind: str, settings: dict[str, Any]) -> bytes:
    """The TFLite flatbuffer that `keras.Model.export` writes, but for its traces.

    Keras traces a model eight times and loads what it saved once more; one trace gives the same file, see
    `tests/test_conversion.py`, in a third of the time.

    Args:
        shape: of the input, float32 images (1, H, W, C), None where a size is open.
        kind: what is written, for the message.
        settings: attributes of `tf.lite.TFLiteConverter`; those of its `target_spec` as a dictionary.

    Raises:
        FailureError: the converter failed.
    """
    with _quietly(model, kind):
        function = tf.function(lambda images: model(images, training=False), autograph=False)
        traced = function.get_concrete_function(tf.TensorSpec(shape, tf.float32, name="args_0"))
        owner = tf.Module()  # the converter finds variables in what holds them; Keras' own are wrapped
        owner.held = [variable.value for variable in model.variables]
        converter = tf.lite.TFLiteConverter.from_concrete_functions([traced], owner)
        for name, value in settings["target_spec"].items():
            setattr(converter.target_spec, name, value)
        for name in settings.keys() - {"target_spec"}:
            setattr(converter, name, settings[name])
        return bytes(converter.convert())


@contextmanager
def _quietly(model: keras.Model, kind: str) -> Iterator[None]:
    """Hides what the converters print, and names the model in what they raise."""
    try:
        with native_output_hidden(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the converters' remarks on the libraries they use
            yield
    except OSError:
        raise
    except Exception as error:  # the converters raise bare RuntimeError and worse
        lines = str(error).strip().splitlines() or [type(error).__name__]
        why = next((line.partition("error: ")[2] for line in lines if "error: " in line), lines[-1])
        raise FailureError(f"{model.name} cannot be converted to {kind}: {why}") from error


def image_signature(shape: tuple[int | None, ...]) -> list[keras.InputSpec]:
    """The input of an exported function: float32 images (B, H, W, C), None where a size is open."""
    return [keras.InputSpec(shape=shape, dtype="float32")]
