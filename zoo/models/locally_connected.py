"""Local connections without weight sharing: what a convolutional model is before its weights are tied."""

from zoo.backend import keras
from zoo.models.lenet import PAPER_SCALING
from zoo.registry import Nonlinearity, Paper, Tensor, register


@register(
    family="locally_connected",
    subsamples=True,
    paper=Paper(
        title="Generalization and network design strategies",
        authors="LeCun",
        year=1989,
        url="http://yann.lecun.com/exdb/publis/pdf/lecun-89.pdf",
    ),
    input_shape=(32, 32, 1),
    parameters=423_038,
    pooling="flatten",
    hidden=(120, 84),
    scaling=PAPER_SCALING,
    notes="The idea is the paper's Net-3; the sizes are those of lenet5, its twin: the same connections, but every "
    "place has its own kernel. C1 has 122,304 weights where lenet5 shares 156, C3 241,600 where it shares 2,416; the "
    "other 59,134 are alike, so the twin has 61,706. The image size must be known: weights belong to places.",
)
def locally_connected(x: Tensor, *, nonlinearity: Nonlinearity = "tanh") -> Tensor:
    """lenet5 without weight sharing: every place has its own kernel (1989, section 4.3)."""
    from zoo.layers.local import LocallyConnected2D

    x = LocallyConnected2D(6, 5, activation=nonlinearity, name="C1")(x)
    x = keras.layers.AveragePooling2D(2, name="S2")(x)
    x = LocallyConnected2D(16, 5, activation=nonlinearity, name="C3")(x)
    return keras.layers.AveragePooling2D(2, name="S4")(x)
