"""Sums, products and leaky ReLUs as XNNPACK computes them of int8 values: of whole numbers, by factors of few bits.

XNNPACK (https://github.com/google/XNNPACK), `src/microparams-init.c`: the parameters of `qs8_add`, `qs8_mul`,
`qs8_lrelu`.
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from zoo.backend import keras
from zoo.registry import Tensor

SUM_BITS = 20  # of the larger of the two factors of a sum, behind the first
LEAKY_BITS = 8  # of both factors of a leaky ReLU, behind the point


class SettledLayer(keras.layers.Layer):
    """Computes in float32 until it is told the scales of its inputs and of its output, and in integers from then on.

    Args:
        scales: what one level of each input is worth; none before `settle` was told.
        output_scale: what one of the output is.
    """

    def __init__(self, scales: Sequence[float] = (), output_scale: float = 0.0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.scales, self.output_scale, self.exporting = tuple(scales), output_scale, False

    def settle(self, scales: Sequence[Any], output_scale: Any) -> None:
        """Takes the scales of inputs and output, float32 scalars."""
        self.scales, self.output_scale = tuple(float(scale) for scale in scales), float(output_scale)

    def _in_floats(self, training: bool) -> bool:
        return training or self.exporting or not self.scales

    def _factors(self) -> list[float]:
        """Levels of the output that one of each input is, as float32 divides."""
        return [float(np.float32(scale) / np.float32(self.output_scale)) for scale in self.scales]

    def _levels(self, x: Tensor, scale: float) -> Tensor:
        """Distances from the integer zero: whole numbers, float64."""
        return keras.ops.cast(keras.ops.round(x / scale), "float64")

    def _values(self, products: Tensor, bits: int) -> Tensor:
        """Products with factors of so many bits as values of the output: shifted back, halves upwards."""
        levels = keras.ops.floor((products + 2.0 ** (bits - 1)) / 2.0**bits)
        return keras.ops.cast(levels, "float32") * self.output_scale

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "scales": self.scales, "output_scale": self.output_scale}


@keras.saving.register_keras_serializable(package="zoo")
class QuantizedAdd(SettledLayer):
    """The sum of two tensors of the same shape, float32, as `keras.layers.Add`.

    Args:
        activation: what is done to the sum: `linear`, `relu` or `relu6`.
    """

    def __init__(self, activation: str = "linear", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.activation = keras.activations.get(activation)

    def call(self, inputs: Sequence[Tensor], training: bool = False) -> Tensor:
        first, second = inputs
        if self._in_floats(training):
            return self.activation(first + second)
        factors = self._factors()
        bits = SUM_BITS + 1 - math.frexp(max(factors))[1]
        terms = [
            self._levels(x, scale) * float(np.rint(math.ldexp(factor, bits)))
            for x, scale, factor in zip(inputs, self.scales, factors, strict=True)
        ]
        return self.activation(self._values(terms[0] + terms[1], bits))

    def compute_output_shape(self, input_shapes: Any) -> Any:
        return input_shapes[0]

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "activation": keras.activations.serialize(self.activation)}


@keras.saving.register_keras_serializable(package="zoo")
class QuantizedMultiply(SettledLayer):
    """The product of two tensors, float32, as `keras.layers.Multiply`; one may be (B, 1, 1, C) for (B, H, W, C)."""

    def call(self, inputs: Sequence[Tensor], training: bool = False) -> Tensor:
        first, second = inputs
        if self._in_floats(training):
            return first * second
        products = keras.ops.round(first / self.scales[0]) * keras.ops.round(second / self.scales[1])
        factor = np.float32(self.scales[0]) * np.float32(self.scales[1]) / np.float32(self.output_scale)
        return keras.ops.round(products * factor) * self.output_scale

    def compute_output_shape(self, input_shapes: Any) -> Any:
        return keras.layers.Multiply().compute_output_shape(input_shapes)


@keras.saving.register_keras_serializable(package="zoo")
class QuantizedLeakyReLU(SettledLayer):
    """`keras.activations.leaky_relu` with its usual slope: any shape in, the same out, float32."""

    SLOPE = 0.2

    def call(self, inputs: Tensor, training: bool = False) -> Tensor:
        if self._in_floats(training):
            return keras.activations.leaky_relu(inputs, self.SLOPE)
        (scale,), (factor,) = self.scales, self._factors()
        slope = float(np.float32(factor) * np.float32(self.SLOPE))
        rising, falling = (float(np.rint(math.ldexp(one, LEAKY_BITS))) for one in (factor, slope))
        levels = self._levels(inputs, scale)
        return self._values(keras.ops.where(levels >= 0, rising * levels, falling * levels), LEAKY_BITS)

    def compute_output_shape(self, input_shape: Any) -> Any:
        return input_shape
