"""Maps of fields: what layers on them share, and those that have no kernels.

A map of fields (B, H, W, order * C) has of each of C maps a copy under every element of a group, map c under element g
at channel g * C + c. If the image is rotated, all maps are rotated and the copies change places.
"""

from typing import Any, Literal

import numpy as np

from zoo.backend import keras
from zoo.errors import RequestError, unknown
from zoo.groups import find_group
from zoo.layers.windows import Padding, Statistic, pair
from zoo.registry import Tensor

Axes = tuple[int, int]


class FieldLayer(keras.layers.Layer):
    """What layers on maps of fields share.

    Args:
        group: a name in `zoo.groups.GROUPS`.

    Raises:
        RequestError: an unknown group; when it is built, channels that are not a multiple of its order.
    """

    def __init__(self, group: str = "c4", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.group = find_group(group)

    @property
    def output_group(self) -> str:
        """The group whose copies lie side by side in the output."""
        return self.group.name

    def maps(self, channels: int) -> int:
        """How many maps of their own so many channels are."""
        if channels % self.group.order:
            raise RequestError(
                f"{self.name}: {channels} channels are no fields of {self.group.name}; possible: multiples of "
                f"{self.group.order}, as LiftingConv2D gives."
            )
        return channels // self.group.order

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "group": self.group.name}


