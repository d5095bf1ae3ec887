"""Weights that belong to places, as an integer file has them: a constant of int8 values that one is multiplied with."""

from typing import Any

from zoo.backend import keras
from zoo.layers.quantized import FakeQuantize, rounded
from zoo.registry import Tensor


@keras.saving.register_keras_serializable(package="zoo")
class QuantizedLocal(keras.layers.Wrapper):
    """A `LocallyConnected2D` computed with kernel and bias rounded to int8, each over one range.

    In a file it is a product and a sum; what lies between the two is rounded as well. Weights have eight bits always.

    Args:
        layer: without an activation.
    """

    def __init__(self, layer: keras.layers.Layer, **kwargs: Any) -> None:
        super().__init__(layer, **kwargs)
        self.range = FakeQuantize(name=f"{self.name}_sums_range")

    def build(self, input_shape: Any = None) -> None:
        super().build(input_shape)
        self.range.build(None)
        self.range.built = True

    @property
    def kernel(self) -> Any:
        """The variable that is rounded."""
        return self.layer.kernel

    def call(self, inputs: Tensor, training: bool = False) -> Tensor:
        kernel, bias = (_rounded_over_all(one) for one in (self.layer.kernel, self.layer.bias))
        return self.range(self.layer.connected(inputs, kernel), training=training) + bias

    def compute_output_shape(self, input_shape: Any) -> Any:
        return self.layer.compute_output_shape(input_shape)


def _rounded_over_all(weight: Any) -> Tensor:
    values = keras.ops.convert_to_tensor(weight)
    low, high = (keras.ops.stop_gradient(limit(values)) for limit in (keras.ops.min, keras.ops.max))
    return rounded(values, keras.ops.minimum(low, 0.0), keras.ops.maximum(high, 0.0))
