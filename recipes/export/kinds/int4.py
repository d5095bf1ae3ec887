"""TFLite with weights of four bits, made of the float32 file by LiteRT's own quantiser."""

import contextlib
import io
from typing import TYPE_CHECKING

from recipes.export.kinds.base import QUANTISED_BUDGET
from recipes.export.kinds.tflite import PRECISIONS, TFLite
from zoo.backend import keras
from zoo.errors import FailureError

if TYPE_CHECKING:
    from recipes.data import Split

_FLOAT32 = next(kind for kind in PRECISIONS if kind.name == "float32")


class Int4(TFLite):
    """A `.tflite` file with int4 weights, one scale an output channel, and float values between layers.

    LiteRT rounds the values to eight bits as it computes, by the range that they have in each image.
    """

    extra = "int4"
    modules = ("litert_quantizer",)

    def convert(
        self, model: "keras.Model", train: "Split", *, output_type: str = "uint8", dynamic_size: bool = False
    ) -> bytes:
        """The TFLite flatbuffer of a model.

        Raises:
            FailureError: as for `float32`, or no layer of the model can have such weights.
        """
        from litert_quantizer import quantizer, recipe

        from recipes.tflite.graph import read_graph

        content = _FLOAT32.convert(model, train, dynamic_size=dynamic_size)
        with contextlib.redirect_stdout(io.StringIO()):  # it prints sizes
            made = quantizer.Quantizer(bytearray(content))
            made.load_quantization_recipe(recipe.dynamic_wi4_afp32())
            four = bytes(made.quantize().quantized_model)
        if not any(tensor.dtype == "int4" for tensor in read_graph(four).tensors):
            raise FailureError(f"{model.name} has no layer whose weights can have four bits.")
        return four


INT4 = Int4(
    "int4",
    "int4 weights, float values",
    QUANTISED_BUDGET,
    weights="int4",
    instead="dynamic or int8",
)
