"""Pooling across feature maps: k neighbouring maps become one, at each place. None has weights."""

from typing import Any

from zoo.backend import keras
from zoo.errors import RequestError
from zoo.layers.windows import known_channels, lp_norm, power
from zoo.registry import Tensor


class ChannelPooling(keras.layers.Layer):
    """A statistic of each group of `pieces` neighbouring channels: (..., C) to (..., C / pieces).

    For feature maps (B, H, W, C) of any size, and for vectors (B, C) behind fully connected layers. Output in the
    policy's compute dtype.

    Args:
        pieces: channels in a group; C must be a multiple of it.

    Raises:
        RequestError: `pieces` below 1.
        ValueError: C is not a multiple of `pieces`.
    """

    def __init__(self, pieces: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if int(pieces) != pieces or pieces < 1:
            raise RequestError(f"pieces={pieces} is not possible; allowed: whole numbers from 1.")
        self.pieces = int(pieces)

    def groups(self, x: Tensor) -> Tensor:
        """The values of each group along a new first axis: (..., C) to (pieces, ..., C / pieces)."""
        return keras.ops.stack([x[..., i :: self.pieces] for i in range(self.pieces)])

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        channels = known_channels(input_shape)
        if channels % self.pieces:
            raise ValueError(f"{channels} channels cannot be divided into groups of {self.pieces}")
        return (*input_shape[:-1], channels // self.pieces)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "pieces": self.pieces}


@keras.saving.register_keras_serializable(package="zoo")
class Maxout(ChannelPooling):
    """The largest of each group: a nonlinearity that is learned, behind a convolution without one.

    Source: Goodfellow, Warde-Farley, Mirza, Courville, Bengio 2013, "Maxout networks", section 3.
    """

    def call(self, inputs: Tensor) -> Tensor:
        return keras.ops.max(self.groups(inputs), axis=0)


@keras.saving.register_keras_serializable(package="zoo")
class ChannelAverage(ChannelPooling):
    """The mean of each group."""

    def call(self, inputs: Tensor) -> Tensor:
        return keras.ops.mean(self.groups(inputs), axis=0)


@keras.saving.register_keras_serializable(package="zoo")
class ChannelLp(ChannelPooling):
    """The Lp norm of each group, (sum_i |x_i|^p)^(1/p); p = 2 pools over orientations and phases.

    Args:
        p: from 1.

    Source: Gulcehre, Cho, Pascanu, Bengio 2014, "Learned-norm pooling for deep feedforward and recurrent neural
    networks", with a given p and the sum in place of the mean.
    """

    def __init__(self, pieces: int, p: float = 2.0, **kwargs: Any) -> None:
        super().__init__(pieces, **kwargs)
        self.p = power("p", p)

    def call(self, inputs: Tensor) -> Tensor:
        return lp_norm(self.groups(inputs), self.p)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "p": self.p}
