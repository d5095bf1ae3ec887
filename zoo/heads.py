"""From a feature map to scores."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from zoo import layers
from zoo.backend import keras
from zoo.errors import RequestError
from zoo.groups import SHIFT
from zoo.registry import Tensor

if TYPE_CHECKING:
    from zoo.layers.windows import Statistic

Head = Callable[[Tensor, int], Tensor]  # from a feature map (B, h, w, C) and a number of classes
HEADS: dict[str, Head] = {}
PYRAMID = (4, 2, 1)


def head(build: Head) -> Head:
    """Registers a head under its function's name."""
    HEADS[build.__name__.rstrip("_")] = build  # `max_` leaves Python its `max`
    return build


@head
def flatten(features: Tensor, classes: int) -> Tensor:
    """Every value of the feature map is an input of the classifier; needs a fixed image size."""
    return keras.layers.Flatten(name="flatten")(features)


@head
def average(features: Tensor, classes: int) -> Tensor:
    """The mean of each feature map (Lin et al. 2014, section 3.2)."""
    return keras.layers.GlobalAveragePooling2D(name="pooling")(features)


@head
def max_(features: Tensor, classes: int) -> Tensor:
    """The largest value of each feature map."""
    return keras.layers.GlobalMaxPooling2D(name="pooling")(features)


@head
def average_max(features: Tensor, classes: int) -> Tensor:
    """The mean and the largest value of each feature map, side by side."""
    return keras.layers.Concatenate(name="average_max")(
        [
            keras.layers.GlobalAveragePooling2D(name="average")(features),
            keras.layers.GlobalMaxPooling2D(name="max")(features),
        ]
    )


@head
def gem(features: Tensor, classes: int) -> Tensor:
    """The power mean of each feature map, with a learned exponent (Radenovic et al. 2018, section 3.2)."""
    return layers.GlobalGeneralizedMeanPooling2D(name="pooling")(features)


@head
def lp(features: Tensor, classes: int) -> Tensor:
    """The root mean square of each feature map (Boureau et al. 2010)."""
    return layers.GlobalLpPooling2D(name="pooling")(features)


@head
def attention(features: Tensor, classes: int) -> Tensor:
    """The mean over all places, weighted by a learned relevance (Ilse et al. 2018, section 2.4)."""
    return layers.GlobalAttentionPooling2D(name="pooling")(features)


@head
def adaptive_average(features: Tensor, classes: int) -> Tensor:
    """The mean of each region of a 4x4 grid, whatever the image's size."""
    return _regions(features, 4, "average")


@head
def adaptive_max(features: Tensor, classes: int) -> Tensor:
    """The largest value in each region of a 4x4 grid, whatever the image's size."""
    return _regions(features, 4, "max")


@head
def pyramid(features: Tensor, classes: int) -> Tensor:
    """The largest value in each region of grids 4x4, 2x2 and 1x1: 21 a feature map (He et al. 2014, figure 3)."""
    levels = [_regions(features, grid, "max") for grid in PYRAMID]
    return keras.layers.Concatenate(name="pyramid")(levels)


@head
def convolutional(features: Tensor, classes: int) -> Tensor:
    """One score map a class by a 1x1 convolution, then the mean of each (Springenberg et al. 2015, section 3)."""
    scores = keras.layers.Conv2D(classes, 1, name="score_map")(features)
    return keras.layers.GlobalAveragePooling2D(name="pooling")(scores)


def _regions(features: Tensor, grid: int, statistic: "Statistic") -> Tensor:
    regions = layers.RegionPooling2D(grid, statistic, name=f"regions_{grid}x{grid}")(features)
    return keras.layers.Flatten(name=f"flat_{grid}x{grid}")(regions)


def pooled_over_group(features: Tensor, group: str, statistic: "Statistic" = "max") -> Tensor:
    """Maps (B, h, w, C) of fields (B, h, w, order * C), which only rotate when the image does."""
    return layers.GroupPooling(statistic, group, name="over_group")(features)


