"""From a feature map to scores."""

from collections.abc import Callable

import lazy_loader

from zoo.registry import Tensor

keras = lazy_loader.load("keras")


def flatten(features: Tensor, classes: int) -> Tensor:
    """Every value of the feature map is an input of the classifier; needs a fixed picture size."""
    return keras.layers.Flatten(name="flatten")(features)


def average(features: Tensor, classes: int) -> Tensor:
    """The mean of each feature map (Lin et al. 2014, section 3.2)."""
    return keras.layers.GlobalAveragePooling2D(name="pooling")(features)


def maximum(features: Tensor, classes: int) -> Tensor:
    """The largest value of each feature map."""
    return keras.layers.GlobalMaxPooling2D(name="pooling")(features)


def convolutional(features: Tensor, classes: int) -> Tensor:
    """One score map a class by a 1x1 convolution, then the mean of each (Springenberg et al. 2015, section 3)."""
    scores = keras.layers.Conv2D(classes, 1, name="score_map")(features)
    return keras.layers.GlobalAveragePooling2D(name="pooling")(scores)


HEADS: dict[str, Callable[[Tensor, int], Tensor]] = {
    "flatten": flatten,
    "average": average,
    "max": maximum,
    "convolutional": convolutional,
}
ACTIVATIONS = ("softmax", "sigmoid", "linear")


def apply_head(
    features: Tensor,
    *,
    pooling: str,
    classes: int,
    hidden: tuple[int, ...] = (),
    dropout: float = 0.0,
    activation: str = "softmax",
    nonlinearity: str = "relu",
) -> Tensor:
    """Scores (B, classes) of a feature map (B, h, w, c).

    Args:
        pooling: a name in `HEADS`.
        hidden: units of fully connected layers between pooling and scores.
        dropout: rate before each fully connected layer.
        activation: `softmax` (one class a picture), `sigmoid` (several), `linear` (logits, or regression).
        nonlinearity: of the hidden layers.
    """
    x = HEADS[pooling](features, classes)
    if pooling != "convolutional":
        for number, units in enumerate(hidden, start=1):
            x = keras.layers.Dense(units, nonlinearity, name=f"hidden_{number}")(_drop(x, dropout))
        x = keras.layers.Dense(classes, name="logits")(_drop(x, dropout))
    # float32 whatever the policy: half-precision probabilities lose the small classes.
    return keras.layers.Activation(activation, dtype="float32", name="scores")(x)


def _drop(x: Tensor, rate: float) -> Tensor:
    return keras.layers.Dropout(rate)(x) if rate else x
