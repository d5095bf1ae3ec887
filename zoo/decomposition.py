"""Layers that TFLite computes in several operations, taken apart into Keras layers that are one operation each."""

from collections.abc import Callable
from typing import Any

import numpy as np

from zoo.backend import keras
from zoo.keras_internals import nodes, sole_users
from zoo.layers.scale import ScaleConv2D, ScaleNormalization
from zoo.layers.shift import CircularPadding2D
from zoo.layers.windows import binomial, depthwise, pad_same
from zoo.normalization import affine
from zoo.registry import Tensor

# From a layer and what it is called with (a tensor, or several) to what takes its place; the last one bears its name.
Parts = Callable[[Any, Any], Tensor]


def _separable(layer: Any, x: Tensor) -> Tensor:
    shared = {name: getattr(layer, name) for name in ("strides", "padding", "dilation_rate")}
    depthwise = keras.layers.DepthwiseConv2D(
        layer.kernel_size,
        depth_multiplier=layer.depth_multiplier,
        use_bias=False,
        name=f"{layer.name}_depthwise",
        **shared,
    )
    pointwise = keras.layers.Conv2D(
        layer.filters, 1, use_bias=layer.use_bias, activation=layer.activation, name=layer.name
    )
    y = pointwise(depthwise(x))
    depthwise.kernel.assign(layer.depthwise_kernel)
    pointwise.kernel.assign(layer.pointwise_kernel)
    if layer.use_bias:
        pointwise.bias.assign(layer.bias)
    return y


def _scaled_sum(layer: Any, inputs: list[Tensor]) -> Tensor:
    """Of Inception-ResNet: the first, and the second times a number."""
    scaled = keras.layers.Rescaling(float(layer.scale), name=f"{layer.name}_scale")(inputs[1])
    return keras.layers.Add(name=layer.name)([inputs[0], scaled])


def _normalization(layer: Any, x: Tensor) -> Tensor:
    mean, deviation = np.array(layer.mean).ravel(), np.maximum(np.sqrt(np.array(layer.variance)).ravel(), 1e-7)
    return keras.layers.Rescaling((1 / deviation).tolist(), (-mean / deviation).tolist(), name=layer.name)(x)


def _blur_pooling(layer: Any, x: Tensor) -> Tensor:
    """Pooling at every place, margins, the blur, and what is missing at the edges."""
    if layer.pool_size != (1, 1):
        pooling = keras.layers.MaxPooling2D if layer.statistic == "max" else keras.layers.AveragePooling2D
        x = pooling(layer.pool_size, 1, layer.padding, name=f"{layer.name}_pooled")(x)
    kernel = binomial(layer.filter_size)
    ones = pad_same(np.ones((1, *x.shape[1:3], 1), "float32"), kernel.shape[:2], layer.strides)
    inside = np.array(depthwise(ones, kernel, layer.strides))[0]  # the share of the filter that is within the map
    rows, columns = np.flatnonzero(ones.numpy().any((0, 2, 3))), np.flatnonzero(ones.numpy().any((0, 1, 3)))
    margins = [(int(at[0]), size - 1 - int(at[-1])) for at, size in zip((rows, columns), ones.shape[1:3], strict=True)]
    x = keras.layers.ZeroPadding2D(margins, name=f"{layer.name}_margins")(x)
    y = _blurred(x, kernel, layer.strides, f"{layer.name}_blur")
    return keras.layers.Rescaling((1 / inside).tolist(), name=layer.name)(y)


def _circular_blur(layer: Any, x: Tensor) -> Tensor:
    x = CircularPadding2D(layer.filter_size, name=f"{layer.name}_margins")(x)
    return _blurred(x, layer.kernel, (1, 1), layer.name)


def _blurred(x: Tensor, kernel: np.ndarray, strides: tuple[int, int], name: str) -> Tensor:
    """A depthwise convolution whose kernel, (height, width, 1), is not trained."""
    blur = keras.layers.DepthwiseConv2D(kernel.shape[:2], strides, use_bias=False, trainable=False, name=name)
    blur.fixed_kernel = True  # four bits would be too few for it
    y = blur(x)
    blur.kernel.assign(np.broadcast_to(kernel[..., None], blur.kernel.shape))
    return y


def _flip(layer: Any, x: Tensor) -> Tensor:
    """By indices: REVERSE_V2 is not among the operations that the converter makes integers of."""
    axis = layer.axis if isinstance(layer.axis, int) else layer.axis[0]
    return keras.ops.take(x, list(range(x.shape[axis] - 1, -1, -1)), axis=axis)


PARTS: dict[str, Parts] = {
    "SeparableConv2D": _separable,
    "CustomScaleLayer": _scaled_sum,
    "BlurPooling2D": _blur_pooling,
    "CircularBlur2D": _circular_blur,
    "Flip": _flip,
    "Normalization": _normalization,
}


def decomposed(model: "keras.Model") -> "keras.Model":
    """The model with the layers of `PARTS` taken apart: the same scores, but for the last bits of a float.

    A `ScaleNormalization` becomes part of the convolutions before it, and so does the activation behind it: in a file
    they are several, and what joins them is in the converter's way.

    Args:
        model: functional. Nested models stay nested.
    """

    norms, activations = _after_scales(model)
    gone = {one.name for one in (*norms.values(), *activations.values())}

    def copied(layer: Any) -> Any:
        if isinstance(layer, keras.Model):
            return decomposed(layer)
        if layer.name in norms:
            activation = getattr(activations.get(layer.name), "activation", None)
            return type(layer).from_config(layer.get_config() | {"use_bias": True, "activation": activation})
        if type(layer).__name__ in PARTS or not isinstance(layer, keras.layers.Layer):
            return layer
        return type(layer).from_config(layer.get_config())

    def called(layer: Any, *args: Any, **kwargs: Any) -> Any:
        if layer.name in gone:
            return args[0]
        parts = PARTS.get(type(layer).__name__)
        return layer(*args, **kwargs) if parts is None else parts(layer, *args)

    made = keras.models.clone_model(model, clone_function=copied, call_function=called)
    given = {node.operation.name: node.operation for node in nodes(model)}
    for node in nodes(made):
        layer, before = node.operation, given.get(node.operation.name)
        if isinstance(layer, keras.Model) or not isinstance(layer, keras.layers.Layer):  # it has them, or none
            continue
        if before is not None and layer.name in norms:
            factor, shift = affine(norms[layer.name])
            layer.free_kernel.assign(before.free_kernel * factor)
            layer.bias.assign(shift if before.bias is None else before.bias * factor + shift)
        elif before is not None and type(layer) is type(before):
            layer.set_weights(before.get_weights())
            layer.trainable = before.trainable
    return made


def _after_scales(model: "keras.Model") -> tuple[dict[str, Any], dict[str, Any]]:
    """The normalisation that alone follows a convolution at several scales, and the activation that alone follows that,
    by the name of the convolution."""
    norms, activations, users = {}, {}, sole_users(model)
    for node in nodes(model):
        following = users.get(id(node.output_tensors[0]))
        if not isinstance(node.operation, ScaleConv2D) or following is None:
            continue
        if isinstance(following.operation, ScaleNormalization):
            norms[node.operation.name] = following.operation
            last = users.get(id(following.output_tensors[0]))
            if last is not None and isinstance(last.operation, keras.layers.Activation):
                activations[node.operation.name] = last.operation
    return norms, activations
