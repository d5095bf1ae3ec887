"""The multi-layer perceptron: what there was before convolution, and the baseline for what it buys."""

from typing import Annotated

from annotated_types import Ge, Le, MinLen

from zoo.backend import keras
from zoo.registry import Nonlinearity, Paper, Scaling, Tensor, register


@register(
    family="mlp",
    paper=Paper(
        title="Learning representations by back-propagating errors",
        authors="Rumelhart, Hinton, Williams",
        year=1986,
        url="https://doi.org/10.1038/323533a0",
    ),
    input_shape=(28, 28, 1),
    parameters=669_706,
    pooling="flatten",
    scaling=Scaling(1 / 255),
    notes="784-512-512-10, the size that Keras' and TensorFlow's introductions made customary for MNIST.",
)
def mlp(
    x: Tensor,
    *,
    units: Annotated[tuple[Annotated[int, Ge(1), Le(65_536)], ...], MinLen(1)] = (512, 512),
    nonlinearity: Nonlinearity = "relu",
) -> Tensor:
    """Fully connected layers on the pixels: no locality, no weight sharing."""
    x = keras.layers.Flatten(name="pixels")(x)
    for number, width in enumerate(units, start=1):
        x = keras.layers.Dense(width, nonlinearity, name=f"dense_{number}")(x)
    return keras.layers.Reshape((1, 1, units[-1]), name="features")(x)
