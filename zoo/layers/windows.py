"""What pooling layers share: the windows of a feature map, and the norm of what is in them."""

from math import comb
from typing import Any, Literal, get_args

import numpy as np

from zoo.backend import keras
from zoo.errors import RequestError, unknown
from zoo.registry import Tensor

Padding = Literal["valid", "same"]
Statistic = Literal["max", "average"]


class WindowPooling2D(keras.layers.Layer):
    """A statistic of each window of each feature map: (B, H, W, C) to (B, h, w, C), in the policy's compute dtype.

    Subclasses reduce what `windows` gives. The arguments and the size of the output are those of Keras' own
    pooling layers: floor((H - pool) / stride) + 1 for `valid`, ceil(H / stride) for `same`.

    Args:
        pool_size: of the window, (height, width) or one number for both.
        strides: from window to window; `pool_size` if None.
        padding: `valid` or `same`.

    Raises:
        RequestError: a size or stride below 1, or an unknown padding.
    """

    def __init__(
        self,
        pool_size: int | tuple[int, int] = 2,
        strides: int | tuple[int, int] | None = None,
        padding: Padding = "valid",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if padding not in get_args(Padding):
            raise unknown("padding", padding, get_args(Padding))
        self.pool_size = pair("pool_size", pool_size)
        self.strides = self.pool_size if strides is None else pair("strides", strides)
        self.padding = padding
        self.input_spec = keras.layers.InputSpec(ndim=4)

    def windows(self, x: Tensor, mode: Literal["constant", "symmetric"] = "constant") -> list[Tensor]:
        """The first value of each window, the second, ...: (B, H, W, C) to as many (B, h, w, C) as a window has values.

        By depthwise convolutions with one 1 each: four times as fast in training as slices with a stride, and
        `extract_patches` multiplies with a dense kernel of C x C x window.

        Args:
            mode: what `same` padding holds: zeros, or the image mirrored at its edge.
        """
        x = self.padded(x, mode)
        one_hot = np.eye(self.pool_size[0] * self.pool_size[1]).reshape(-1, *self.pool_size, 1)
        return [depthwise(x, kernel, self.strides) for kernel in one_hot]

    def padded(self, x: Tensor, mode: Literal["constant", "symmetric"] = "constant") -> Tensor:
        """A map whose `valid` windows are the windows of `x`."""
        return pad_same(x, self.pool_size, self.strides, mode) if self.padding == "same" else x

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        batch, *sizes, channels = input_shape
        lengths = [
            n if n is None else -(-n // stride) if self.padding == "same" else (n - pool) // stride + 1
            for n, pool, stride in zip(sizes, self.pool_size, self.strides, strict=True)
        ]
        if any(n is not None and n < 1 for n in lengths):
            raise ValueError(f"a window of {self.pool_size} does not fit into a feature map of {tuple(sizes)}")
        return (batch, *lengths, channels)

    def get_config(self) -> dict[str, Any]:
        own = {"pool_size": self.pool_size, "strides": self.strides, "padding": self.padding}
        return {**super().get_config(), **own}


def depthwise(x: Tensor, kernel: Tensor | np.ndarray, strides: tuple[int, int]) -> Tensor:
    """Each map of (B, H, W, C) correlated with its kernel of (height, width, C), or (height, width, 1) for all maps."""
    kernel = keras.ops.cast(keras.ops.broadcast_to(kernel, (*kernel.shape[:2], x.shape[-1])), x.dtype)[..., None]
    down, right = strides
    if down == right:
        return keras.ops.depthwise_conv(x, kernel, down, "valid")
    return keras.ops.depthwise_conv(x, kernel, 1, "valid")[:, ::down, ::right]  # TensorFlow wants equal strides


def pad_same(x: Tensor, size: tuple[int, int], strides: tuple[int, int], mode: str = "constant") -> Tensor:
    """A map (B, H, W, C) with margins such that ceil(H / stride) windows fit; an odd one is below and right."""
    margins = []
    for length, window, stride in zip(keras.ops.shape(x)[1:3], size, strides, strict=True):
        total = window - 1 - (length - 1) % stride
        # The length is a tensor where the image's size is open.
        total = max(total, 0) if isinstance(total, int) else keras.ops.maximum(total, 0)
        margins.append([total // 2, total - total // 2])
    return keras.ops.pad(x, [[0, 0], *margins, [0, 0]], mode)


def binomial(size: int) -> np.ndarray:
    """The binomial filter of sum 1, (size, size, 1).

    Raises:
        RequestError: a size that is not from 1 to 7.
    """
    if not (isinstance(size, int) and 1 <= size <= 7):
        raise RequestError(f"filter_size={size} is not possible; allowed: whole numbers from 1 to 7.")
    row = np.array([comb(size - 1, i) / 2 ** (size - 1) for i in range(size)])
    return np.asarray(np.outer(row, row)[..., None])


def binomial_blur(x: Tensor, size: int, strides: tuple[int, int]) -> Tensor:
    """The average under binomial weights around each place: (B, H, W, C) to (B, ceil(H / down), ceil(W / right), C).

    Places outside the image do not count: a constant stays what it is up to the edge.
    """
    kernel = binomial(size)
    total = depthwise(pad_same(x, kernel.shape[:2], strides), kernel, strides)
    return total / depthwise(pad_same(keras.ops.ones_like(x[:1, :, :, :1]), kernel.shape[:2], strides), kernel, strides)


def lp_norm(x: Tensor, p: float | Tensor, axis: int | tuple[int, ...] = 0, *, mean: bool = False) -> Tensor:
    """(sum |x|^p)^(1/p) over `axis`, or the mean in place of the sum.

    The largest value is taken out before raising to the power, so that float16 does not overflow and the gradient
    stays finite where all values are 0. The norm does not depend on that factor, so no gradient flows through it.
    """
    x = keras.ops.absolute(x)
    largest = keras.ops.stop_gradient(keras.ops.max(x, axis=axis, keepdims=True))
    scaled = x / keras.ops.where(largest > 0, largest, keras.ops.ones_like(largest))
    square = isinstance(p, float) and p == 2
    powers = keras.ops.square(scaled) if square else keras.ops.power(scaled, p)
    total = (keras.ops.mean if mean else keras.ops.sum)(powers, axis=axis, keepdims=True)
    total = keras.ops.where(largest > 0, total, keras.ops.ones_like(total))
    norm = largest * (keras.ops.sqrt(total) if square else keras.ops.power(total, 1 / p))
    return keras.ops.squeeze(norm, axis=axis)


def softmax(x: Tensor, axis: int | tuple[int, ...]) -> Tensor:
    """Softmax over one axis or several, of open sizes too (Keras' warns of size 1, and wants a reshape for two)."""
    x = keras.ops.exp(x - keras.ops.max(x, axis=axis, keepdims=True))
    return x / keras.ops.sum(x, axis=axis, keepdims=True)


def known_channels(input_shape: tuple[int | None, ...]) -> int:
    """The channels (..., C) that a layer is built for.

    Raises:
        ValueError: their number is open.
    """
    if input_shape[-1] is None:
        raise ValueError(f"the number of channels must be known; received {input_shape}.")
    return input_shape[-1]


def pair(what: str, value: int | tuple[int, int]) -> tuple[int, int]:
    """(height, width) of one number or two.

    Raises:
        RequestError: not one or two whole numbers from 1.
    """
    values = (value, value) if isinstance(value, int) else tuple(value)
    if len(values) != 2 or any(int(n) != n or n < 1 for n in values):
        raise RequestError(f"{what}={value} is not possible; allowed: one or two whole numbers from 1.")
    return int(values[0]), int(values[1])


def power(what: str, p: float) -> float:
    """`p` as a float.

    Raises:
        RequestError: below 1, where it is not a norm.
    """
    if not 1 <= p < float("inf"):
        raise RequestError(f"{what}={p} is not possible; allowed: finite numbers from 1.")
    return float(p)
