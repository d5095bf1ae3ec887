"""Networks whose kernels are shared over rotations and mirror images: the answer does not change with them."""

from collections.abc import Callable
from functools import partial
from typing import Annotated

from annotated_types import Ge, Lt

from zoo.backend import keras
from zoo.normalization import batch_norm, field_norm
from zoo.registry import PLUS_MINUS_ONE, Nonlinearity, Paper, Tensor, register

Rate = Annotated[float, Ge(0), Lt(1)]
PAPER = Paper(
    title="Group equivariant convolutional networks",
    authors="Cohen, Welling",
    year=2016,
    url="https://arxiv.org/abs/1602.07576",
)
CODE = "github.com/tscohen/gconv_experiments at ca88c584"
EXACT = (
    "Square images; the image size must be known. Where a map has an even size, the mean of each 2x2 window stands "
    "before what has a stride, so that windows lie symmetrically: the authors' code strides without, which is not "
    "exact. "
)

_register: Callable[..., Callable[[Callable[..., Tensor]], Callable[..., Tensor]]] = partial(
    register, family="group_cnn", paper=PAPER
)


# ---- rotated MNIST, section 8.1 --------------------------------------------------------------------------------


@_register(
    input_shape=(28, 28, 1),
    parameters=21_990,
    trainable_parameters=21_750,
    subsamples=True,
    pooling="flatten",
    notes=f"The plain net beside p4_cnn. BatchNorm, and where dropout stands and its rate, are from {CODE}, which "
    "standardises pixels; here they become 0 to 1. Before a validation BatchNorm's statistics are taken anew, there "
    "with dropout and here without. The last layer, 4x4 in the paper, is the head `flatten`.",
)
def z2_cnn(x: Tensor, *, nonlinearity: Nonlinearity = "relu", layer_dropout: Rate = 0.3) -> Tensor:
    """Six 3x3 convolutions of 20 maps and 2x2 pooling after the second: the baseline of p4_cnn (section 8.1)."""
    for number in range(1, 7):
        x = keras.layers.Conv2D(20, 3, kernel_initializer="he_normal", name=f"conv{number}")(x)
        x = keras.layers.Activation(nonlinearity, name=f"conv{number}_{nonlinearity}")(
            batch_norm(x, f"conv{number}_bn")
        )
        if number == 2:
            x = keras.layers.MaxPooling2D(2, name="pool")(x)
        else:
            x = keras.layers.Dropout(layer_dropout, name=f"dropout{number}")(x)
    return x


@_register(
    input_shape=(28, 28, 1),
    parameters=24_800,
    trainable_parameters=24_680,
    pooling="flatten",
    symmetry="c4",
    notes="Square images; the image size must be known. Ten fields of four maps take the place of 20 maps: about as "
    f"many weights. BatchNorm and the maximum over rotations are from {CODE}, which standardises pixels; here they "
    "become 0 to 1. The last layer, 4x4 in the paper, is the head `flatten`, which on fields is a group convolution as "
    "large as the map. Where the map before the pooling has an odd size, its windows are 3x3.",
)
def p4_cnn(x: Tensor, *, nonlinearity: Nonlinearity = "relu") -> Tensor:
    """Six 3x3 group convolutions of 10 fields under quarter turns, 2x2 pooling after the second (section 8.1)."""
    from zoo.layers import FieldPooling2D, GroupConv2D, LiftingConv2D

    for number in range(1, 7):
        layer = LiftingConv2D if number == 1 else GroupConv2D
        x = layer(10, 3, name=f"conv{number}")(x)
        x = keras.layers.Activation(nonlinearity, name=f"conv{number}_{nonlinearity}")(
            field_norm(x, f"conv{number}_bn")
        )
        if number == 2:
            x = FieldPooling2D(2 + int(x.shape[1] or 0) % 2, 2, name="pool")(x)
    return x


# ---- CIFAR-10, section 8.2, table 2 ------------------------------------------------------------------------------


def halved(x: Tensor, group: str, name: str) -> Tensor:
    """A map on which 3x3 windows with a stride of 2 and padding lie symmetrically: of an odd size."""
    from zoo.layers import FieldPooling2D

    if int(x.shape[1] or 1) % 2:
        return x
    return FieldPooling2D(2, 1, statistic="average", group=group, name=f"{name}_mean")(x)


