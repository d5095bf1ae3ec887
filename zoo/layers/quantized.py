"""Layers that compute in float32 what an integer file computes: values and weights are rounded to what integers hold.

Rounding has no slope of its own; gradients pass as if it were not there (Bengio and others 2013), except where a value
lies beyond its range. The scheme is TFLite's (Jacob and others 2018, https://arxiv.org/abs/1712.05877): values have one
scale and one zero point a tensor, weights have one scale an output channel, with zero in the middle.
"""

from collections.abc import Callable
from typing import Any

from zoo.backend import keras, tf
from zoo.registry import Tensor

LEVELS = {8: 127, 4: 7}  # the largest integer of a weight, by its bits
MOMENTUM = 0.99  # of the ranges, over batches: the noise of one batch must not move a scale
HALF = 1e-3  # levels that float32 may lie beside a half
LEAST = 1e-6  # width of a range, and scale of a weight


def rounded(values: Tensor, low: Any, high: Any) -> Tensor:
    """Values on the 256 levels of a range that holds 0; it is moved by less than a level, so that 0 is one of them."""
    low = keras.ops.convert_to_tensor(low, "float32")
    high = keras.ops.maximum(keras.ops.convert_to_tensor(high, "float32"), low + LEAST)
    return tf.quantization.fake_quant_with_min_max_vars(values, low, high)


def scale_and_zero(low: Any, high: Any) -> tuple[Tensor, Tensor]:
    """What one level of a range is worth, and the int8 that stands for 0; float32 scalars."""
    low = keras.ops.convert_to_tensor(low, "float32")
    scale = keras.ops.maximum(keras.ops.convert_to_tensor(high, "float32") - low, LEAST) / 255
    return scale, keras.ops.clip(keras.ops.floor(-low / scale + 0.5), 0, 255) - 128


def mean_rounded(values: Tensor, low: Any, high: Any) -> Tensor:
    """Means of a few values of a range as `AVERAGE_POOL_2D` rounds them: halves away from the integer zero."""
    scale, zero = scale_and_zero(low, high)
    integers = values / scale + zero
    near = keras.ops.sign(integers) * keras.ops.floor(keras.ops.abs(integers) + 0.5 + HALF)
    return values + keras.ops.stop_gradient((near - zero) * scale - values)


