"""LeNet: convolution, pooling and weight sharing, trained by gradient descent."""

from zoo.backend import keras
from zoo.layers import Pooling, pooling_layer
from zoo.registry import Nonlinearity, Paper, Scaling, Tensor, register

PAPER_1998 = Paper(
    title="Gradient-based learning applied to document recognition",
    authors="LeCun, Bottou, Bengio, Haffner",
    year=1998,
    url="https://doi.org/10.1109/5.726791",
)
# Background -0.1 and ink 1.175 make mean 0 and variance 1 over the digits (1998, section II.B).
PAPER_SCALING = Scaling(1.275 / 255, -0.1)


@register(
    family="lenet",
    subsamples=True,
    paper=PAPER_1998,
    input_shape=(32, 32, 1),
    parameters=61_706,
    pooling="flatten",
    hidden=(120, 84),
    scaling=PAPER_SCALING,
    notes="C3 sees all six maps of S2 (the paper's table connects some of them), subsampling has no weights, and "
    "softmax replaces the radial basis functions: the form that is taught as LeNet-5. tanh is neither scaled nor "
    "stretched, and initial weights are Glorot's (paper, appendix A: uniform within 2.4 / inputs).",
)
def lenet5(
    x: Tensor,
    *,
    nonlinearity: Nonlinearity = "tanh",
    subsampling: Pooling = "average",
) -> Tensor:
    """Two rounds of 5x5 convolution and 2x2 pooling, then fully connected layers (1998, figure 2)."""
    x = keras.layers.Conv2D(6, 5, activation=nonlinearity, name="C1")(x)
    x = pooling_layer(subsampling, 2, name="S2")(x)
    x = keras.layers.Conv2D(16, 5, activation=nonlinearity, name="C3")(x)
    return pooling_layer(subsampling, 2, name="S4")(x)


# Table I: the maps of S2 that each of C3's sixteen maps sees.
C3_TABLE = (
    *((0, 1, 2), (1, 2, 3), (2, 3, 4), (3, 4, 5), (4, 5, 0), (5, 0, 1)),
    *((0, 1, 2, 3), (1, 2, 3, 4), (2, 3, 4, 5), (3, 4, 5, 0), (4, 5, 0, 1), (5, 0, 1, 2)),
    *((0, 1, 3, 4), (1, 2, 4, 5), (0, 2, 3, 5)),
    (0, 1, 2, 3, 4, 5),
)


@register(
    family="lenet",
    subsamples=True,
    paper=PAPER_1998,
    input_shape=(32, 32, 1),
    parameters=60_850,
    pooling="flatten",
    scaling=PAPER_SCALING,
    notes="The backbone (C1 to F6) has the paper's 60,000 trainable parameters: 156 + 12 + 1,516 + 32 + 48,120 + "
    "10,164. The paper's output layer compares F6 with fixed images of the characters by radial basis functions; "
    "here softmax stands in its place, with 850 weights. C5 and F6 are written as convolutions, so the backbone "
    "reads larger images as the paper's section VII does. Initial weights are Glorot's, except in C3 (paper, appendix "
    "A: uniform within 2.4 / inputs).",
)
def lenet5_1998(x: Tensor) -> Tensor:
    """LeNet-5 as published: partly connected C3, trained subsampling, scaled tanh (1998, section II.B)."""
    from zoo.layers.local import TableConv2D

    x = squash(keras.layers.Conv2D(6, 5, name="C1")(x))
    x = squash(subsample(x, "S2"))
    x = squash(TableConv2D(C3_TABLE, 5, name="C3")(x))
    x = squash(subsample(x, "S4"))
    x = squash(keras.layers.Conv2D(120, 5, name="C5")(x))
    return squash(keras.layers.Conv2D(84, 1, name="F6")(x))


@register(
    family="lenet",
    subsamples=True,
    paper=PAPER_1998,
    input_shape=(32, 32, 1),
    parameters=52_698,
    pooling="flatten",
    scaling=PAPER_SCALING,
    notes="Section III.C.7 describes the layers in words and gives about 17,000 free parameters; 120 units on all of "
    "S4 alone have 48,120, so the two disagree, and the words are followed: 104 + 16 + 3,216 + 32 + 48,120 + 1,210. "
    "C3 sees all of S2. Softmax replaces the paper's output, and initial weights are Glorot's.",
)
def lenet4(x: Tensor) -> Tensor:
    """LeNet-4: 4 maps, each subsampled twice with its own coefficients, then 16 maps (1998, section III.C.7)."""
    x = squash(keras.layers.Conv2D(4, 5, name="C1")(x))
    x = squash(subsample(x, "S2", copies=2))
    x = squash(keras.layers.Conv2D(16, 5, name="C3")(x))
    x = squash(subsample(x, "S4"))
    return squash(keras.layers.Conv2D(120, 5, name="F5")(x))


# Table 1 of the 1990 paper: the maps of H2 that each of H3's twelve maps sees.
H3_TABLE = ((0,), (0, 1), (0, 1), (1,), (0, 1), (0, 1), (2,), (2, 3), (2, 3), (3,), (2, 3), (2, 3))


@register(
    family="lenet",
    subsamples=True,
    paper=Paper(
        title="Handwritten digit recognition with a back-propagation network",
        authors="LeCun, Boser, Denker, Henderson, Howard, Hubbard, Jackel",
        year=1990,
        url="https://papers.nips.cc/paper/293-handwritten-digit-recognition-with-a-back-propagation-network",
    ),
    input_shape=(28, 28, 1),
    parameters=2_578,
    pooling="flatten",
    scaling=PAPER_SCALING,
    notes="The 2,578 independent parameters of the 1990 paper: 104 + 8 + 512 + 24 + 1,930; the 1998 paper calls this "
    "model LeNet-1 and rounds to 3,000. Softmax replaces ten squashed units. Initial weights are Glorot's, except "
    "in H3.",
)
def lenet1(x: Tensor) -> Tensor:
    """LeNet-1: 4 maps and 12 partly connected ones, subsampled with trained coefficients (1990, section 4)."""
    from zoo.layers.local import TableConv2D

    x = squash(keras.layers.Conv2D(4, 5, name="H1")(x))
    x = squash(subsample(x, "H2"))
    x = squash(TableConv2D(H3_TABLE, 5, name="H3")(x))
    return squash(subsample(x, "H4"))


def subsample(x: Tensor, name: str, copies: int = 1) -> Tensor:
    """The mean of each 2x2 window times a trained coefficient plus a trained bias, one of each a map."""
    x = keras.layers.AveragePooling2D(2, name=f"{name}_mean")(x)
    return keras.layers.DepthwiseConv2D(1, depth_multiplier=copies, depthwise_initializer="ones", name=name)(x)


def squash(x: Tensor) -> Tensor:
    """1.7159 tanh(2/3 x), which is 1 at 1 and -1 at -1 (1998, appendix A)."""
    x = keras.layers.Rescaling(2 / 3)(x)
    return keras.layers.Rescaling(1.7159)(keras.layers.Activation("tanh")(x))
