"""Convolution whose weights are not shared between places, or not between all feature maps."""

from typing import Any

from zoo.backend import keras
from zoo.errors import RequestError
from zoo.layers.windows import known_channels
from zoo.registry import Tensor


@keras.saving.register_keras_serializable(package="zoo")
class LocallyConnected2D(keras.layers.Layer):
    """A convolution that has its own kernel and bias at every place (LeCun 1989, section 4.3).

    (B, H, W, C) to (B, h, w, filters), h = floor((H - kernel_size) / strides) + 1; the image size must be known.
    It connects what `Conv2D(filters, kernel_size, strides)` connects, with h w times the weights.

    Args:
        filters: feature maps of the output.
        kernel_size: height and width of the window.
        strides: from window to window.
        activation: as in `keras.layers.Conv2D`.

    Raises:
        RequestError: a number below 1, or an image that is smaller than the window or of unknown size.
    """

    unshared = True  # `zoo.anatomy` counts each weight once

    def __init__(self, filters: int, kernel_size: int, strides: int = 1, activation: Any = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        for what, number in (("filters", filters), ("kernel_size", kernel_size), ("strides", strides)):
            if int(number) != number or number < 1:
                raise RequestError(f"{what}={number} is not possible; allowed: whole numbers from 1.")
        self.filters, self.kernel_size, self.strides = int(filters), int(kernel_size), int(strides)
        self.activation = keras.activations.get(activation)
        self.input_spec = keras.layers.InputSpec(ndim=4)

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        height, width = self._places(input_shape)
        fan_in = self.kernel_size**2 * known_channels(input_shape)
        # Glorot's bound of the convolution that this stands beside; Keras would take the places for a fan.
        bound = (6 / (fan_in + self.kernel_size**2 * self.filters)) ** 0.5
        self.kernel = self.add_weight(
            name="kernel",
            shape=(height, width, fan_in, self.filters),
            initializer=keras.initializers.RandomUniform(-bound, bound),
        )
        self.bias = self.add_weight(name="bias", shape=(height, width, self.filters), initializer="zeros")

    def call(self, x: Tensor) -> Tensor:
        return self.activation(self.connected(x, self.kernel) + self.bias)

    def connected(self, x: Tensor, kernel: Tensor) -> Tensor:
        """The sums (B, h, w, filters) by another `kernel`, without a bias."""
        (height, width), stride = kernel.shape[:2], self.strides
        windows = keras.ops.concatenate(
            [
                x[:, i : i + stride * (height - 1) + 1 : stride, j : j + stride * (width - 1) + 1 : stride]
                for i in range(self.kernel_size)
                for j in range(self.kernel_size)
            ],
            axis=-1,
        )
        return keras.ops.einsum("bhwk,hwkf->bhwf", windows, kernel)

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        return (input_shape[0], *self._places(input_shape), self.filters)

    def _places(self, input_shape: tuple[int | None, ...]) -> tuple[int, int]:
        """Rows and columns of windows."""
        height, width = input_shape[1:3]
        if height is None or width is None or min(height, width) < self.kernel_size:
            raise RequestError(
                f"a locally connected layer needs images of known size, at least {self.kernel_size} a side; "
                f"received {(height, width)}."
            )
        return (height - self.kernel_size) // self.strides + 1, (width - self.kernel_size) // self.strides + 1

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "filters": self.filters,
            "kernel_size": self.kernel_size,
            "strides": self.strides,
            "activation": keras.activations.serialize(self.activation),
        }


@keras.saving.register_keras_serializable(package="zoo")
class TableConv2D(keras.layers.Layer):
    """A "valid" convolution each of whose feature maps sees only the maps that a table names (LeCun 1998, table I).

    (B, H, W, C) to (B, H - kernel_size + 1, W - kernel_size + 1, len(table)). What is not connected has no weight.

    Args:
        table: for each output map, the input maps that it sees, numbered from 0.
        kernel_size: height and width of the window.

    Raises:
        RequestError: the table is empty, or names a map that the input does not have.
    """

    def __init__(self, table: tuple[tuple[int, ...], ...], kernel_size: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.table = tuple(tuple(int(source) for source in sources) for sources in table)
        self.kernel_size = int(kernel_size)
        if not self.table or not all(self.table):
            raise RequestError("a table of connections needs at least one input map for every output map.")
        self.input_spec = keras.layers.InputSpec(ndim=4)

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        channels = known_channels(input_shape)
        if not all(0 <= source < channels for sources in self.table for source in sources):
            raise RequestError(f"the table names maps beyond the {channels} of the input.")
        connections = [(source, target) for target, sources in enumerate(self.table) for source in sources]
        # Uniform within 2.4 / fan-in, as in the paper's appendix A; the fan-in differs from map to map.
        bounds = [2.4 / (self.kernel_size**2 * len(self.table[target])) for _, target in connections]
        self.kernel = self.add_weight(
            name="kernel",
            shape=(self.kernel_size, self.kernel_size, len(connections)),
            initializer=lambda shape, dtype: (
                keras.random.uniform(shape, -1.0, 1.0, dtype=dtype) * keras.ops.convert_to_tensor(bounds, dtype)
            ),
        )
        self.bias = self.add_weight(name="bias", shape=(len(self.table),), initializer="zeros")
        self.targets = [target for _, target in connections]  # in rising order
        self._from = [[float(source == c) for c in range(channels)] for source, _ in connections]
        self._to = [[float(target == c) for c in range(len(self.table))] for _, target in connections]

    def call(self, x: Tensor) -> Tensor:
        # Each weight is put in its place among zeros: (k, k, connections) to the kernel (k, k, C, maps) of a Conv2D.
        sources = keras.ops.convert_to_tensor(self._from, self.compute_dtype)[:, :, None]
        targets = keras.ops.convert_to_tensor(self._to, self.compute_dtype)[:, None, :]
        places = keras.ops.reshape(sources * targets, (len(self._from), -1))
        kernel = keras.ops.reshape(
            keras.ops.matmul(keras.ops.reshape(self.kernel, (-1, len(self._from))), places),
            (self.kernel_size, self.kernel_size, len(self._from[0]), len(self.table)),
        )
        return keras.ops.conv(x, kernel, padding="valid") + self.bias

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        sizes = (None if size is None else size - self.kernel_size + 1 for size in input_shape[1:3])
        return (input_shape[0], *sizes, len(self.table))

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "table": self.table, "kernel_size": self.kernel_size}
