"""Network in Network: small perceptrons slid over the image, and global average pooling."""

from typing import Annotated

from annotated_types import Ge, Lt

from zoo.backend import keras
from zoo.registry import PLUS_MINUS_ONE, Nonlinearity, Paper, Tensor, register


@register(
    family="nin",
    subsamples=True,
    paper=Paper(
        title="Network in network",
        authors="Lin, Chen, Yan",
        year=2014,
        url="https://arxiv.org/abs/1312.4400",
    ),
    input_shape=(32, 32, 3),
    parameters=966_986,
    pooling="convolutional",
    scaling=PLUS_MINUS_ONE,
    notes="The CIFAR-10 model of the authors' published definition; the paper draws it without sizes (figure 2). "
    "They whiten images (ZCA) first and have a ReLU on the class scores: here pixels become -1 to 1, and the scores "
    "are left as they are. Initial weights are He's (theirs: deviation 0.05; from memory).",
)
def nin(
    x: Tensor,
    *,
    nonlinearity: Nonlinearity = "relu",
    stage_dropout: Annotated[float, Ge(0), Lt(1)] = 0.5,
) -> Tensor:
    """Three blocks of a convolution and two 1x1 convolutions; the last 1x1 is the head's (figure 2)."""

    def conv(x: Tensor, filters: int, size: int, name: str) -> Tensor:
        return keras.layers.Conv2D(
            filters, size, padding="same", activation=nonlinearity, kernel_initializer="he_normal", name=name
        )(x)

    x = conv(x, 192, 5, "conv1")
    x = conv(x, 160, 1, "cccp1")
    x = conv(x, 96, 1, "cccp2")
    x = keras.layers.MaxPooling2D(3, 2, padding="same", name="pool1")(x)
    x = keras.layers.Dropout(stage_dropout, name="dropout1")(x)
    x = conv(x, 192, 5, "conv2")
    x = conv(x, 192, 1, "cccp3")
    x = conv(x, 192, 1, "cccp4")
    x = keras.layers.AveragePooling2D(3, 2, padding="same", name="pool2")(x)
    x = keras.layers.Dropout(stage_dropout, name="dropout2")(x)
    x = conv(x, 192, 3, "conv3")
    return conv(x, 192, 1, "cccp5")
