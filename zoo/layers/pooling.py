"""Pooling within each feature map, beside Keras' own maximum and average."""

from typing import Any, Literal

from zoo.backend import keras
from zoo.errors import RequestError, unknown
from zoo.layers.windows import (
    Padding,
    Statistic,
    WindowPooling2D,
    binomial,
    binomial_blur,
    depthwise,
    lp_norm,
    power,
    softmax,
)
from zoo.registry import Tensor


@keras.saving.register_keras_serializable(package="zoo")
class WeightedAveragePooling2D(WindowPooling2D):
    """The average of each window under learned weights, one a position of the window and a feature map.

    out = sum_i w_i x_i with w = softmax(logits): non-negative, of sum 1, and all equal before training. As in
    Keras' average, what lies outside the image does not count. Shapes and errors as in `WindowPooling2D`.

    Source: Lee, Gallagher, Tu 2016, "Generalizing pooling functions in convolutional neural networks: mixed, gated,
    and tree", the leaves of their trees (free filters there; the softmax makes averages of them).
    """

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        positions = self.pool_size[0] * self.pool_size[1]
        self.logits = self.add_weight(shape=(positions, input_shape[-1]), initializer="zeros", name="logits")

    def call(self, inputs: Tensor) -> Tensor:
        weights = keras.ops.reshape(softmax(self.logits, axis=0), (*self.pool_size, -1))
        total = depthwise(self.padded(inputs), weights, self.strides)
        if self.padding == "valid":
            return total
        return total / depthwise(self.padded(keras.ops.ones_like(inputs[:1])), weights, self.strides)


@keras.saving.register_keras_serializable(package="zoo")
class LpPooling2D(WindowPooling2D):
    """The Lp norm of each window, (sum_i |x_i|^p)^(1/p): the sum at p = 1, towards the maximum as p grows.

    Margins of `same` add nothing. Shapes and further arguments as in `WindowPooling2D`.

    Args:
        p: from 1; 2 is the L2 norm.

    Raises:
        RequestError: `p` is below 1.

    Source: Sermanet, Chintala, LeCun 2012, "Convolutional neural networks applied to house numbers digit
    classification", section 2.2, with a flat in place of a Gaussian window.
    """

    def __init__(
        self,
        pool_size: int | tuple[int, int] = 2,
        strides: int | tuple[int, int] | None = None,
        padding: Padding = "valid",
        p: float = 2.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(pool_size, strides, padding, **kwargs)
        self.p = power("p", p)

    def call(self, inputs: Tensor) -> Tensor:
        return lp_norm(keras.ops.stack(self.windows(inputs)), self.p)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "p": self.p}


@keras.saving.register_keras_serializable(package="zoo")
class OrderStatisticPooling2D(WindowPooling2D):
    """The value of one rank among each window's values in order of size: the median, or any other.

    In margins of `same` stands the image mirrored at its edge, as in `scipy.ndimage.rank_filter`. Shapes and
    further arguments as in `WindowPooling2D`.

    Args:
        rank: `median` (the mean of the middle two where their number is even), or from 0 (smallest) to the number
            of values in a window - 1 (largest); negative ranks count from the largest, -1.

    Raises:
        RequestError: a rank that the window does not have.

    Source: Tukey 1977, "Exploratory data analysis" (the running median); Kumar 2018, "Ordinal pooling networks",
    pools networks by rank.
    """

    def __init__(
        self,
        pool_size: int | tuple[int, int] = 2,
        strides: int | tuple[int, int] | None = None,
        padding: Padding = "valid",
        rank: int | Literal["median"] = "median",
        **kwargs: Any,
    ) -> None:
        super().__init__(pool_size, strides, padding, **kwargs)
        self.rank = rank
        count = self.pool_size[0] * self.pool_size[1]
        if rank == "median":
            self._ranks = {(count - 1) // 2, count // 2}
        elif isinstance(rank, int) and -count <= rank < count:
            self._ranks = {rank % count}
        else:
            raise RequestError(
                f"rank={rank!r} is not possible for a window of {count} values; allowed: 'median', or {-count} to "
                f"{count - 1}."
            )

    def call(self, inputs: Tensor) -> Tensor:
        values, ranks = self.windows(inputs, mode="symmetric"), self._ranks
        small, large, last = keras.ops.minimum, keras.ops.maximum, len(values) - 1
        if min(ranks) < last - max(ranks):  # the smallest are nearer: count from them
            small, large, ranks = large, small, {last - rank for rank in ranks}
        # Bubble sort as far as the lowest rank: of few values, many times as fast as `ops.sort` and its gradient.
        for end in range(last, min(ranks) - 1, -1):
            for i in range(end):
                values[i], values[i + 1] = small(values[i], values[i + 1]), large(values[i], values[i + 1])
        return sum(values[rank] for rank in ranks) / len(ranks)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "rank": self.rank}


