"""Layers that compute in float32 what an integer file computes: values and weights are rounded to what integers hold.

Rounding has no slope of its own; gradients pass as if it were not there (Bengio and others 2013), except where a value
lies beyond its range. The scheme is TFLite's (Jacob and others 2018, https://arxiv.org/abs/1712.05877): values have one
scale and one zero point a tensor, weights have one scale an output channel, with zero in the middle.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from zoo.backend import keras, tf
from zoo.layers.fields import FieldScaling
from zoo.registry import Tensor

LEVELS = {8: 127, 4: 7}  # the largest integer of a weight, by its bits
MOMENTUM = 0.99  # of the ranges, over batches: the noise of one batch must not move a scale
HALF = 1e-3  # levels that float32 may lie beside a half
FINEST = LEVELS[8]  # as which the converter finds every weight, see `with_four_bits`
NEARLY_ONE = 1 + 2**-20  # a factor that no optimiser takes away
LEAST = 1e-6  # width of a range, and scale of a weight


def rounded(values: Tensor, low: Any, high: Any) -> Tensor:
    """Values on the 256 levels of a range that holds 0; it is moved by less than a level, so that 0 is one of them."""
    low = keras.ops.convert_to_tensor(low, "float32")
    high = keras.ops.maximum(keras.ops.convert_to_tensor(high, "float32"), low + LEAST)
    return tf.quantization.fake_quant_with_min_max_vars(values, low, high)


def scale_and_zero(low: Any, high: Any) -> tuple[Tensor, Tensor]:
    """What one level of a range is worth, and the int8 that stands for 0; float32 scalars."""
    low = keras.ops.convert_to_tensor(low, "float32")
    width = _exact(keras.ops.convert_to_tensor(high, "float32")) - _exact(low)
    scale = _stored(keras.ops.maximum(width, LEAST) / 255)
    return scale, keras.ops.clip(keras.ops.floor(-low / scale + 0.5), 0, 255) - 128


def _exact(x: Tensor) -> Tensor:
    """In float64, as the converter and LiteRT reckon with scales: sums lie on halves, where the last bit decides."""
    return keras.ops.cast(x, "float64")


def _stored(x: Tensor) -> Tensor:
    """In float32, as a scale is in a file."""
    return keras.ops.cast(x, "float32")


def mean_rounded(values: Tensor, low: Any, high: Any) -> Tensor:
    """Means of a few values of a range as `AVERAGE_POOL_2D` rounds them: halves away from the integer zero."""
    scale, zero = scale_and_zero(low, high)
    integers = values / scale + zero
    near = keras.ops.sign(integers) * keras.ops.floor(keras.ops.abs(integers) + 0.5 + HALF)
    return values + keras.ops.stop_gradient((near - zero) * scale - values)


def rounded_twice(sums: Tensor, factor: Tensor, *, away: int = 0) -> Tensor:
    """Integer sums times a factor as LiteRT's own kernels round them, which have integers of 32 bits alone.

    The factor is a fraction and a shift to the right (Jacob and others 2018, section 2.2). What the fraction makes is
    rounded already, and the shift rounds once more: of sums as small as those of 4-bit weights it drops few bits, and
    one in some dozens of values lies half-way by then.

    Args:
        sums: (..., C) of integers, any float dtype, which is the output's.
        factor: (C,), above 0.
        away: how many of the last channels round what lies half-way away from zero; the others round it upwards.
    """
    factor = keras.ops.cast(factor, "float64")
    shift = keras.ops.maximum(-(keras.ops.floor(keras.ops.log2(factor)) + 1), 0.0)
    fraction = keras.ops.round(factor * 2.0 ** (shift + 31)) / 2.0**31
    first = keras.ops.floor(keras.ops.cast(sums, "float64") * fraction + 0.5) / 2.0**shift
    upwards = keras.ops.floor(first + 0.5)
    outwards = keras.ops.sign(first) * keras.ops.floor(keras.ops.abs(first) + 0.5)
    channels = sums.shape[-1]
    return keras.ops.cast(keras.ops.where(np.arange(channels) < channels - away, upwards, outwards), sums.dtype)


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
class QuantizedConcatenate(keras.layers.Layer):
    """Tensors side by side, all rounded over one range: as `keras.layers.Concatenate`.

    In a file the inputs of CONCATENATION have the scale of its output: what was rounded over another range is rounded
    once more, and what was not is rounded over this one alone.

    Args:
        axis: that of the sides.
        again: which inputs were rounded over another range before.
    """

    def __init__(self, axis: int = -1, again: Sequence[bool] = (), **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.axis, self.again, self.exporting = axis, tuple(again), False
        self.range = FakeQuantize(name=f"{self.name}_range")

    def build(self, input_shapes: Any) -> None:
        self.range.build(input_shapes[0])
        self.range.built = True

    def call(self, inputs: list[Tensor], training: bool = False) -> Tensor:
        if self.exporting:  # the converter wants the range on all of them, and an operation between two ranges
            inputs = [self.range(x * NEARLY_ONE if again else x) for x, again in zip(inputs, self.again, strict=True)]
        return self.range(keras.ops.concatenate(inputs, self.axis), training=training)

    def compute_output_shape(self, input_shapes: Any) -> Any:
        return keras.layers.Concatenate(self.axis).compute_output_shape(input_shapes)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "axis": self.axis, "again": self.again}


@keras.saving.register_keras_serializable(package="zoo")
class QuantizedWeights(keras.layers.Wrapper):
    """A layer with a kernel, computed with the kernel rounded to integers of `bits`, one scale an output channel.

    Once `settle` was told the scale of the input, it is computed in integers that float32 holds exactly, as in a file:
    where a sum lies between two integers must not depend on the order of its terms.

    Args:
        layer: without an activation, with a variable `kernel`, or `free_kernel` whose moved copies share their scales,
            unless a basis makes kernels of it: then those are rounded, each with scales of its own.
        bits: of a weight, 8 or 4.
        activation: what is done to the output: `linear`, `relu` or `relu6`.
        settled: whether `settle` was called.
        output_scale: what one level of the output is worth, once `settle` was told it.
    """

    def __init__(
        self,
        layer: keras.layers.Layer,
        bits: int = 8,
        activation: str = "linear",
        settled: bool = False,
        output_scale: float | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(layer, **kwargs)
        self.bits, self.settled, self.exporting = int(bits), bool(settled), False
        self.output_scale = output_scale
        self.activation = keras.activations.get(activation)

    def build(self, input_shape: Any = None) -> None:
        super().build(input_shape)
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

    @property
    def _in_file(self) -> Tensor:
        """The kernel as it is rounded: the variable, or what a basis makes of it."""
        return keras.ops.convert_to_tensor(self.layer.kernel if self._by_basis else self.kernel)

    @property
    def _by_basis(self) -> bool:
        return getattr(self.layer, "basis", None) is not None

    def scales(self) -> Tensor:
        """What one level is worth: of the kernel's shape with 1 along what a channel shares."""
        kernel = self._in_file
        shared = tuple(range(len(kernel.shape) - 1))
        if isinstance(self.layer, keras.layers.DepthwiseConv2D):
            shared = shared[:-1]
        largest = keras.ops.max(keras.ops.abs(kernel), axis=shared, keepdims=True)
        if (targets := getattr(self.layer, "targets", None)) is not None:  # one channel at several places of the kernel
            ids = keras.ops.convert_to_tensor(list(targets), "int32")
            largest = keras.ops.take(keras.ops.segment_max(largest[0, 0], ids), ids)[None, None]
        return _stored(_exact(keras.ops.maximum(largest, LEAST)) / LEVELS[self.bits])

    def rounded(self) -> Tensor:
        """The kernel as integers hold it; its gradient is that of the kernel itself."""
        kernel, scales = self._in_file, self.scales()
        return kernel + keras.ops.stop_gradient(keras.ops.round(kernel / scales) * scales - kernel)

    def settle(self, scale: Tensor, output_scale: Tensor | None = None) -> None:
        """Takes the scales of input and output, and rounds the bias to integers, whose scale is that of the sums."""
        self.input_scale.assign(scale)
        self.settled = True
        self.output_scale = None if output_scale is None else float(output_scale)
        if (bias := self.layer.bias) is not None and not self._by_basis:  # there its copies have scales of their own
            bias.assign(self._bias_on_levels())

    def scales_in_file(self) -> Tensor:
        """`scales`, a channel, as they come out of the converter, which finds them in the rounded kernel: (C,)."""
        scales = keras.ops.reshape(self.scales(), (-1,))
        if (targets := getattr(self.layer, "targets", None)) is not None:
            scales = keras.ops.segment_max(scales, keras.ops.convert_to_tensor(list(targets), "int32"))
        levels = LEVELS[self.bits]
        found = _stored(_exact(_stored(_exact(scales) * levels)) / FINEST)
        return _stored(_exact(found) * (FINEST / levels))

    def _sum_scales(self) -> Tensor:
        """What one level of a sum is worth, a channel: (C,) float64."""
        return _exact(self.scales_in_file()) * _exact(self.input_scale)

    def call(self, inputs: Tensor, training: bool = False) -> Tensor:
        if training or self.exporting or not self.settled:
            return self.activation(self._computed(inputs, *self.in_floats()))
        factor = self._sum_scales()
        bias = None if self.layer.bias is None else _stored(self._bias_levels(factor))
        sums = self._computed(
            keras.ops.round(inputs / self.input_scale), keras.ops.round(self._in_file / self.scales()), bias
        )
        factor = keras.ops.tile(factor, sums.shape[-1] // factor.shape[0])
        if self.output_scale is None:
            return self.activation(sums * _stored(factor))
        # XNNPACK rounds once; of int4 weights it takes those of FULLY_CONNECTED alone, two inputs at a time.
        if self.bits == 8 or (isinstance(self.layer, keras.layers.Dense) and self.kernel.shape[0] % 2 == 0):
            levels = keras.ops.round(sums * _stored(_exact(_stored(factor)) / self.output_scale))
        else:
            levels = rounded_twice(sums, factor / self.output_scale, away=self._rounded_away(sums.shape[-1]))
        return self.activation(levels * self.output_scale)

    def _bias_levels(self, sum_scales: Tensor) -> Tensor:
        """The integers that a file has for the bias of each channel of sums: float64."""
        return keras.ops.round(_exact(copied(self.layer.bias, sum_scales.shape[0])) / sum_scales)

    def _bias_on_levels(self) -> Tensor:
        """What these integers are worth."""
        scales = self._sum_scales()
        return _stored(self._bias_levels(scales) * scales)

    def in_floats(self) -> tuple[Tensor, Tensor | None]:
        """Rounded kernel and bias; constants for the converter, which folds nothing that grows."""
        if not self.exporting:
            return self.rounded(), self.layer.bias
        with tf.init_scope():
            bias = self.layer.bias
            if bias is not None and self._by_basis and self.settled:  # of 4-bit weights it is rounded twice otherwise
                bias = self._bias_on_levels()
            return keras.ops.convert_to_numpy(self.rounded()), None if bias is None else keras.ops.convert_to_numpy(
                bias
            )

    def _rounded_away(self, channels: int) -> int:
        """Of how many of the last channels halves go away from zero: where a kernel of LiteRT is plain C++."""
        if isinstance(self.layer, keras.layers.DepthwiseConv2D | FieldScaling):
            return channels % 8  # the others are computed eight at a time
        return channels if getattr(self.layer, "groups", 1) > 1 else 0

    def _computed(self, inputs: Tensor, kernel: Tensor, bias: Tensor | None) -> Tensor:
        """What the layer gives with another kernel and bias."""
        if self._by_basis:
            return self.layer.convolved(inputs, kernel, copied(bias, kernel.shape[-1]))
        mapping = [(self.kernel, kernel)] + ([] if bias is None else [(self.layer.bias, bias)])
        with keras.StatelessScope(state_mapping=mapping):
            return self.layer(inputs)

    def compute_output_shape(self, input_shape: Any) -> Any:
        return self.layer.compute_output_shape(input_shape)

    def get_config(self) -> dict[str, Any]:
        own = {"bits": self.bits, "settled": self.settled, "output_scale": self.output_scale}
        return {**super().get_config(), **own, "activation": keras.activations.serialize(self.activation)}


def copied(bias: Tensor | None, channels: int) -> Tensor | None:
    """A bias for each channel, of one for each map of which there are copies."""
    return bias if bias is None or bias.shape[0] == channels else keras.ops.tile(bias, channels // bias.shape[0])
