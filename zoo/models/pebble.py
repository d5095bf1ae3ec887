"""Pebble: small networks for boards, of the operations that are fast there."""

from typing import Annotated

from annotated_types import Ge, Le

from zoo.backend import keras
from zoo.models.mobilenet import PAPER
from zoo.normalization import batch_norm
from zoo.registry import Nonlinearity, Tensor, register


@register(
    family="pebble",
    subsamples=True,
    paper=PAPER,
    input_shape=(28, 28, 1),
    parameters=1_902,
    trainable_parameters=1_758,
    pooling="average",
    notes="Ours, of the paper's separable convolutions without normalisation and nonlinearity between their halves; "
    "chosen on the validation digits. The layers are those that kernels for microcontrollers are fastest at: 3x3 and "
    "1x1 convolutions, 3x3 convolutions of single maps, means of 2x2 places, ReLU; BatchNorm is folded into the "
    "convolution before it at export. 4,924 parameters with width=15, 9,371 with 22, 29,221 with 42.",
)
def pebble(
    x: Tensor,
    *,
    nonlinearity: Nonlinearity = "relu",
    width: Annotated[int, Ge(2), Le(256)] = 8,
) -> Tensor:
    """Five convolutions for boards, four of them separable; `width` is the number of maps of the first."""
    maps = [width, 3 * width // 2, 2 * width, 2 * width, 5 * width // 2]
    for number, filters in enumerate(maps, start=1):
        name = f"conv{number}"
        if number > 1:
            x = keras.layers.DepthwiseConv2D(3, padding="same", use_bias=False, name=f"{name}_depthwise")(x)
        size = 3 if number == 1 else 1
        x = keras.layers.Conv2D(filters, size, padding="same", use_bias=False, name=name)(x)
        x = keras.layers.Activation(nonlinearity, name=f"{name}_{nonlinearity}")(batch_norm(x, f"{name}_bn"))
        if number < 3:
            x = keras.layers.AveragePooling2D(2, name=f"pool{number}")(x)
    return x
