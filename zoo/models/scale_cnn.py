"""A small network that sees at several scales with one set of kernels, for what comes near and far."""

from zoo.backend import keras
from zoo.normalization import batch_norm, scale_norm
from zoo.registry import Nonlinearity, Paper, Tensor, register

SCALES = (0.5, 0.8, 1.25)  # standard deviations of the kernels, in pixels: kernels of 3x3, 5x5 and 7x7


@register(
    family="scale_cnn",
    paper=Paper(
        title="Scale-equivariant steerable networks",
        authors="Sosnovik, Szmaja, Smeulders",
        year=2020,
        url="https://arxiv.org/abs/1910.11093",
    ),
    input_shape=(28, 28, 1),
    parameters=5_538,  # 3,528 coefficients, 1,152 in the 1x1 convolution, 4 x 92 in the normalisation, 490 in the head
    trainable_parameters=5_354,
    pooling="max",
    notes="Ours, smaller than the three layers of 32, 63 and 95 maps in the authors' code (github.com/ISosnovik/sesn "
    "at 15fa6c35, models/mnist_ses.py). Kernels are sums of nine derivatives of Gaussians at three scales, as many "
    "weights as 3x3; scales do not interact, and the maximum over them comes last. That scores change little when the "
    "image is scaled is approximate: docs/symmetry.md has what was measured.",
)
def scale_cnn(x: Tensor, *, nonlinearity: Nonlinearity = "relu") -> Tensor:
    """Three convolutions at three scales each, by shared kernels, and the maximum over scales."""
    from zoo.layers import ScaleConv2D, ScaleLiftingConv2D, ScalePooling

    for number, filters in enumerate((8, 12, 24), start=1):
        name, layer = f"conv{number}", ScaleLiftingConv2D if number == 1 else ScaleConv2D
        x = layer(filters, SCALES, use_bias=False, name=name)(x)
        x = keras.layers.Activation(nonlinearity, name=f"{name}_{nonlinearity}")(
            scale_norm(x, f"{name}_bn", len(SCALES))
        )
        if number < 3:
            x = keras.layers.MaxPooling2D(2, name=f"pool{number}")(x)
    x = ScalePooling("max", len(SCALES), name="over_scales")(x)
    x = keras.layers.Conv2D(48, 1, use_bias=False, kernel_initializer="he_normal", name="conv4")(x)
    return keras.layers.Activation(nonlinearity, name=f"conv4_{nonlinearity}")(batch_norm(x, "conv4_bn"))