@keras.saving.register_keras_serializable(package="zoo")
class StochasticPooling2D(WindowPooling2D):
    """In training one value of each window, drawn with probability in proportion to it; else their expectation.

    p_i = x_i / sum x over the positive values of a window, as the paper has them behind ReLU; negative values are
    never drawn, and a window without a positive value gives 0. When not training, sum_i p_i x_i. Margins of `same`
    are never drawn. Shapes and further arguments as in `WindowPooling2D`.

    Args:
        seed: of the draws; they are the layer's `seed_generator`'s.

    Source: Zeiler, Fergus 2013, "Stochastic pooling for regularization of deep convolutional neural networks",
    section 3.
    """

    def __init__(
        self,
        pool_size: int | tuple[int, int] = 2,
        strides: int | tuple[int, int] | None = None,
        padding: Padding = "valid",
        seed: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(pool_size, strides, padding, **kwargs)
        self.seed = seed
        self.seed_generator = keras.random.SeedGenerator(seed)

    def call(self, inputs: Tensor, training: bool = False) -> Tensor:
        values = keras.ops.stack(self.windows(keras.ops.relu(inputs)))
        if not training:
            largest = keras.ops.max(values, axis=0)
            # Divided by the largest first: the squares of float16 would overflow from 256.
            shares = values / keras.ops.where(largest > 0, largest, keras.ops.ones_like(largest))
            return keras.ops.sum(shares * values, axis=0) / keras.ops.maximum(keras.ops.sum(shares, axis=0), 0.5)
        # A race: of waiting times that are exponential with rates x_i, the i-th is the shortest with probability p_i.
        uniform = keras.random.uniform(keras.ops.shape(values), dtype="float32", seed=self.seed_generator)
        speed = keras.ops.cast(keras.ops.stop_gradient(values), "float32") / -keras.ops.log(uniform)
        drawn = keras.ops.one_hot(keras.ops.argmax(speed, axis=0), values.shape[0], axis=0, dtype=values.dtype)
        return keras.ops.sum(values * drawn, axis=0)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "seed": self.seed}


@keras.saving.register_keras_serializable(package="zoo")
class BlurPooling2D(WindowPooling2D):
    """Anti-aliased pooling: the statistic at every place (stride 1), blurred, and only then subsampled.

    The blur is the binomial filter, (1, 2, 1) / 4 for size 3, in both directions; at the edge it is the average of
    what lies inside the image, with the filter's weights. The output has the size that plain pooling with the
    same arguments has. Shapes and further arguments as in `WindowPooling2D`.

    Args:
        statistic: `max` or `average`. With `pool_size=1` there is nothing but the blur: put it behind a convolution
            of stride 1 that had a stride before.
        filter_size: of the blur, from 1 (none) to 7.

    Raises:
        RequestError: an unknown statistic or a filter size outside its range.

    Source: Zhang 2019, "Making convolutional networks shift-invariant again", section 3.2.
    """

    def __init__(
        self,
        pool_size: int | tuple[int, int] = 2,
        strides: int | tuple[int, int] | None = None,
        padding: Padding = "valid",
        statistic: Statistic = "max",
        filter_size: int = 3,
        **kwargs: Any,
    ) -> None:
        super().__init__(pool_size, strides, padding, **kwargs)
        self._pools = {"max": keras.ops.max_pool, "average": keras.ops.average_pool}
        if statistic not in self._pools:
            raise unknown("statistic", statistic, self._pools)
        binomial(filter_size)  # refuses a size that is not possible
        self.statistic = statistic
        self.filter_size = filter_size

    @property
    def windows_in_turn(self) -> tuple[tuple[tuple[int, int], tuple[int, int], str], ...]:
        """Extent, stride and padding of the pooling's window and of the blur's, which receptive fields go by."""
        blur = (self.filter_size, self.filter_size)
        return (self.pool_size, (1, 1), self.padding), (blur, self.strides, "same")

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        self.kernel_shape = (self.filter_size, self.filter_size, input_shape[-1])  # of which multiply-adds are counted

    def call(self, inputs: Tensor) -> Tensor:
        x = inputs
        if self.pool_size != (1, 1):
            x = self._pools[self.statistic](x, self.pool_size, 1, self.padding)
        return binomial_blur(x, self.filter_size, self.strides)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "statistic": self.statistic, "filter_size": self.filter_size}