class WindowedFieldLayer(FieldLayer):
    """What layers with a window share: where the windows lie must not change when the map is rotated or mirrored.

    Args:
        window: (height, width), or one number for both.
        strides: from window to window.
        padding: `valid` or `same`, as in Keras.

    Raises:
        RequestError: when it is built, a map on which the windows do not lie symmetrically, with the nearest sizes
            that are possible; a map that is not square, or a size that is not known, where that matters.
    """

    def __init__(
        self, window: int | Axes, strides: int | Axes, padding: Padding = "valid", group: str = "c4", **kwargs: Any
    ) -> None:
        super().__init__(group, **kwargs)
        if padding not in ("valid", "same"):
            raise unknown("padding", padding, ("valid", "same"))
        self.window, self.strides, self.padding = pair("window", window), pair("strides", strides), padding
        self.input_spec = keras.layers.InputSpec(ndim=4)
        if self.group.quarter_turns and (len(set(self.window)) > 1 or len(set(self.strides)) > 1):
            raise RequestError(
                f"{self.name}: quarter turns need square windows and equal strides; received windows of "
                f"{self.window}, strides of {self.strides}."
            )

    def check_symmetric(self, sizes: tuple[int | None, ...]) -> None:
        """Raises a `RequestError` where the windows on a map of so many rows and columns are not symmetric."""
        if self.group.quarter_turns and None not in sizes and len(set(sizes)) > 1:
            low, high = sorted(int(size or 0) for size in sizes)
            raise RequestError(
                f"{self.name}: quarter turns need square maps; received {sizes[0]}x{sizes[1]}, nearest: {low}x{low} "
                f"or {high}x{high}."
            )
        for axis in (0, 1) if self.group.quarter_turns else (1,):  # in a mirror, rows stay where they are
            size, window, stride = sizes[axis], self.window[axis], self.strides[axis]
            if size is None:
                if stride > 1 or (self.padding == "same" and window % 2 == 0):
                    raise RequestError(
                        f"{self.name}: whether windows lie symmetrically depends on the size of the image: give "
                        "height and width in input_shape."
                    )
            elif not _symmetric(size, window, stride, self.padding):
                near = [n for n in range(max(window, size - 2 * stride), size + 2 * stride + window) if n != size]
                possible = [n for n in near if _symmetric(n, window, stride, self.padding)]
                below = [n for n in possible if n < size][-1:]
                above = [n for n in possible if n > size][:1]
                raise RequestError(
                    f"{self.name}: windows of {window} with stride {stride} do not lie symmetrically on a map of "
                    f"{sizes[0]}x{sizes[1]}; possible: {' or '.join(map(str, below + above)) or 'no size'}."
                )

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        self.check_symmetric(input_shape[1:3])
        super().build(input_shape)

    def output_sizes(self, sizes: tuple[int | None, ...]) -> tuple[int | None, ...]:
        lengths = tuple(
            n if n is None else -(-n // stride) if self.padding == "same" else (n - window) // stride + 1
            for n, window, stride in zip(sizes, self.window, self.strides, strict=True)
        )
        if any(n is not None and n < 1 for n in lengths):
            raise ValueError(f"a window of {self.window} does not fit into a feature map of {tuple(sizes)}")
        return lengths


def _symmetric(size: int, window: int, stride: int, padding: str) -> bool:
    """Whether the first window is as far from one edge as the last is from the other."""
    count = -(-size // stride) if padding == "same" else (size - window) // stride + 1
    margin = (count - 1) * stride + window - size  # of both sides together
    return margin == 0 or (padding == "same" and margin > 0 and margin % 2 == 0)


@keras.saving.register_keras_serializable(package="zoo")
class FieldNormalization(FieldLayer, keras.layers.BatchNormalization):
    """Batch normalisation whose statistics, scales and shifts are shared by the copies of a map.

    Args:
        group: a name in `zoo.groups.GROUPS`.
        **kwargs: of `keras.layers.BatchNormalization`, without `axis`.

    Raises:
        RequestError: see `FieldLayer`.
    """

    @property
    def parameters_expanded(self) -> int:
        """Weights of as many maps as there are, with their copies."""
        return self.group.order * sum(int(np.prod(weight.shape)) for weight in self.weights)

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        channels = int(input_shape[-1] or 0)
        super().build((*input_shape[:-1], self.maps(channels)))
        self.input_spec = keras.layers.InputSpec(ndim=len(input_shape), axes={-1: channels})

    def call(self, inputs: Tensor, training: bool | None = None) -> Tensor:
        ops, x = keras.ops, keras.ops.cast(inputs, keras.backend.result_type(inputs.dtype, "float32"))
        if training and self.trainable:
            means, variances = ops.moments(x, list(range(len(x.shape) - 1)), synchronized=self.synchronized)
            means, variances = (ops.reshape(one, (self.group.order, -1)) for one in (means, variances))
            mean = ops.mean(means, axis=0)
            variance = ops.mean(variances + ops.square(means - mean), axis=0)
            for moving, batch in ((self.moving_mean, mean), (self.moving_variance, variance)):
                moving.assign(self.momentum * moving + (1 - self.momentum) * batch)
        else:
            mean, variance = self.moving_mean, self.moving_variance
        scale = ops.rsqrt(variance + self.epsilon)
        scale = scale if self.gamma is None else scale * self.gamma
        shift = -mean * scale if self.beta is None else self.beta - mean * scale
        # Written out for every copy: the converter folds scale and shift into the convolution before.
        return ops.cast(x * ops.tile(scale, self.group.order) + ops.tile(shift, self.group.order), inputs.dtype)

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        return tuple(input_shape)


@keras.saving.register_keras_serializable(package="zoo")
class FieldScaling(FieldLayer):
    """Each map times a factor plus a shift, which its copies share: what `FieldNormalization` is in inference.

    (B, H, W, order * C) to the same. It is a depthwise convolution of 1x1, as which integer files have it.

    Args:
        group: a name in `zoo.groups.GROUPS`.

    Raises:
        RequestError: see `FieldLayer`.
    """

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        own = (self.maps(int(input_shape[-1] or 0)),)
        self.free_kernel = self.add_weight(name="kernel", shape=own, initializer="ones")
        self.bias = self.add_weight(name="bias", shape=own, initializer="zeros")
        super().build(input_shape)

    def call(self, inputs: Tensor) -> Tensor:
        ops, order = keras.ops, self.group.order
        kernel = ops.reshape(ops.tile(self.free_kernel, order), (1, 1, -1, 1))
        return ops.depthwise_conv(inputs, kernel) + ops.tile(self.bias, order)

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        return tuple(input_shape)


@keras.saving.register_keras_serializable(package="zoo")
class FieldPooling2D(WindowedFieldLayer):
    """The maximum or the mean in windows of every map, on windows that lie symmetrically: (B, H, W, C) to (B, h, w, C).

    Args:
        pool_size, strides, padding: as in Keras.
        statistic: `max` or `average`.
        group: a name in `zoo.groups.GROUPS`.

    Raises:
        RequestError: see `WindowedFieldLayer`.
    """

    def __init__(
        self,
        pool_size: int | Axes = 2,
        strides: int | Axes | None = None,
        padding: Padding = "valid",
        statistic: Statistic = "max",
        group: str = "c4",
        **kwargs: Any,
    ) -> None:
        super().__init__(pool_size, pool_size if strides is None else strides, padding, group, **kwargs)
        if statistic not in ("max", "average"):
            raise unknown("statistic", statistic, ("max", "average"))
        self.pool_size, self.statistic = self.window, statistic

    def call(self, inputs: Tensor) -> Tensor:
        pool = keras.ops.max_pool if self.statistic == "max" else keras.ops.average_pool
        return pool(inputs, self.pool_size, self.strides, self.padding)

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        return (input_shape[0], *self.output_sizes(input_shape[1:3]), input_shape[-1])

    def get_config(self) -> dict[str, Any]:
        own = {"pool_size": self.pool_size, "strides": self.strides, "padding": self.padding}
        return {**super().get_config(), **own, "statistic": self.statistic}


@keras.saving.register_keras_serializable(package="zoo")
class GroupPooling(FieldLayer):
    """The maximum or the mean over the copies of each map: (..., order * C) to (..., C).

    What is rotated with the image before is only rotated with it afterwards: no copies change places any more.

    Args:
        statistic: `max` or `average`.
        group: a name in `zoo.groups.GROUPS`.

    Raises:
        RequestError: see `FieldLayer`.
    """

    def __init__(self, statistic: Statistic = "max", group: str = "c4", **kwargs: Any) -> None:
        super().__init__(group, **kwargs)
        if statistic not in ("max", "average"):
            raise unknown("statistic", statistic, ("max", "average"))
        self.statistic: Literal["max", "average"] = statistic

    @property
    def output_group(self) -> str:
        return ""

    def call(self, inputs: Tensor) -> Tensor:
        maps = self.maps(inputs.shape[-1])
        copies = keras.ops.reshape(inputs, (-1, self.group.order, maps))
        pooled = (keras.ops.max if self.statistic == "max" else keras.ops.mean)(copies, axis=1)
        sizes = inputs.shape[1:-1] if None not in inputs.shape[1:-1] else keras.ops.shape(inputs)[1:-1]
        return keras.ops.reshape(pooled, (-1, *sizes, maps))

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        return (*input_shape[:-1], self.maps(int(input_shape[-1] or 0)))

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "statistic": self.statistic}
