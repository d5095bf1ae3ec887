"""Convolutions at several scales as an integer file has them: one a scale, and what joins them."""

from typing import Any

from zoo.backend import keras
from zoo.layers.quantized import QuantizedWeights, copied
from zoo.registry import Tensor


@keras.saving.register_keras_serializable(package="zoo")
class QuantizedScales(QuantizedWeights):
    """A `ScaleConv2D` that gives a tensor (B, H, W, filters) a scale: as in a file, a concatenation joins them.

    Arguments are those of `QuantizedWeights`.
    """

    def call(self, inputs: Tensor, training: bool = False) -> list[Tensor]:
        if training or self.exporting or not self.settled:
            return [self.activation(x) for x in self._apart(inputs, *self.in_floats())]
        apart: list[Tensor] = keras.ops.split(super().call(inputs), len(self.layer.scales), axis=-1)
        return apart

    def _computed(self, inputs: Tensor, kernel: Tensor, bias: Tensor | None) -> Tensor:
        return keras.ops.concatenate(self._apart(inputs, kernel, bias), axis=-1)

    def _apart(self, inputs: Tensor, kernel: Tensor, bias: Tensor | None) -> list[Tensor]:
        found: list[Tensor] = self.layer.convolved(inputs, kernel, copied(bias, kernel.shape[-1]))
        return found

    def compute_output_shape(self, input_shape: Any) -> Any:
        return [(*input_shape[:-1], self.layer.filters)] * len(self.layer.scales)
