"""Subsampling that follows every circular shift exactly: margins that go on around, and places chosen by the map."""

import math
from typing import Any

import numpy as np

from zoo.backend import keras
from zoo.errors import RequestError
from zoo.layers.windows import binomial, depthwise, pair
from zoo.registry import Tensor

Shape = tuple[int | None, ...]
# The root mean square up to which the sum of a component's squares stays within 32 bits. Beyond, sums wrap around, and
# the choice is no longer the largest norm; it follows shifts all the same.
LARGEST = 16.0
FINEST = 4096  # steps in 1 by which ties are decided: finer than the values of 8 bits are apart


@keras.saving.register_keras_serializable(package="zoo")
class CircularPadding2D(keras.layers.Layer):
    """A map with margins in which it goes on around: (B, H, W, C) to (B, H + h - 1, W + w - 1, C).

    A `valid` convolution or pooling behind it gives a map of the size before, and follows circular shifts exactly.

    Args:
        window: (h, w) of the layer behind, or one number for both; an odd margin is below and right.

    Raises:
        RequestError: a size below 1.
    """

    def __init__(self, window: int | tuple[int, int] = 3, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.window = pair("window", window)
        self.input_spec = keras.layers.InputSpec(ndim=4)

    @property
    def margins(self) -> tuple[int, int]:
        """Rows above and columns to the left."""
        return (self.window[0] - 1) // 2, (self.window[1] - 1) // 2

    def call(self, inputs: Tensor) -> Tensor:
        return around(inputs, self.window)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        batch, *sizes, channels = input_shape
        more = (n if n is None else n + window - 1 for n, window in zip(sizes, self.window, strict=True))
        return (batch, *more, channels)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "window": self.window}


@keras.saving.register_keras_serializable(package="zoo")
class CircularBlur2D(keras.layers.Layer):
    """The binomial blur of each map at stride 1, with margins that go on around: (B, H, W, C) to the same.

    Args:
        filter_size: from 1 (none) to 7.

    Raises:
        RequestError: a filter size outside its range.
    """

    def __init__(self, filter_size: int = 3, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.kernel = binomial(filter_size)
        self.filter_size = filter_size
        self.input_spec = keras.layers.InputSpec(ndim=4)

    @property
    def windows_in_turn(self) -> tuple[tuple[tuple[int, int], tuple[int, int], str], ...]:
        """Extent, stride and padding of its window, which receptive fields go by."""
        return (((self.filter_size, self.filter_size), (1, 1), "same"),)

    def build(self, input_shape: Shape) -> None:
        self.kernel_shape = (self.filter_size, self.filter_size, input_shape[-1])  # of which multiply-adds are counted

    def call(self, inputs: Tensor) -> Tensor:
        return depthwise(around(inputs, self.kernel.shape[:2]), self.kernel, (1, 1))

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        return tuple(input_shape)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "filter_size": self.filter_size}


