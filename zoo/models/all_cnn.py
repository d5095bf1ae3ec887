"""All-CNN: pooling replaced by strided convolution, fully connected layers by 1x1 convolution."""

from typing import Annotated

import lazy_loader
from annotated_types import Ge, Lt

from zoo.registry import Nonlinearity, Paper, Scaling, Tensor, register

keras = lazy_loader.load("keras")

Rate = Annotated[float, Ge(0), Lt(1)]


@register(
    family="all_cnn",
    paper=Paper(
        title="Striving for Simplicity: The All Convolutional Net",
        authors="Springenberg, Dosovitskiy, Brox, Riedmiller",
        year=2015,
        url="https://arxiv.org/abs/1412.6806",
    ),
    input_shape=(32, 32, 3),
    parameters=1_369_738,
    pooling="convolutional",
    scaling=Scaling(1 / 127.5, -1.0),
    notes="The paper whitens CIFAR pictures (ZCA) before the network; here pixels become -1 to 1. No ReLU on the "
    "class scores.",
)
def all_cnn_c(
    x: Tensor,
    *,
    nonlinearity: Nonlinearity = "relu",
    input_dropout: Rate = 0.2,
    stage_dropout: Rate = 0.5,
) -> Tensor:
    """All-CNN-C: 3x3 convolutions only, two of them strided (table 2; dropout rates from section 3.1)."""

    def conv(x: Tensor, filters: int, name: str, size: int = 3, strides: int = 1) -> Tensor:
        return keras.layers.Conv2D(
            filters,
            size,
            strides,
            padding="same",
            activation=nonlinearity,
            kernel_initializer="he_normal",
            name=name,
        )(x)

    x = keras.layers.Dropout(input_dropout, name="input_dropout")(x)
    x = conv(x, 96, "conv1")
    x = conv(x, 96, "conv2")
    x = conv(x, 96, "conv3", strides=2)
    x = keras.layers.Dropout(stage_dropout, name="dropout1")(x)
    x = conv(x, 192, "conv4")
    x = conv(x, 192, "conv5")
    x = conv(x, 192, "conv6", strides=2)
    x = keras.layers.Dropout(stage_dropout, name="dropout2")(x)
    x = conv(x, 192, "conv7")
    return conv(x, 192, "conv8", size=1)
