"""All-CNN: pooling replaced by strided convolution, fully connected layers by 1x1 convolution."""

from collections.abc import Callable
from functools import partial
from typing import Annotated, Literal

from annotated_types import Ge, Lt

from zoo.backend import keras
from zoo.registry import PLUS_MINUS_ONE, Nonlinearity, Paper, Tensor, register

Rate = Annotated[float, Ge(0), Lt(1)]
Version = Literal["all", "base", "strided", "convpool"]
NOTES = (
    "The last 3x3 convolution is unpadded, so that the scores of 32x32 images are averaged over 6x6 places, as in "
    "tables 1 and 2. The paper whitens CIFAR images (ZCA) before the model; here pixels become -1 to 1. No ReLU on "
    "the class scores. Initial weights are He's. The other versions have {base:,} (base), {strided:,} (strided) and "
    "{convpool:,} (convpool) parameters{more}."
)
OF_C = "; table 3 gives about 1.3M for base and strided (from memory), more than the layers of tables 1 and 2 have"

_all_cnn: Callable[..., Callable[[Callable[..., Tensor]], Callable[..., Tensor]]] = partial(
    register,
    family="all_cnn",
    subsamples=True,
    paper=Paper(
        title="Striving for Simplicity: The All Convolutional Net",
        authors="Springenberg, Dosovitskiy, Brox, Riedmiller",
        year=2015,
        url="https://arxiv.org/abs/1412.6806",
    ),
    input_shape=(32, 32, 3),
    pooling="convolutional",
    scaling=PLUS_MINUS_ONE,
)


def net(
    x: Tensor,
    stages: tuple[tuple[int, ...], tuple[int, ...]],
    version: Version,
    nonlinearity: str,
    input_dropout: float,
    stage_dropout: float,
) -> Tensor:
    """(B, H, W, C) to (B, H / 4 - 2, W / 4 - 2, 192), by tables 1 and 2.

    Args:
        stages: kernel sizes of the two stages of the base version, each of which ends in 3x3 max pooling.
        version: what replaces that pooling: `base` nothing; `strided` a stride in the stage's last convolution;
            `all` one more, strided 3x3 convolution; `convpool` has that convolution unstrided, before the pooling.
        nonlinearity: of every convolution.
        input_dropout, stage_dropout: on the image, and after each stage (section 3.1).
    """
    count = 0

    def conv(x: Tensor, filters: int, size: int = 3, strides: int = 1, padding: str = "same") -> Tensor:
        nonlocal count
        count += 1
        return keras.layers.Conv2D(
            filters,
            size,
            strides,
            padding=padding,
            activation=nonlinearity,
            kernel_initializer="he_normal",
            name=f"conv{count}",
        )(x)

    x = keras.layers.Dropout(input_dropout, name="input_dropout")(x)
    for number, (filters, sizes) in enumerate(zip((96, 192), stages, strict=True), start=1):
        for size in sizes[:-1]:
            x = conv(x, filters, size)
        x = conv(x, filters, sizes[-1], strides=2 if version == "strided" else 1)
        if version in ("all", "convpool"):
            x = conv(x, filters, strides=2 if version == "all" else 1)
        if version in ("base", "convpool"):
            x = keras.layers.MaxPooling2D(3, 2, padding="same", name=f"pool{number}")(x)
        x = keras.layers.Dropout(stage_dropout, name=f"dropout{number}")(x)
    return conv(conv(x, 192, padding="valid"), 192, size=1)


@_all_cnn(parameters=1_254_250, notes=NOTES.format(base=839_242, strided=839_242, convpool=1_254_250, more=""))
def all_cnn_a(
    x: Tensor,
    *,
    nonlinearity: Nonlinearity = "relu",
    version: Version = "all",
    input_dropout: Rate = 0.2,
    stage_dropout: Rate = 0.5,
) -> Tensor:
    """All-CNN-A: a 5x5 and a strided 3x3 convolution a stage (tables 1 and 2; dropout rates from section 3.1)."""
    return net(x, ((5,), (5,)), version, nonlinearity, input_dropout, stage_dropout)


@_all_cnn(parameters=1_300_618, notes=NOTES.format(base=885_610, strided=885_610, convpool=1_300_618, more=""))
def all_cnn_b(
    x: Tensor,
    *,
    nonlinearity: Nonlinearity = "relu",
    version: Version = "all",
    input_dropout: Rate = 0.2,
    stage_dropout: Rate = 0.5,
) -> Tensor:
    """All-CNN-B: a 5x5, a 1x1 and a strided 3x3 convolution a stage (tables 1 and 2; dropout from section 3.1)."""
    return net(x, ((5, 1), (5, 1)), version, nonlinearity, input_dropout, stage_dropout)


@_all_cnn(parameters=1_369_738, notes=NOTES.format(base=954_730, strided=954_730, convpool=1_369_738, more=OF_C))
def all_cnn_c(
    x: Tensor,
    *,
    nonlinearity: Nonlinearity = "relu",
    version: Version = "all",
    input_dropout: Rate = 0.2,
    stage_dropout: Rate = 0.5,
) -> Tensor:
    """All-CNN-C: 3x3 convolutions only, two of them strided (table 2; dropout rates from section 3.1)."""
    return net(x, ((3, 3), (3, 3)), version, nonlinearity, input_dropout, stage_dropout)
