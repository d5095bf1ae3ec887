"""VGG: depth from nothing but 3x3 convolutions."""

from collections.abc import Callable
from functools import partial
from typing import Annotated

from annotated_types import Ge, Le

from zoo.backend import keras
from zoo.normalization import batch_norm
from zoo.registry import IMAGENET, PLUS_MINUS_ONE, Nonlinearity, Paper, Tensor, register

PAPER = Paper(
    title="Very deep convolutional networks for large-scale image recognition",
    authors="Simonyan, Zisserman",
    year=2015,
    url="https://arxiv.org/abs/1409.1556",
)
CHANNELS = (64, 128, 256, 512, 512)
HEAD_NOTES = (
    "Dropout stands before each of the three fully connected layers; the paper (section 3.1) and torchvision have it "
    "behind the first two only. Initial weights are He's (paper: deviation 0.01, the deeper "
    "nets begun from vgg11's weights)."
)
NOTES = f"The paper only subtracts the mean pixel; here pixels are also divided by their deviation. {HEAD_NOTES}"
NOTES_BN = (
    "Batch normalisation came after the paper; this is the form that torchvision has, whose convolutions keep their "
    f"biases. trainable_parameters is the number that torchvision publishes. {HEAD_NOTES}"
)

_vgg: Callable[..., Callable[[Callable[..., Tensor]], Callable[..., Tensor]]] = partial(
    register,
    family="vgg",
    subsamples=True,
    paper=PAPER,
    input_shape=(224, 224, 3),
    classes=1000,
    pooling="flatten",
    hidden=(4096, 4096),
    dropout=0.5,
    scaling=IMAGENET,
)


def columns(x: Tensor, depths: tuple[int, ...], nonlinearity: str, normalized: bool = False) -> Tensor:
    """A column of table 1: (B, H, W, C) to (B, H / 32, W / 32, 512); `depths` are the convolutions of each stage."""
    # He's variance keeps nets without batch normalisation alive; uniform draws take half the time of normal ones.
    for stage, (depth, filters) in enumerate(zip(depths, CHANNELS, strict=True), start=1):
        for layer in range(1, depth + 1):
            name = f"conv{stage}_{layer}"
            x = keras.layers.Conv2D(filters, 3, padding="same", kernel_initializer="he_uniform", name=name)(x)
            if normalized:
                x = batch_norm(x, f"{name}_bn", epsilon=1e-5)
            x = keras.layers.Activation(nonlinearity, name=f"{name}_{nonlinearity}")(x)
        x = keras.layers.MaxPooling2D(2, name=f"pool{stage}")(x)
    return x


@_vgg(parameters=132_863_336, notes=NOTES)
def vgg11(x: Tensor, *, nonlinearity: Nonlinearity = "relu") -> Tensor:
    """Eight convolutions and three fully connected layers (table 1, column A)."""
    return columns(x, (1, 1, 2, 2, 2), nonlinearity)


@_vgg(parameters=133_047_848, notes=NOTES)
def vgg13(x: Tensor, *, nonlinearity: Nonlinearity = "relu") -> Tensor:
    """Ten convolutions and three fully connected layers (table 1, column B)."""
    return columns(x, (2, 2, 2, 2, 2), nonlinearity)


@_vgg(parameters=138_357_544, notes=f"{NOTES} The backbone has 14,714,688 parameters.")
def vgg16(x: Tensor, *, nonlinearity: Nonlinearity = "relu") -> Tensor:
    """Thirteen convolutions and three fully connected layers (table 1, column D)."""
    return columns(x, (2, 2, 3, 3, 3), nonlinearity)


@_vgg(parameters=143_667_240, notes=f"{NOTES} The backbone has 20,024,384 parameters.")
def vgg19(x: Tensor, *, nonlinearity: Nonlinearity = "relu") -> Tensor:
    """Sixteen convolutions and three fully connected layers (table 1, column E)."""
    return columns(x, (2, 2, 4, 4, 4), nonlinearity)


@_vgg(parameters=132_874_344, trainable_parameters=132_868_840, notes=NOTES_BN)
def vgg11_bn(x: Tensor, *, nonlinearity: Nonlinearity = "relu") -> Tensor:
    """vgg11 with batch normalisation after each convolution."""
    return columns(x, (1, 1, 2, 2, 2), nonlinearity, normalized=True)


@_vgg(parameters=133_059_624, trainable_parameters=133_053_736, notes=NOTES_BN)
def vgg13_bn(x: Tensor, *, nonlinearity: Nonlinearity = "relu") -> Tensor:
    """vgg13 with batch normalisation after each convolution."""
    return columns(x, (2, 2, 2, 2, 2), nonlinearity, normalized=True)


@_vgg(parameters=138_374_440, trainable_parameters=138_365_992, notes=NOTES_BN)
def vgg16_bn(x: Tensor, *, nonlinearity: Nonlinearity = "relu") -> Tensor:
    """vgg16 with batch normalisation after each convolution."""
    return columns(x, (2, 2, 3, 3, 3), nonlinearity, normalized=True)


@_vgg(parameters=143_689_256, trainable_parameters=143_678_248, notes=NOTES_BN)
def vgg19_bn(x: Tensor, *, nonlinearity: Nonlinearity = "relu") -> Tensor:
    """vgg19 with batch normalisation after each convolution."""
    return columns(x, (2, 2, 4, 4, 4), nonlinearity, normalized=True)


@register(
    family="vgg",
    subsamples=True,
    paper=PAPER,
    input_shape=(32, 32, 3),
    parameters=289_642,
    trainable_parameters=288_746,
    pooling="average",
    scaling=PLUS_MINUS_ONE,
    notes="Not in the paper: its rule (3x3 convolutions, channels doubled after each pooling) at the size of CIFAR and "
    "digits, with batch normalisation and a pooled head.",
)
def vgg_small(
    x: Tensor,
    *,
    nonlinearity: Nonlinearity = "relu",
    width: Annotated[int, Ge(1), Le(512)] = 32,
    depth: Annotated[int, Ge(1), Le(4)] = 2,
    kernel_size: Annotated[int, Ge(1), Le(9)] = 3,
) -> Tensor:
    """Six 3x3 convolutions in three stages, for images of about 32x32.

    `depth` is of each stage; the first has `width` maps, each next twice as many.
    """
    for stage in (1, 2, 3):
        for layer in range(1, depth + 1):
            name = f"conv{stage}_{layer}"
            conv = keras.layers.Conv2D(
                width * 2 ** (stage - 1),
                kernel_size,
                padding="same",
                use_bias=False,
                kernel_initializer="he_uniform",
                name=name,
            )
            x = keras.layers.Activation(nonlinearity, name=f"{name}_{nonlinearity}")(batch_norm(conv(x), f"{name}_bn"))
        x = keras.layers.MaxPooling2D(2, name=f"pool{stage}")(x)
    return x
