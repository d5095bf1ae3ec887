"""LeNet: convolution, pooling and weight sharing, trained by gradient descent."""

import lazy_loader

from zoo.layers import Pooling, pooling_layer
from zoo.registry import Nonlinearity, Paper, Scaling, Tensor, register

keras = lazy_loader.load("keras")

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
    paper=PAPER_1998,
    input_shape=(32, 32, 1),
    parameters=61_706,
    pooling="flatten",
    hidden=(120, 84),
    scaling=PAPER_SCALING,
    notes="C3 sees all six maps of S2 (the paper's table connects some of them), subsampling has no weights, and "
    "softmax replaces the radial basis functions: the form that is taught as LeNet-5.",
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
