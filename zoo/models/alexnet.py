"""AlexNet: the model that won ImageNet in 2012."""

from typing import Literal

from zoo.backend import keras
from zoo.registry import IMAGENET, Nonlinearity, Paper, Tensor, register


@register(
    family="alexnet",
    subsamples=True,
    paper=Paper(
        title="One weird trick for parallelizing convolutional neural networks",
        authors="Krizhevsky",
        year=2014,
        url="https://arxiv.org/abs/1404.5997",
    ),
    input_shape=(224, 224, 3),
    classes=1000,
    parameters=61_100_840,
    pooling="flatten",
    hidden=(4096, 4096),
    dropout=0.5,
    scaling=IMAGENET,
    notes="61,100,840 is the one-tower form of 2014, as torchvision has it. form='two_towers' is the form of 2012 "
    "(Krizhevsky, Sutskever, Hinton), half of whose connections are cut because it ran on two GPUs: 60,965,224. Its "
    "last three convolutions have 384, 256 and 256 maps as in the author's file for one GPU "
    "(akrizhevsky/cuda-convnet2, layers/layers-223-1gpu.cfg, at 58967a67) and in torchvision; the paper of 2014 is "
    "said to give 384-384-256 in a footnote (not checked by us). Local response normalisation is left out of both, "
    "pixels are also divided by their deviation, the head's dropout stands before each of the three fully connected "
    "layers (the 2012 paper, section 4.2: in the first two), and initial weights are He's (2012, section 5: deviation "
    "0.01, and biases of 1 in some layers).",
)
def alexnet(
    x: Tensor,
    *,
    nonlinearity: Nonlinearity = "relu",
    form: Literal["one_tower", "two_towers"] = "one_tower",
) -> Tensor:
    """Five convolutions, three overlapping max poolings (2014, section 3; two towers: 2012, section 3.5)."""

    def conv(x: Tensor, filters: int, size: int, name: str, strides: int = 1) -> Tensor:
        return keras.layers.Conv2D(
            filters,
            size,
            strides,
            padding="same" if strides == 1 else "valid",
            activation=nonlinearity,
            kernel_initializer="he_normal",
            name=name,
        )(x)

    def towers(x: Tensor, filters: int, size: int, name: str) -> Tensor:
        """Each half of the maps is computed from one half of those before: two Conv2D, since grouped ones do not
        train on every CPU."""
        half = x.shape[-1] // 2
        parts = [
            conv(x[..., :half], filters // 2, size, f"{name}_upper"),
            conv(x[..., half:], filters // 2, size, f"{name}_lower"),
        ]
        return keras.layers.Concatenate(name=name)(parts)

    one = form == "one_tower"
    halves = conv if one else towers
    x = keras.layers.ZeroPadding2D(2, name="pad1")(x)
    x = conv(x, 64 if one else 96, 11, "conv1", strides=4)
    x = keras.layers.MaxPooling2D(3, 2, name="pool1")(x)
    x = halves(x, 192 if one else 256, 5, "conv2")
    x = keras.layers.MaxPooling2D(3, 2, name="pool2")(x)
    x = conv(x, 384, 3, "conv3")
    x = halves(x, 256 if one else 384, 3, "conv4")
    x = halves(x, 256, 3, "conv5")
    return keras.layers.MaxPooling2D(3, 2, name="pool5")(x)
