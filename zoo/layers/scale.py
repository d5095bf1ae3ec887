"""Convolution at several scales with one set of weights: what is larger in the image is seen by larger kernels.

A layer has of each of its C maps a copy at every scale, map c at scale k at channel k * C + c. If the image grows by
the step from one scale to the next, all maps grow, and the copies move up by one: about, because pixels are no
continuum, and the copy at the end has no neighbour to take its place. What is left of it is measured, see
docs/symmetry.md. Stored are coefficients of a fixed basis; the kernels are a function of them, which the converter
folds: in an exported file a layer is one convolution a scale.
"""

from collections.abc import Sequence
from functools import reduce
from typing import Any, ClassVar, Literal

import numpy as np

from zoo.backend import keras
from zoo.errors import RequestError, unknown
from zoo.layers.basis import scaled_basis
from zoo.layers.windows import Statistic
from zoo.registry import Tensor

SMALLEST, LARGEST, HIGHEST = 0.3, 20.0, 4
Shape = tuple[int | None, ...]


@keras.saving.register_keras_serializable(package="zoo")
class ScaleConv2D(keras.layers.Layer):
    """Convolution of each copy with the kernel of its scale: (B, H, W, scales * C) to (B, H, W, scales * filters).

    Kernels are sums of derivatives of a Gaussian that is as wide as the scale: the scale-convolution of Sosnovik,
    Szmaja and Smeulders 2020 (https://arxiv.org/abs/1910.11093), with its basis of Hermite polynomials times a
    Gaussian, without interaction between scales. The border is padded with zeros.

    Args:
        filters: maps of the output, before they are copied.
        scales: standard deviations of the Gaussian in pixels, in order.
        order: of the highest derivative along each axis; a kernel has (order + 1)^2 weights, for 2 as many as 3x3.
        use_bias: one bias a map, for all scales.
        activation: as in `keras.layers.Conv2D`.
        kernel_initializer: of the coefficients; a variance is that of the kernel at the middle scale.

    Raises:
        RequestError: scales that do not rise from 0.3 to at most 20 pixels; an order beyond 0 to 4; when it is built,
            channels that are not a multiple of the number of scales.
    """

    lifting: ClassVar[bool] = False

    def __init__(
        self,
        filters: int,
        scales: Sequence[float] = (0.5, 0.8, 1.25),
        order: int = 2,
        *,
        use_bias: bool = True,
        activation: Any = None,
        kernel_initializer: Any = "he_normal",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.filters, self.scales, self.order = int(filters), tuple(map(float, scales)), int(order)
        rising = all(one < other for one, other in zip(self.scales, self.scales[1:], strict=False))
        if not self.scales or not rising or not SMALLEST <= self.scales[0] <= self.scales[-1] <= LARGEST:
            raise RequestError(
                f"scales {list(self.scales)} are not possible; allowed: one or more, rising, from {SMALLEST:g} to "
                f"{LARGEST:g} pixels."
            )
        if not 0 <= self.order <= HIGHEST:
            raise RequestError(f"order {order} is not possible; allowed: 0 to {HIGHEST}.")
        self.use_bias, self.kernel_initializer = use_bias, keras.initializers.get(kernel_initializer)
        self.activation = keras.activations.get(activation)
        self.basis = scaled_basis(self.scales, self.order)
        self.kernel_size = (len(self.basis[-1]),) * 2  # of the largest scale
        self.strides, self.padding = (1, 1), "same"
        self.input_spec = keras.layers.InputSpec(ndim=4)

    def build(self, input_shape: Shape) -> None:
        channels = int(input_shape[-1] or 0)
        self.channels = channels if self.lifting else maps(self.name, channels, len(self.scales))
        self.free_kernel = self.add_weight(
            name="kernel",
            shape=((self.order + 1) ** 2, self.channels, self.filters),
            initializer=self.kernel_initializer,
        )
        self.bias = self.add_weight(name="bias", shape=(self.filters,), initializer="zeros") if self.use_bias else None
        super().build(input_shape)

    @property
    def kernels(self) -> list[Tensor]:
        """The convolved kernel at each scale, (height, width, C, filters)."""
        dtype = self.free_kernel.dtype
        return [keras.ops.tensordot(keras.ops.cast(basis, dtype), self.free_kernel, 1) for basis in self.basis]

    @property
    def kernel(self) -> Tensor:
        """Of all scales, (height, width, C, scales * filters): the smaller kernels with zeros around."""
        found = []
        for kernel, inside in zip(self.kernels, self._inside(), strict=True):
            around = (inside.start, inside.start)
            found.append(keras.ops.pad(kernel, (around, around, (0, 0), (0, 0))))
        return keras.ops.concatenate(found, axis=-1)

    def _inside(self) -> list[slice]:
        """Rows, and columns, of the largest kernel that the kernel of each scale has."""
        largest = self.kernel_size[0]
        margins = [(largest - len(basis)) // 2 for basis in self.basis]
        return [slice(margin, largest - margin) for margin in margins]

    @property
    def kernel_shape(self) -> tuple[int, ...]:
        """Of the convolved kernels, the pixels of all scales together, without making them."""
        return (sum(len(basis) ** 2 for basis in self.basis), self.channels, self.filters)

    @property
    def parameters_expanded(self) -> int:
        """Weights of the convolutions that this layer is in an exported file."""
        return int(np.prod(self.kernel_shape)) + self.use_bias * self.filters * len(self.scales)

    def call(self, inputs: Tensor) -> Tensor:
        found = self._at_scales(inputs, self.kernels)
        found = found if self.bias is None else [x + self.bias for x in found]
        return keras.ops.concatenate([self.activation(x) for x in found], axis=-1)

    def _at_scales(self, inputs: Tensor, kernels: Sequence[Tensor]) -> list[Tensor]:
        count = len(self.scales)
        copies = [inputs] * count if self.lifting else keras.ops.split(inputs, count, axis=-1)
        return [keras.ops.conv(x, kernel, padding="same") for x, kernel in zip(copies, kernels, strict=True)]

    def convolved(self, inputs: Tensor, kernel: Tensor, bias: Tensor | None) -> list[Tensor]:
        """With another `kernel` and a bias (scales * filters,), no activation: maps (B, H, W, filters) a scale."""
        count = len(self.scales)
        whole = keras.ops.split(kernel, count, axis=-1)
        found = self._at_scales(inputs, [one[rows, rows] for one, rows in zip(whole, self._inside(), strict=True)])
        if bias is None:
            return found
        return [x + one for x, one in zip(found, keras.ops.split(bias, count), strict=True)]

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        return (*input_shape[:-1], len(self.scales) * self.filters)

    def get_config(self) -> dict[str, Any]:
        own = {
            "filters": self.filters,
            "scales": self.scales,
            "order": self.order,
            "use_bias": self.use_bias,
            "activation": keras.activations.serialize(self.activation),
            "kernel_initializer": keras.initializers.serialize(self.kernel_initializer),
        }
        return {**super().get_config(), **own}


@keras.saving.register_keras_serializable(package="zoo")
class ScaleLiftingConv2D(ScaleConv2D):
    """From an image or plain maps to maps at several scales: (B, H, W, C) to (B, H, W, scales * filters).

    Arguments and errors are those of `ScaleConv2D`.
    """

    lifting: ClassVar[bool] = True


@keras.saving.register_keras_serializable(package="zoo")
class ScaleNormalization(keras.layers.BatchNormalization):
    """Batch normalisation whose statistics, scales and shifts are shared by the copies of a map.

    Args:
        copies: how many scales there are.
        **kwargs: of `keras.layers.BatchNormalization`, without `axis`.

    Raises:
        RequestError: when it is built, channels that are not a multiple of `copies`.
    """

    def __init__(self, copies: int = 3, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.copies = int(copies)

    def build(self, input_shape: Shape) -> None:
        channels = int(input_shape[-1] or 0)
        super().build((None, maps(self.name, channels, self.copies)))
        self.input_spec = keras.layers.InputSpec(ndim=4, axes={-1: channels})

    def call(self, inputs: Tensor, training: bool | None = None) -> Tensor:
        rows = keras.ops.reshape(inputs, (-1, inputs.shape[-1] // self.copies))  # a place at one scale
        return keras.ops.reshape(super().call(rows, training=training), keras.ops.shape(inputs))

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        return tuple(input_shape)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "copies": self.copies}


@keras.saving.register_keras_serializable(package="zoo")
class ScalePooling(keras.layers.Layer):
    """The maximum or the mean over the scales of each map: (B, H, W, copies * C) to (B, H, W, C).

    The maximum over scales at every place, of kernels that are resampled, is what Xu and others 2014 propose
    (https://arxiv.org/abs/1411.6369).

    Args:
        statistic: `max` or `average`.
        copies: how many scales there are.

    Raises:
        RequestError: an unknown statistic; when it is built, channels that are not a multiple of `copies`.
    """

    def __init__(self, statistic: Statistic = "max", copies: int = 3, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if statistic not in ("max", "average"):
            raise unknown("statistic", statistic, ("max", "average"))
        self.statistic: Literal["max", "average"] = statistic
        self.copies = int(copies)

    def build(self, input_shape: Shape) -> None:
        maps(self.name, int(input_shape[-1] or 0), self.copies)
        super().build(input_shape)

    def call(self, inputs: Tensor) -> Tensor:
        copies = keras.ops.split(inputs, self.copies, axis=-1)
        return reduce(keras.ops.maximum, copies) if self.statistic == "max" else sum(copies) / self.copies

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        return (*input_shape[:-1], maps(self.name, int(input_shape[-1] or 0), self.copies))

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "statistic": self.statistic, "copies": self.copies}


def maps(name: str, channels: int, copies: int) -> int:
    """How many maps of their own so many channels of a layer called `name` are."""
    if channels % copies:
        raise RequestError(
            f"{name}: {channels} channels are no maps at {copies} scales; possible: multiples of {copies}, as "
            "ScaleLiftingConv2D gives."
        )
    return channels // copies
