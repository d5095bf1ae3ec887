"""Rosette: small networks for boards whose answers do not change with rotations. What has such a symmetry about a point
is called a rosette, and the groups are the rosette groups."""

from collections.abc import Callable
from functools import partial

from zoo.backend import keras
from zoo.models.group_cnn import PAPER
from zoo.normalization import field_norm
from zoo.registry import Nonlinearity, Tensor, register

NOTES = (
    "Ours: few fields early, most weights late, and no layer that a board lacks: exported, it is convolutions, "
    "poolings and one fully connected layer. Square images; the image size must be known."
)

_rosette: Callable[..., Callable[[Callable[..., Tensor]], Callable[..., Tensor]]] = partial(
    register,
    family="rosette",
    paper=PAPER,
    input_shape=(28, 28, 1),
    pooling="average",
)


def net(x: Tensor, group: str, fields: tuple[int, ...], nonlinearity: str) -> Tensor:
    """Three rounds of two 3x3 convolutions, and a 1x1 convolution: (B, H, W, C) to (B, H / 4 - 1, W / 4 - 1, C).

    Args:
        group: under which kernels are shared.
        fields: of each of the seven convolutions.
        nonlinearity: after each.
    """
    from zoo.layers import FieldPooling2D, GroupConv2D, GroupPooling, LiftingConv2D

    for number, filters in enumerate(fields, start=1):
        name, layer = f"conv{number}", LiftingConv2D if number == 1 else GroupConv2D
        x = layer(
            filters, 1 if number == 7 else 3, 1, "valid" if number < 3 else "same", group, use_bias=False, name=name
        )(x)
        x = keras.layers.Activation(nonlinearity, name=f"{name}_{nonlinearity}")(field_norm(x, f"{name}_bn", group))
        if number in (2, 4):
            window = 2 + int(x.shape[1] or 0) % 2  # on an odd size, windows of 3 lie symmetrically
            x = FieldPooling2D(window, 2, group=group, name=f"pool{number // 2}")(x)
    return GroupPooling("max", group, name="over_group")(x)


@_rosette(parameters=28_734, trainable_parameters=28_534, symmetry="c4", notes=NOTES)
def rosette_c4(x: Tensor, *, nonlinearity: Nonlinearity = "relu") -> Tensor:
    """Seven group convolutions under quarter turns, for boards."""
    return net(x, "c4", (4, 8, 12, 12, 16, 16, 32), nonlinearity)


@_rosette(parameters=14_372, trainable_parameters=14_272, symmetry="d4", notes=NOTES)
def rosette_d4(x: Tensor, *, nonlinearity: Nonlinearity = "relu") -> Tensor:
    """Seven group convolutions under quarter turns and mirror images, for boards."""
    return net(x, "d4", (2, 4, 6, 6, 8, 8, 16), nonlinearity)


@_rosette(
    parameters=10_046,
    trainable_parameters=9_946,
    symmetry="c4",
    notes=f"{NOTES} Kernels are sums of a fixed basis; quarter turns are exact, 45 degrees approximate.",
)
def rosette_c8(x: Tensor, *, nonlinearity: Nonlinearity = "relu") -> Tensor:
    """Seven group convolutions under eighth turns, for boards; exact under quarter turns."""
    return net(x, "c8", (2, 4, 6, 6, 8, 8, 16), nonlinearity)