def _flatten_fields(features: Tensor, units: int, group: str) -> Tensor:
    """`flatten` and one fully connected layer, on fields: a convolution as large as the map, then the maximum over the
    group, (B, h, w, order * C) to (B, units) (Cohen and Welling 2016, section 8.1)."""
    whole = layers.GroupConv2D(units, features.shape[1:3], group=group, name="whole_map")(features)
    return keras.layers.Flatten(name="flatten")(pooled_over_group(whole, group))


def _convolutional_fields(features: Tensor, classes: int, group: str) -> Tensor:
    """`convolutional`, on fields: a field a class, then the mean over group and places (section 8.2)."""
    scores = layers.GroupConv2D(classes, 1, group=group, name="score_map")(features)
    return keras.layers.GlobalAveragePooling2D(name="pooling")(pooled_over_group(scores, group, "average"))


# Heads that tell one place from another: what they compute changes when a map is rotated.
BY_PLACE = ("flatten", "adaptive_average", "adaptive_max", "pyramid")
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
    group: str = "",
    symmetry: str = "",
    copies: str = "",
) -> Tensor:
    """Scores (B, classes) of a feature map (B, h, w, c).

    Args:
        pooling: a name in `HEADS`.
        hidden: units of fully connected layers between pooling and scores.
        dropout: rate before each fully connected layer.
        activation: `softmax` (one class an image), `sigmoid` (several), `linear` (logits, or regression).
        nonlinearity: of the hidden layers.
        group: whose copies lie side by side in the channels, see `zoo.groups.output_group`. `flatten` and
            `convolutional` are group convolutions then; before other heads is the maximum over the group.
        symmetry: under which scores must not change, a group that rotates or mirrors the map, or `shift`.
        copies: the group whose copies of an image the maps are of, one after the other, see `zoo.layers.ImageCopies`:
            the maximum over them is taken of what the classifier is given, or of logits where the head has none.

    Raises:
        RequestError: `flatten` of a feature map whose size is open, or a head that would change with a rotation
            or a shift.
    """
    if pooling == "flatten" and None in features.shape[1:]:
        open_to_all = ", ".join(name for name in HEADS if name != "flatten")
        raise RequestError(
            f"pooling 'flatten' needs images of one fixed size: give height and width in input_shape, or choose "
            f"one of {open_to_all}."
        )
    if symmetry and pooling in BY_PLACE and not (pooling == "flatten" and group):
        allowed = ", ".join(name for name in HEADS if name not in BY_PLACE)
        raise RequestError(
            f"pooling {pooling!r} tells places apart, so that scores would change with a "
            f"{'shift' if symmetry == SHIFT else 'rotation'}; for a symmetric model choose one of {allowed}."
        )
    units = (*hidden, classes)
    if group and pooling == "flatten":
        x, units = _flatten_fields(_drop(features, dropout), units[0], group), units[1:]
        x = keras.layers.Activation(nonlinearity, name="whole_map_activation")(x) if units else x
    elif group and pooling == "convolutional":
        x = _convolutional_fields(features, classes, group)
    else:
        x = HEADS[pooling](pooled_over_group(features, group) if group else features, classes)
    for number, width in enumerate(units[:-1], start=1):
        x = keras.layers.Dense(width, nonlinearity, name=f"hidden_{number}")(_drop(x, dropout))
    if copies:
        x = layers.CopyPooling(copies, name="over_copies")(x)
    if pooling != "convolutional" and units:
        x = keras.layers.Dense(classes, name="logits")(_drop(x, dropout))
    # float32 whatever the policy: half-precision probabilities lose the small classes.
    return keras.layers.Activation(activation, dtype="float32", name="scores")(x)


def _drop(x: Tensor, rate: float) -> Tensor:
    return keras.layers.Dropout(rate)(x) if rate else x
