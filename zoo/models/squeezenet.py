"""SqueezeNet: AlexNet's accuracy with a fiftieth of its parameters."""

from collections.abc import Callable
from functools import partial
from typing import Annotated

from annotated_types import Ge, Lt

from zoo.backend import keras
from zoo.registry import IMAGENET, Nonlinearity, Paper, Tensor, register

Rate = Annotated[float, Ge(0), Lt(1)]
NOTES = (
    "Dropout before the class scores is the option last_dropout. The authors have a ReLU on the class scores; here "
    "they are left as they are. Pooling rounds sizes up, as Caffe's does, in which the authors' definition is written "
    "(forresti/SqueezeNet, at 72e08db1). Initial weights are He's, where the authors have Glorot's (from memory). "
)

_squeezenet: Callable[..., Callable[[Callable[..., Tensor]], Callable[..., Tensor]]] = partial(
    register,
    family="squeezenet",
    subsamples=True,
    paper=Paper(
        title="SqueezeNet: AlexNet-level accuracy with 50x fewer parameters and <0.5MB model size",
        authors="Iandola, Han, Moskewicz, Ashraf, Dally, Keutzer",
        year=2016,
        url="https://arxiv.org/abs/1602.07360",
    ),
    classes=1000,
    pooling="convolutional",
    scaling=IMAGENET,
)


def conv(x: Tensor, filters: int, size: int, nonlinearity: str, name: str, strides: int = 1) -> Tensor:
    """Strided convolutions are unpadded, the others "same"."""
    return keras.layers.Conv2D(
        filters,
        size,
        strides,
        padding="same" if strides == 1 else "valid",
        activation=nonlinearity,
        kernel_initializer="he_normal",
        name=name,
    )(x)


def fire(x: Tensor, squeeze: int, expand: int, nonlinearity: str, name: str) -> Tensor:
    """1x1 to `squeeze` maps, then 1x1 and 3x3 to `expand` maps each (figure 1)."""
    x = conv(x, squeeze, 1, nonlinearity, f"{name}_squeeze")
    parts = [conv(x, expand, size, nonlinearity, f"{name}_expand{size}x{size}") for size in (1, 3)]
    return keras.layers.Concatenate(name=name)(parts)


def pool(x: Tensor, name: str) -> Tensor:
    """The maximum of 3x3 places every two, the size rounded up: (B, h, w, C) to (B, ceil((h - 1) / 2), ..., C).

    A last window that is cut off by the edge gets the edge's own values once more, which changes no maximum.
    """
    if any(size is None or size % 2 == 0 for size in x.shape[1:3]):
        x = keras.ops.pad(x, ((0, 0), (0, 1), (0, 1), (0, 0)), mode="symmetric")
    return keras.layers.MaxPooling2D(3, 2, name=name)(x)


@_squeezenet(
    input_shape=(227, 227, 3),
    parameters=1_248_424,
    notes=NOTES + "Table 1 says 224x224 and gives feature maps of 111x111, which come of 227x227.",
)
def squeezenet1_0(x: Tensor, *, nonlinearity: Nonlinearity = "relu", last_dropout: Rate = 0.5) -> Tensor:
    """A 7x7 convolution and eight fire modules (table 1)."""
    x = pool(conv(x, 96, 7, nonlinearity, "conv1", strides=2), "pool1")
    x = fire(x, 16, 64, nonlinearity, "fire2")
    x = fire(x, 16, 64, nonlinearity, "fire3")
    x = pool(fire(x, 32, 128, nonlinearity, "fire4"), "pool4")
    x = fire(x, 32, 128, nonlinearity, "fire5")
    x = fire(x, 48, 192, nonlinearity, "fire6")
    x = fire(x, 48, 192, nonlinearity, "fire7")
    x = pool(fire(x, 64, 256, nonlinearity, "fire8"), "pool8")
    x = fire(x, 64, 256, nonlinearity, "fire9")
    return keras.layers.Dropout(last_dropout, name="dropout9")(x)


@_squeezenet(
    input_shape=(227, 227, 3),
    parameters=1_235_496,
    notes=NOTES + "Version 1.1 is the authors' release of 2016, after the paper: 2.4 times less to compute.",
)
def squeezenet1_1(x: Tensor, *, nonlinearity: Nonlinearity = "relu", last_dropout: Rate = 0.5) -> Tensor:
    """A 3x3 convolution, and pooling earlier than in 1.0."""
    x = pool(conv(x, 64, 3, nonlinearity, "conv1", strides=2), "pool1")
    x = fire(x, 16, 64, nonlinearity, "fire2")
    x = pool(fire(x, 16, 64, nonlinearity, "fire3"), "pool3")
    x = fire(x, 32, 128, nonlinearity, "fire4")
    x = pool(fire(x, 32, 128, nonlinearity, "fire5"), "pool5")
    x = fire(x, 48, 192, nonlinearity, "fire6")
    x = fire(x, 48, 192, nonlinearity, "fire7")
    x = fire(x, 64, 256, nonlinearity, "fire8")
    x = fire(x, 64, 256, nonlinearity, "fire9")
    return keras.layers.Dropout(last_dropout, name="dropout9")(x)
