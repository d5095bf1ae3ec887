"""Pooling of whole feature maps, for heads: images of any size to one vector."""

from typing import Any

from zoo.backend import keras
from zoo.errors import unknown
from zoo.layers.windows import Statistic, lp_norm, pair, power, softmax
from zoo.registry import Tensor


class GlobalPooling2D(keras.layers.Layer):
    """One value of each feature map: (B, H, W, C) to (B, C), in the policy's compute dtype. H and W may be open."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.input_spec = keras.layers.InputSpec(ndim=4)

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        return (input_shape[0], input_shape[-1])


@keras.saving.register_keras_serializable(package="zoo")
class GlobalLpPooling2D(GlobalPooling2D):
    """The power mean of each feature map, (mean |x|^p)^(1/p): a mean, so that the image's size does not show.

    Args:
        p: from 1; 2 is the root mean square.

    Raises:
        RequestError: `p` is below 1.

    Source: Boureau, Ponce, LeCun 2010, "A theoretical analysis of feature pooling in visual recognition".
    """

    def __init__(self, p: float = 2.0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.p = power("p", p)

    def call(self, inputs: Tensor) -> Tensor:
        return lp_norm(inputs, self.p, axis=(1, 2), mean=True)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "p": self.p}


@keras.saving.register_keras_serializable(package="zoo")
class GlobalGeneralizedMeanPooling2D(GlobalPooling2D):
    """The power mean of each feature map under a learned exponent: average at p = 1, towards the maximum as p grows.

    (mean max(x, epsilon)^p)^(1/p): what is not positive counts as `epsilon`, so it belongs behind a ReLU.

    Args:
        p: where the exponent starts; one for all feature maps.
        epsilon: least value, above 0.

    Raises:
        RequestError: `p` is below 1.

    Source: Radenovic, Tolias, Chum 2018, "Fine-tuning CNN image retrieval with no human annotation", section 3.2.
    """

    def __init__(self, p: float = 3.0, epsilon: float = 1e-6, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.start = power("p", p)
        self.epsilon = epsilon

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        self.p = self.add_weight(shape=(), initializer=keras.initializers.Constant(self.start), name="p")

    def call(self, inputs: Tensor) -> Tensor:
        return lp_norm(
            keras.ops.maximum(inputs, self.epsilon), keras.ops.cast(self.p, self.compute_dtype), axis=(1, 2), mean=True
        )

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "p": self.start, "epsilon": self.epsilon}


@keras.saving.register_keras_serializable(package="zoo")
class GlobalAttentionPooling2D(GlobalPooling2D):
    """The average of all places of the map, weighted by how much a learned direction is in them.

    out = sum_ij a_ij x_ij with a = softmax over the places of v . x_ij, and v (C,) learned; v starts at 0, which is
    the plain average.

    Source: Ilse, Tomczak, Welling 2018, "Attention-based deep multiple instance learning", equations 7 and 8,
    without the hidden layer.
    """

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        self.direction = self.add_weight(shape=(input_shape[-1], 1), initializer="zeros", name="direction")

    def call(self, inputs: Tensor) -> Tensor:
        weights = softmax(keras.ops.matmul(inputs, self.direction), axis=(1, 2))
        return keras.ops.sum(weights * inputs, axis=(1, 2))


@keras.saving.register_keras_serializable(package="zoo")
class RegionPooling2D(keras.layers.Layer):
    """A map of any size split into a grid of regions, with a statistic of each: (B, H, W, C) to (B, rows, columns, C).

    Region i of n spans floor(i H / n) to ceil((i + 1) H / n), as in Keras' adaptive layers. Those need a size that is
    known when the model is built, and under TensorFlow end the process (SIGFPE, Keras 3.15) where a region is as
    large as the map.

    Args:
        grid: (rows, columns), or one number for both.
        statistic: `average` or `max`.

    Raises:
        RequestError: a grid below 1, or an unknown statistic.

    Source: He, Zhang, Ren, Sun 2014, "Spatial pyramid pooling in deep convolutional networks", section 2.2.
    """

    def __init__(self, grid: int | tuple[int, int], statistic: Statistic = "average", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._reduce = {"average": keras.ops.mean, "max": keras.ops.max}
        if statistic not in self._reduce:
            raise unknown("statistic", statistic, self._reduce)
        self.grid = pair("grid", grid)
        self.statistic = statistic
        self.input_spec = keras.layers.InputSpec(ndim=4)

    def call(self, inputs: Tensor) -> Tensor:
        _, height, width, _ = keras.ops.shape(inputs)
        rows, columns = self.grid
        reduce = self._reduce[self.statistic]
        regions = [
            reduce(inputs[:, top:bottom, left:right], axis=(1, 2))
            for top, bottom in _spans(height, rows)
            for left, right in _spans(width, columns)
        ]
        return keras.ops.reshape(keras.ops.stack(regions, axis=1), (-1, rows, columns, inputs.shape[-1]))

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        return (input_shape[0], *self.grid, input_shape[-1])

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "grid": self.grid, "statistic": self.statistic}


def _spans(length: int | Tensor, regions: int) -> list[tuple[int | Tensor, int | Tensor]]:
    return [(i * length // regions, ((i + 1) * length + regions - 1) // regions) for i in range(regions)]
