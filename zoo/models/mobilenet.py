"""MobileNet: a convolution split into one a map and one across maps."""

from typing import Annotated

from annotated_types import Ge, Le

from zoo.backend import keras
from zoo.normalization import batch_norm
from zoo.registry import PLUS_MINUS_ONE, Nonlinearity, Paper, Tensor, register

PAPER = Paper(
    title="MobileNets: efficient convolutional neural networks for mobile vision applications",
    authors="Howard and others",
    year=2017,
    url="https://arxiv.org/abs/1704.04861",
)


@register(
    family="mobilenet",
    subsamples=True,
    paper=PAPER,
    input_shape=(224, 224, 3),
    classes=1000,
    parameters=4_253_864,
    trainable_parameters=4_231_976,
    pooling="average",
    dropout=0.001,
    scaling=PLUS_MINUS_ONE,
    notes="ReLU6 and dropout as the authors' later code and Keras have them. width=0.25 at 96x96 with two classes has "
    "the layers of MLPerf Tiny's visual wake words model, but is not that model: 219,058 parameters here, 221,794 "
    "there, since its convolutions keep 2,736 biases; and it has ReLU (here nonlinearity='relu'), no dropout "
    "(dropout=0), He's initial weights and an L2 decay of 1e-4 (said from copies of its vww_model.py). Initial weights "
    "are Glorot's, as Keras has them.",
)
def mobilenet_v1(
    x: Tensor,
    *,
    nonlinearity: Nonlinearity = "relu6",
    width: Annotated[float, Ge(0.1), Le(2.0)] = 1.0,
) -> Tensor:
    """Thirteen depthwise separable convolutions (table 1; `width` multiplies every number of maps, section 3.3)."""

    def normalized(x: Tensor, name: str) -> Tensor:
        return keras.layers.Activation(nonlinearity, name=f"{name}_{nonlinearity}")(batch_norm(x, f"{name}_bn"))

    def separable(x: Tensor, filters: int, strides: int, block: int) -> Tensor:
        depthwise = keras.layers.DepthwiseConv2D(
            3, strides, padding="same", use_bias=False, name=f"block{block}_depthwise"
        )
        pointwise = keras.layers.Conv2D(int(filters * width), 1, use_bias=False, name=f"block{block}_pointwise")
        x = normalized(depthwise(x), f"block{block}_depthwise")
        return normalized(pointwise(x), f"block{block}_pointwise")

    x = keras.layers.Conv2D(int(32 * width), 3, 2, padding="same", use_bias=False, name="stem")(x)
    x = normalized(x, "stem")
    table = [(64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2), *5 * [(512, 1)], (1024, 2), (1024, 1)]
    for block, (filters, strides) in enumerate(table, start=1):
        x = separable(x, filters, strides, block)
    return x