def all_cnn_c(
    x: Tensor, group: str, fields: tuple[int, int], nonlinearity: str, input_dropout: float, stage_dropout: float
) -> Tensor:
    """All-CNN-C of fields: (B, H, W, C) to (B, H / 4, W / 4, order * fields[1])."""
    from zoo.layers import GroupConv2D, LiftingConv2D

    small, large = fields
    plan = [(small, 3, 1), (small, 3, 1), (small, 3, 2), (large, 3, 1), (large, 3, 1), (large, 3, 2), (large, 3, 1)]
    x = keras.layers.Dropout(input_dropout, name="input_dropout")(x)
    for number, (filters, size, strides) in enumerate([*plan, (large, 1, 1)], start=1):
        name, layer = f"conv{number}", LiftingConv2D if number == 1 else GroupConv2D
        x = halved(x, group, name) if strides == 2 else x
        x = layer(filters, size, strides, "same", group, name=name)(x)
        x = keras.layers.Activation(nonlinearity, name=f"{name}_{nonlinearity}")(field_norm(x, f"{name}_bn", group))
        if strides == 2:
            x = keras.layers.Dropout(stage_dropout, name=f"dropout{1 if number == 3 else 2}")(x)
    return x


_all_cnn_c = partial(_register, input_shape=(32, 32, 3), pooling="convolutional", scaling=PLUS_MINUS_ONE)
ALL_CNN_NOTES = (
    EXACT + f"BatchNorm, dropout, the padded seventh layer and the mean over group and places are from {CODE}; its "
    "BatchNorm and ReLU on the class scores are left out. Before each validation, as there, BatchNorm's statistics are "
    "taken anew without dropout. {count} parameters in table 2."
)


@_all_cnn_c(
    parameters=1_372_234,
    trainable_parameters=1_370_986,
    symmetry="c4",
    notes=ALL_CNN_NOTES.format(count="1.37M"),
)
def p4_all_cnn_c(
    x: Tensor,
    *,
    nonlinearity: Nonlinearity = "relu",
    input_dropout: Rate = 0.2,
    stage_dropout: Rate = 0.5,
) -> Tensor:
    """All-CNN-C with 48 and 96 fields under quarter turns (section 8.2, table 2)."""
    return all_cnn_c(x, "c4", (48, 96), nonlinearity, input_dropout, stage_dropout)


@_all_cnn_c(
    parameters=1_220_490,
    trainable_parameters=1_219_658,
    symmetry="d4",
    notes=ALL_CNN_NOTES.format(count="1.22M"),
)
def p4m_all_cnn_c(
    x: Tensor,
    *,
    nonlinearity: Nonlinearity = "relu",
    input_dropout: Rate = 0.2,
    stage_dropout: Rate = 0.5,
) -> Tensor:
    """All-CNN-C with 32 and 64 fields under quarter turns and mirror images (section 8.2, table 2)."""
    return all_cnn_c(x, "d4", (32, 64), nonlinearity, input_dropout, stage_dropout)


@_register(
    input_shape=(32, 32, 3),
    parameters=7_168_960,
    trainable_parameters=7_166_110,
    pooling="average",
    scaling=PLUS_MINUS_ONE,
    symmetry="d4",
    notes=EXACT
    + f"Blocks in the new order (BatchNorm, ReLU, convolution) and 1x1 shortcuts are from {CODE}, whose last layer "
    "sees the copies of a field one by one and so loses the symmetry that the others have; here their mean is taken, "
    "which leaves out 7,000 of its weights. 7.17M parameters in the authors' table.",
)
def p4m_resnet(x: Tensor, *, nonlinearity: Nonlinearity = "relu") -> Tensor:
    """ResNet of 26 layers, three stages of four blocks with 25, 50 and 100 fields of eight maps (section 8.2)."""
    from zoo.layers import FieldPooling2D, GroupConv2D, GroupPooling, LiftingConv2D

    def activate(x: Tensor, name: str) -> Tensor:
        return keras.layers.Activation(nonlinearity, name=f"{name}_{nonlinearity}")(field_norm(x, f"{name}_bn", "d4"))

    x = LiftingConv2D(25, 3, padding="same", group="d4", name="stem")(x)
    for stage, fields in enumerate((25, 50, 100), start=1):
        for block in range(1, 5):
            name = f"stage{stage}_block{block}"
            learned, strides = activate(x, f"{name}_1"), 1
            if stage > 1 and block == 1:
                # Every other unit, or the mean of each four; the learned path halves the map the same way.
                even, strides = int(x.shape[1] or 0) % 2 == 0, 2
                thinned = FieldPooling2D(1 + even, 2, statistic="average", group="d4", name=f"{name}_thinned")(x)
                x = GroupConv2D(fields, 1, group="d4", name=f"{name}_shortcut")(thinned)
                learned = halved(learned, "d4", name)
            learned = GroupConv2D(fields, 3, strides, "same", "d4", name=f"{name}_conv1")(learned)
            learned = GroupConv2D(fields, 3, 1, "same", "d4", name=f"{name}_conv2")(activate(learned, f"{name}_2"))
            x = keras.layers.Add(name=f"{name}_add")([x, learned])
    return GroupPooling("average", "d4", name="over_group")(activate(x, "last"))