class _Polyphase(keras.layers.Layer):
    """What takes a map apart into polyphase components: component (i, j) has every place (i, j) + (n, m) * strides.

    Args:
        strides: (down, right), or one number for both.

    Raises:
        RequestError: a stride below 1; when it is called, a map whose sizes are not multiples of the strides.
    """

    def __init__(self, strides: int | tuple[int, int] = 2, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.strides = pair("strides", strides)

    @property
    def components(self) -> int:
        """How many there are."""
        return self.strides[0] * self.strides[1]

    def taken_apart(self, x: Tensor) -> list[Tensor]:
        """The components of (B, H, W, ...), each (B, H / down, W / right, ...)."""
        down, right = self.strides
        return [x[:, i::down, j::right] for i in range(down) for j in range(right)]

    def check(self, sizes: Shape) -> None:
        """Raises a `RequestError` where components would not be of one size."""
        for size, stride in zip(sizes, self.strides, strict=True):
            if size is not None and size % stride:
                raise RequestError(
                    f"{self.name}: polyphase components need sizes that are multiples of the strides, {self.strides}; "
                    f"received {sizes[0]}x{sizes[1]}, nearest to {size}: {nearest_multiples(size, stride)}."
                )

    def choice(self, x: Tensor) -> Tensor:
        """Which component of (B, H, W, C) has the largest norm: (B, components), a 1 among zeros."""
        self.check(x.shape[1:3])
        values = math.prod(n or 64 for n in x.shape[1:]) / self.components
        coarse = 2 ** math.floor(math.log2(math.sqrt(2**31 / values) / LARGEST))  # steps in 1
        steps = keras.ops.cast(keras.ops.cast(x, "float32") * float(FINEST), "int32")
        rounded = steps // int(FINEST / coarse)
        norms = self._sums(keras.ops.sum(rounded * rounded, axis=-1), x)
        # Of those that tie, the one whose maps, mixed by odd weights, have the largest sum of squares.
        weights = (np.arange(1, (x.shape[-1] or 1) + 1, dtype="int64") * 40503 % 2**16 | 1).astype("int32")
        mixed = keras.ops.sum(steps * weights, axis=-1)
        largest = keras.ops.cast(keras.ops.equal(norms, keras.ops.max(norms, axis=-1, keepdims=True)), "int32")
        ranks = self._sums(mixed * mixed, x) // 4 + largest * 2**30  # it may have wrapped around, and be of any size
        off = keras.ops.expand_dims(keras.ops.argmax(ranks, axis=-1), 1) - np.arange(self.components, dtype="int32")
        # Not `equal`: of that the converter makes a ONE_HOT whose zeros are no zeros in an int8 file.
        return keras.ops.cast(1 - keras.ops.minimum(off * off, 1), self.compute_dtype)

    def _sums(self, values: Tensor, x: Tensor) -> Tensor:
        """The sum of integers (B, H, W) over each component, (B, components)."""
        height, width = x.shape[1:3] if None not in x.shape[1:3] else keras.ops.shape(x)[1:3]
        down, right = self.strides
        apart = keras.ops.reshape(values, (-1, height // down, down, width // right, right))
        return keras.ops.reshape(keras.ops.sum(apart, axis=(1, 3)), (-1, self.components))

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "strides": self.strides}


@keras.saving.register_keras_serializable(package="zoo")
class PolyphaseChoice2D(_Polyphase):
    """Which polyphase component of a map has the largest norm: (B, H, W, C) to (B, components), a 1 among zeros.

    Under a circular shift of the map the same component is chosen, at the place that it is moved to. Norms are sums
    of integers, so that their order does not matter: values are rounded down to steps, as fine as a sum of
    squares in 32 bits allows. In an int8 file they are summed from 8-bit values without rounding, and do not tie as
    8-bit sums would. Of components that tie, another sum decides, in which each map has a weight of its own. Those
    that tie in this too are decided by their number, which shifts change: where they are shifted copies of each other,
    as on an even ground, that makes no difference.

    Args:
        strides: see `_Polyphase`.

    Source: Chaman, Dokmanic 2021, "Truly shift-invariant convolutional neural networks", section 3.
    """

    def call(self, inputs: Tensor) -> Tensor:
        return self.choice(inputs)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        self.check(input_shape[1:3])
        return (input_shape[0], self.components)


@keras.saving.register_keras_serializable(package="zoo")
class PolyphaseSampling2D(_Polyphase):
    """One polyphase component of a map, the one with the largest norm: (B, H, W, C) to (B, H / down, W / right, C).

    Adaptive polyphase sampling: what it gives moves with circular shifts of the map, and does nothing else. Behind a
    convolution at stride 1 it takes the place of a stride, behind a pooling at stride 1 that of its stride; both need
    `CircularPadding2D` before them. Exported, it is STRIDED_SLICE, MUL and SUM, and ARG_MAX for the choice.

    Args:
        strides: see `_Polyphase`.

    It is called with a map, or with a map and what `PolyphaseChoice2D` gave for another on the same places: maps that
    are added afterwards must be sampled on the same places.

    Source: Chaman, Dokmanic 2021, "Truly shift-invariant convolutional neural networks", section 3.
    """

    @property
    def windows_in_turn(self) -> tuple[tuple[tuple[int, int], tuple[int, int], str], ...]:
        """Extent, stride and padding of its window, which receptive fields go by."""
        return (((1, 1), self.strides, "valid"),)

    def call(self, inputs: Tensor, chosen: Tensor | None = None) -> Tensor:
        chosen = self.choice(inputs) if chosen is None else chosen
        parts = self.taken_apart(inputs)
        # Side by side first, so that in an int8 file all components have one scale and go through the same rounding.
        sizes = parts[0].shape[1:] if None not in inputs.shape[1:] else keras.ops.shape(parts[0])[1:]
        flat = keras.ops.stack([keras.ops.reshape(part, (-1, math.prod(sizes))) for part in parts], axis=1)
        return keras.ops.reshape(keras.ops.sum(flat * keras.ops.expand_dims(chosen, 2), axis=1), (-1, *sizes))

    def compute_output_shape(self, inputs_shape: Shape, chosen_shape: Shape | None = None) -> Shape:
        self.check(inputs_shape[1:3])
        batch, *sizes, channels = inputs_shape
        return (batch, *(n if n is None else n // s for n, s in zip(sizes, self.strides, strict=True)), channels)


def around(x: Tensor, window: tuple[int, int]) -> Tensor:
    """A map (B, H, W, C) with margins for windows of this size at stride 1, in which it goes on around."""
    for axis, size in enumerate(window, start=1):
        before, after = (size - 1) // 2, size // 2
        copies = -(-after // (x.shape[axis] or after or 1))  # of a map that is smaller than its margins
        many = keras.ops.concatenate([x] * copies, axis) if copies > 1 else x
        length, skip = many.shape[axis], (slice(None),) * axis
        first = [many[(*skip, slice(-before, None) if length is None else slice(length - before, length))]]
        last = [many[(*skip, slice(0, after))]]
        x = keras.ops.concatenate(first * (before > 0) + [x] + last * (after > 0), axis) if after else x
    return x


def nearest_multiples(size: int, of: int) -> str:
    """The multiples of a number on both sides of a size.

    >>> nearest_multiples(28, 8), nearest_multiples(5, 8)
    ('24 or 32', '8')
    """
    below = size // of * of
    return f"{below} or {below + of}" if below else str(of)
