"""MobileNetV2: residual blocks that are wide inside and narrow between."""

from typing import Annotated

from annotated_types import Ge, Le

from zoo.backend import keras
from zoo.normalization import batch_norm
from zoo.registry import PLUS_MINUS_ONE, Nonlinearity, Paper, Tensor, register

# Table 2: expansion, maps, repeats, stride of the first.
TABLE = (
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)


def divisible(maps: float, by: int = 8) -> int:
    """`maps` rounded to a multiple of `by`, never below it and never more than a tenth down."""
    rounded = max(by, int(maps + by / 2) // by * by)
    return rounded + by if rounded < 0.9 * maps else rounded


@register(
    family="mobilenet",
    subsamples=True,
    paper=Paper(
        title="MobileNetV2: inverted residuals and linear bottlenecks",
        authors="Sandler, Howard, Zhu, Zhmoginov, Chen",
        year=2018,
        url="https://arxiv.org/abs/1801.04381",
    ),
    input_shape=(224, 224, 3),
    classes=1000,
    parameters=3_538_984,
    trainable_parameters=3_504_872,
    pooling="average",
    scaling=PLUS_MINUS_ONE,
    notes="3,538,984 is Keras' number, with BatchNorm statistics; the paper's 3.4M and torchvision's 3,504,872 are of "
    "what is trained. Initial weights are Glorot's, as Keras has them; the dropout before the classifier "
    "(0.2 in torchvision; from memory) is left out.",
)
def mobilenet_v2(
    x: Tensor,
    *,
    nonlinearity: Nonlinearity = "relu6",
    width: Annotated[float, Ge(0.1), Le(2.0)] = 1.0,
) -> Tensor:
    """Seventeen inverted residual blocks (table 2; a `width` below 1 leaves the last convolution as it is)."""

    def normalized(x: Tensor, name: str) -> Tensor:
        return keras.layers.Activation(nonlinearity, name=f"{name}_{nonlinearity}")(batch_norm(x, f"{name}_bn"))

    def pointwise(x: Tensor, filters: int, name: str) -> Tensor:
        return keras.layers.Conv2D(filters, 1, use_bias=False, name=name)(x)

    def block(x: Tensor, expansion: int, filters: int, strides: int, name: str) -> Tensor:
        narrow = x
        if expansion > 1:
            x = normalized(pointwise(x, expansion * x.shape[-1], f"{name}_expand"), f"{name}_expand")
        depthwise = keras.layers.DepthwiseConv2D(3, strides, padding="same", use_bias=False, name=f"{name}_depthwise")
        x = normalized(depthwise(x), f"{name}_depthwise")
        x = batch_norm(pointwise(x, filters, f"{name}_project"), f"{name}_project_bn")
        if strides == 1 and narrow.shape[-1] == filters:
            x = keras.layers.Add(name=f"{name}_add")([narrow, x])
        return x

    stem = keras.layers.Conv2D(divisible(32 * width), 3, 2, padding="same", use_bias=False, name="stem")
    x = normalized(stem(x), "stem")
    number = 0
    for expansion, filters, repeats, strides in TABLE:
        for repeat in range(repeats):
            number += 1
            x = block(x, expansion, divisible(filters * width), strides if repeat == 0 else 1, f"block{number}")
    return normalized(pointwise(x, divisible(1280 * max(width, 1.0)), "last"), "last")