@keras.saving.register_keras_serializable(package="zoo")
class FakeQuantize(keras.layers.Layer):
    """Rounds values to the 256 levels of int8: any shape in, the same out, float32.

    The range begins as 0 to 0 and is set by `zoo.quantization.calibrate`. In training it follows a moving average of
    the batches' smallest and largest values. It always holds 0, which padding is made of.

    Args:
        low, high: a range that stays; None for one that is found.
    """

    def __init__(self, low: float | None = None, high: float | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.fixed = None if low is None or high is None else (float(low), float(high))
        self.observer: Callable[[FakeQuantize, Tensor], None] | None = None  # is shown values, which stay unrounded
        self.exporting = False  # the converter knows how means are rounded, and takes the range alone

    def build(self, input_shape: Any) -> None:
        if self.fixed is None:
            self.low, self.high = (
                self.add_weight(name=name, shape=(), initializer="zeros", trainable=False) for name in ("low", "high")
            )

    def call(self, inputs: Tensor, mean: bool = False, training: bool = False) -> Tensor:
        """
        Args:
            mean: they are means of values that were rounded by this layer: the range is theirs and does not move, and
                what is half-way between two integers is rounded away from zero, as TFLite does.
        """
        if self.observer is not None:
            if self.fixed is None and not mean:
                self.observer(self, inputs)
            return inputs
        low, high = self.fixed or (self.low, self.high)
        if mean and not self.exporting:
            return mean_rounded(inputs, low, high)
        if training and self.fixed is None:
            for limit, reduce, nearest in (
                (self.low, keras.ops.min, keras.ops.minimum),
                (self.high, keras.ops.max, keras.ops.maximum),
            ):
                seen = keras.ops.stop_gradient(nearest(reduce(inputs), 0.0))
                limit.assign(MOMENTUM * limit + (1 - MOMENTUM) * seen)
        return rounded(inputs, low, high)

    def scale(self) -> Tensor:
        """What one level is worth."""
        return scale_and_zero(*(self.fixed or (self.low, self.high)))[0]

    def compute_output_shape(self, input_shape: Any) -> Any:
        return input_shape

    def get_config(self) -> dict[str, Any]:
        low, high = self.fixed or (None, None)
        return {**super().get_config(), "low": low, "high": high}


@keras.saving.register_keras_serializable(package="zoo")
class QuantizedWeights(keras.layers.Wrapper):
    """A layer with a kernel, computed with the kernel rounded to integers of `bits`, one scale an output channel.

    Once `settle` was told the scale of the input, it is computed in integers that float32 holds exactly, as in a file:
    where a sum lies between two integers must not depend on the order of its terms.

    Args:
        layer: without an activation, with a variable `kernel`, or `free_kernel` whose moved copies share their scales.
        bits: of a weight, 8 or 4.
        activation: what is done to the output: `linear`, `relu` or `relu6`.
        settled: whether `settle` was called.
    """

    def __init__(
        self,
        layer: keras.layers.Layer,
        bits: int = 8,
        activation: str = "linear",
        settled: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(layer, **kwargs)
        self.bits, self.settled, self.exporting = int(bits), bool(settled), False
        self.activation = keras.activations.get(activation)

    def build(self, input_shape: Any = None) -> None:
        if not self.layer.built:
            self.layer.build(input_shape)
            self.layer.built = True
        self.input_scale = self.add_weight(name="input_scale", shape=(), initializer="ones", trainable=False)
        self.built = True

    @property
    def kernel(self) -> Any:
        """The variable that is rounded."""
        return self.layer.free_kernel if hasattr(self.layer, "free_kernel") else self.layer.kernel

    @property
    def parameters_expanded(self) -> int | None:
        """Of a symmetric layer, see `zoo.layers.GroupConv2D`."""
        expanded: int | None = getattr(self.layer, "parameters_expanded", None)
        return expanded

    def scales(self) -> Tensor:
        """What one level is worth: of the kernel's shape with 1 along what a channel shares."""
        kernel = keras.ops.convert_to_tensor(self.kernel)
        shared = tuple(range(len(kernel.shape) - 1))
        if isinstance(self.layer, keras.layers.DepthwiseConv2D):
            shared = shared[:-1]
        largest = keras.ops.max(keras.ops.abs(kernel), axis=shared, keepdims=True)
        return keras.ops.maximum(largest, LEAST) / LEVELS[self.bits]

    def rounded(self) -> Tensor:
        """The kernel as integers hold it; its gradient is that of the kernel itself."""
        kernel, scales = keras.ops.convert_to_tensor(self.kernel), self.scales()
        return kernel + keras.ops.stop_gradient(keras.ops.round(kernel / scales) * scales - kernel)

    def settle(self, scale: Tensor) -> None:
        """Takes the scale of the input, and rounds the bias to integers whose scale is that times the weights'."""
        self.input_scale.assign(scale)
        self.settled = True
        if (bias := self.layer.bias) is not None:
            bias.assign(keras.ops.round(bias / self._sum_scales()) * self._sum_scales())

    def _sum_scales(self) -> Tensor:
        """What one level of a sum is worth, a channel."""
        return keras.ops.reshape(self.scales(), (-1,)) * self.input_scale

    def call(self, inputs: Tensor, training: bool = False) -> Tensor:
        if training or self.exporting or not self.settled:
            with keras.StatelessScope(state_mapping=[(self.kernel, self.rounded())]):
                return self.activation(self.layer(inputs))
        factor, integers = self._sum_scales(), [(self.kernel, keras.ops.round(self.kernel / self.scales()))]
        if self.layer.bias is not None:
            integers.append((self.layer.bias, keras.ops.round(self.layer.bias / factor)))
        with keras.StatelessScope(state_mapping=integers):
            sums = self.layer(keras.ops.round(inputs / self.input_scale))
        copies = sums.shape[-1] // factor.shape[0]
        return self.activation(sums * keras.ops.tile(factor, copies))

    def compute_output_shape(self, input_shape: Any) -> Any:
        return self.layer.compute_output_shape(input_shape)

    def get_config(self) -> dict[str, Any]:
        own = {"bits": self.bits, "settled": self.settled, "activation": keras.activations.serialize(self.activation)}
        return {**super().get_config(), **own}
