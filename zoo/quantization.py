"""A model made again as an integer file computes it, to be calibrated and trained: fake quantisation.

What the converter does to a graph is done here to layers. A BatchNorm becomes part of the layer before it (statistics
stay as they are: static folding, Nagel and others 2021, https://arxiv.org/abs/2106.08295, section 5.2.1), and so does a
ReLU; what then comes out of an operation is rounded once, over a range of its own, over that of its input (pooling), or
over the one that TFLite prescribes (softmax, sigmoid, tanh). Pixels are integers already.

The file that is made of it is the same network: its scores are the model's, to a step of the output's scale.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from zoo.backend import keras
from zoo.decomposition import PARTS, decomposed
from zoo.errors import RequestError
from zoo.keras_internals import nodes, sole_users
from zoo.layers.fields import FieldScaling
from zoo.layers.quantized import FakeQuantize, QuantizedConcatenate, QuantizedWeights, rounded
from zoo.layers.quantized_joins import QuantizedAdd, QuantizedLeakyReLU, QuantizedMultiply
from zoo.layers.quantized_local import QuantizedLocal
from zoo.layers.quantized_scales import QuantizedScales
from zoo.normalization import affine
from zoo.ranges import is_quantized
from zoo.registry import Tensor

SCALED = ("ScaleLiftingConv2D", "ScaleConv2D")
WEIGHTED = ("Conv2D", "DepthwiseConv2D", "Dense", "LiftingConv2D", "GroupConv2D", "TableConv2D", *SCALED)
NORMS = ("BatchNormalization", "FieldNormalization", "ScaleNormalization")
# What gives out values that it was given; dropout does, except in training.
SAME = (
    *("MaxPooling2D", "GlobalMaxPooling2D", "FieldPooling2D", "GroupPooling", "Flatten", "Reshape", "ZeroPadding2D"),
    *("Cropping2D", "Pad", "Take", "CircularPadding2D", "ImageCopies"),
    *("CopyPooling", "ScalePooling", "RegionPooling2D", "Maxout"),
    *("Dropout", "SpatialDropout2D", "Identity"),
)
JOINING = ("Add", "Multiply", "Concatenate", "AveragePooling2D", "GlobalAveragePooling2D")
LOCAL = "LocallyConnected2D"
KINDS = (*WEIGHTED, LOCAL, *NORMS, *SAME, *JOINING, *PARTS, "Activation", "ReLU", "Rescaling")
FUSED = ("relu", "relu6")  # become part of the operation before them
FIXED = {"softmax": (0.0, 255 / 256), "sigmoid": (0.0, 255 / 256), "tanh": (-1.0, 127 / 128)}  # TFLite's specification
ACTIVATIONS = ("linear", *FUSED, *FIXED, "silu", "hard_silu", "leaky_relu", "gelu")


def quantized(model: "keras.Model", *, bits: int = 8) -> "keras.Model":
    """The model with values and weights rounded as in an integer file, not calibrated yet.

    Layers keep their names, and nested models stay nested; those that became part of others are gone.

    Args:
        model: functional, float32, from images (B, H, W, C) of pixels 0-255.
        bits: of the weights, 8 or 4.

    Raises:
        RequestError: a layer or an activation that is not in `KINDS` and `ACTIVATIONS`, or a model that rounds already.
    """
    if is_quantized(model):
        raise RequestError(f"{model.name} computes as an integer file does already.")
    _check(model)
    return _Again(decomposed(model), bits, pixels=True).made()


def _check(model: "keras.Model") -> None:
    for node in nodes(model):
        layer, kind = node.operation, type(node.operation).__name__
        if isinstance(layer, keras.Model):
            _check(layer)
        elif not node.is_input and kind not in KINDS:
            allowed = ", ".join(KINDS)
            raise RequestError(
                f"the layer {layer.name} is a {kind}, for which there is no integer twin; allowed: {allowed}."
            )
        elif _activation(layer) not in ACTIVATIONS:
            allowed = ", ".join(ACTIVATIONS)
            raise RequestError(
                f"the layer {layer.name} has the activation {_activation(layer)}, for which there is no integer twin; "
                f"allowed: {allowed}."
            )


def _activation(layer: Any) -> str:
    """The name of the activation that a layer is or has."""
    if type(layer).__name__ == "ReLU":
        bent = layer.negative_slope or layer.threshold
        return "bent ReLU" if bent else {None: "relu", 6.0: "relu6"}.get(layer.max_value, f"relu{layer.max_value}")
    name = getattr(getattr(layer, "activation", None), "__name__", "linear")
    return {"swish": "silu"}.get(name, name)


@dataclass
class _Again:
    """One functional model, made once more by the calls that it is made of."""

    model: "keras.Model"
    bits: int
    pixels: bool = False  # are its input
    norms: dict[str, Any] = field(default_factory=dict)  # that become part of the layer of this name
    fused: dict[str, str] = field(default_factory=dict)  # activations that do
    gone: set[str] = field(default_factory=set)  # names of what became part of another
    joined: set[str] = field(default_factory=set)  # of what is rounded where a Concatenate alone takes it
    deferred: set[int] = field(default_factory=set)  # `id`s of new tensors that are not rounded yet
    weighted: dict[str, Any] = field(default_factory=dict)  # layers of before with weights, by name
    ranges: dict[int, FakeQuantize] = field(default_factory=dict)  # that a new tensor is rounded over, by its `id`
    images: dict[int, Tensor] = field(default_factory=dict)  # the rounded input, by the `id` of the input
    made_here: dict[int, Tensor] = field(default_factory=dict)  # by `id`, which stays a tensor's own while it is held

    def made(self) -> "keras.Model":
        self._plan()
        model = keras.models.clone_model(self.model, clone_function=self._layer, call_function=self._call)
        for name, layer in self.weighted.items():
            _take_weights(model.get_layer(name), layer, self.norms.get(name))
        return model

    def _plan(self) -> None:
        """Finds what becomes part of the operation before it: what alone uses its output."""
        users = sole_users(self.model)

        def next_of(node: Any) -> Any:
            return users.get(id(node.output_tensors[0]))

        for node in nodes(self.model):
            layer, kind = node.operation, type(node.operation).__name__
            if (
                layer.name in self.gone
                or kind not in (*WEIGHTED, *NORMS, "Add", "Multiply")
                or _activation(layer) not in ("linear", *FUSED)
            ):
                continue
            following = next_of(node)
            if following and type(following.operation).__name__ == "Concatenate":
                self.joined.add(layer.name)
            if kind == "Multiply" or _activation(layer) != "linear":
                continue
            if kind in WEIGHTED and following and type(following.operation).__name__ in NORMS:
                self.norms[layer.name] = following.operation
                self.gone.add(following.operation.name)
                following = next_of(following)
            if following and type(following.operation).__name__ in ("Activation", "ReLU"):
                activation = _activation(following.operation)
                if activation in FUSED:
                    self.fused[layer.name] = activation
                    self.gone.add(following.operation.name)
                    following = next_of(following)
            if following and type(following.operation).__name__ == "Concatenate":
                self.joined.add(layer.name)

    def _layer(self, layer: Any) -> Any:
        """What takes the place of a layer, under its name."""
        kind = type(layer).__name__
        if isinstance(layer, keras.Model):
            return _Again(layer, self.bits).made()
        if layer.name in self.gone or not isinstance(layer, keras.layers.Layer):
            return layer
        if kind == "BatchNormalization" and len(layer.input.shape) == 4:  # one weight and one bias a map
            plain: Any = keras.layers.DepthwiseConv2D(1, name=f"{layer.name}_float")
        elif kind == "FieldNormalization" and len(layer.input.shape) == 4:
            plain = FieldScaling(layer.group.name, name=f"{layer.name}_float")
        elif kind in NORMS:
            raise RequestError(f"the layer {layer.name} ({kind}) has no convolution before it to become part of.")
        elif kind == "Concatenate":
            return QuantizedConcatenate(layer.axis, name=layer.name)
        elif kind == "Add" and _of_two(layer):
            return QuantizedAdd(self.fused.get(layer.name, "linear"), name=layer.name)
        elif kind == "Multiply" and len(layer.input) == 2:
            return QuantizedMultiply(name=layer.name)
        elif kind == "Activation" and _activation(layer) == "leaky_relu":
            return QuantizedLeakyReLU(name=layer.name)
        elif kind in (*WEIGHTED, LOCAL):
            config = layer.get_config()
            changed: dict[str, Any] = {"name": f"{layer.name}_float", "activation": "linear"}
            if layer.name in self.norms:
                changed["use_bias"] = True
            config |= {name: value for name, value in changed.items() if name in config}
            plain = type(layer).from_config(config)
        else:
            return type(layer).from_config(layer.get_config())
        self.weighted[layer.name] = layer
        if kind == LOCAL:
            return QuantizedLocal(plain, name=layer.name)
        own = _activation(layer)
        fused = own if own in FUSED else self.fused.get(layer.name, "linear")
        bits = 8 if getattr(layer, "fixed_kernel", False) else self.bits
        made = QuantizedScales if kind in SCALED else QuantizedWeights
        return made(plain, bits, fused, name=layer.name)

    def _call(self, layer: Any, *args: Any, **kwargs: Any) -> Any:
        """What a layer that `_layer` made gives where the model calls it."""
        if layer.name in self.gone:
            return args[0]
        if self.pixels:
            args = keras.tree.map_structure(self._as_pixels, args)
        kind, first = type(layer).__name__, keras.tree.flatten(args)[0]
        if kind == "QuantizedLeakyReLU":
            return self._rounded(layer(first), layer.name)
        if kind == "Rescaling":
            return self._rescaled(layer, first)
        if kind in ("Activation", "ReLU"):
            return self._activated(layer, _activation(layer), first)
        kwargs.pop("mask", None)  # of sequences
        if kind == "QuantizedConcatenate":
            layer.again = tuple(id(x) not in self.deferred for x in args[0])
            return self._kept(layer(*args), layer.range)
        if kind == "QuantizedScales":
            joined = QuantizedConcatenate(-1, [False] * len(layer.layer.scales), name=f"{layer.name}_scales")
            return self._with_own(layer.name, self._kept(joined(layer(first)), joined.range), FUSED)
        y, range_ = layer(*args, **kwargs), self.ranges.get(id(first))
        mean = getattr(layer, "statistic", "average" if kind == "AveragePooling2D" else "max") == "average"
        if isinstance(layer, keras.Model):
            return self._kept(y, None)
        if kind in SAME and not mean:
            return self._kept(y, range_)
        if kind in ("AveragePooling2D", "FieldPooling2D") and range_ is not None:
            return self._kept(range_(y, mean=True), range_)
        if kind == "Add" and layer.name in self.fused:
            y = keras.layers.Activation(self.fused[layer.name], name=f"{layer.name}_{self.fused[layer.name]}")(y)
        if layer.name in self.joined:
            self.deferred.add(id(y))
            return self._kept(y, None)
        y = self._rounded(y, layer.name)
        return self._with_own(layer.name, y, () if kind == "QuantizedLocal" else FUSED)

    def _with_own(self, name: str, y: Tensor, done: Sequence[str]) -> Tensor:
        """Behind the activation that the layer of this name has itself, unless it is one of those that are done."""
        own = _activation(self.weighted[name]) if name in self.weighted else "linear"
        if own in ("linear", *done):
            return y
        return self._activated(keras.layers.Activation(own, name=f"{name}_{own}"), own, y)

    def _kept(self, x: Tensor, range_: FakeQuantize | None) -> Tensor:
        """A tensor, noted with the range that it is rounded over; None if that is not known here."""
        self.made_here[id(x)] = x
        if range_ is not None:
            self.ranges[id(x)] = range_
        return x

    def _rounded(self, x: Tensor, name: str, fixed: tuple[float, float] | None = None) -> Tensor:
        range_ = FakeQuantize(*(fixed or (None, None)), name=f"{name}_range")
        return self._kept(range_(x), range_)

    def _as_pixels(self, x: Tensor) -> Tensor:
        if id(x) in self.made_here or not isinstance(x, keras.KerasTensor):
            return x
        if id(x) not in self.images:
            self.images[id(x)] = self._rounded(x, "pixels", (0.0, 255.0))
        return self.images[id(x)]

    def _rescaled(self, layer: Any, x: Tensor) -> Tensor:
        """Scale and offset are an operation each; where the range of the input is fixed, so is theirs."""
        range_, scale, offset = self.ranges.get(id(x)), _constant(layer.scale), _constant(layer.offset)
        ends = None if range_ is None or range_.fixed is None else np.multiply.outer(range_.fixed, scale + 0 * offset)
        last = layer.name
        if (scale != 1).any() or not offset.any():
            name = f"{last}_scale" if offset.any() else last
            x = self._rounded(keras.layers.Rescaling(scale.tolist(), name=name)(x), name, _span(ends))
        if offset.any():
            moved = keras.layers.Rescaling(1.0, offset.tolist(), name=last)(x)
            x = self._rounded(moved, last, _span(None if ends is None else ends + offset))
        return x

    def _activated(self, layer: Any, activation: str, x: Tensor) -> Tensor:
        if activation == "linear":
            return self._kept(layer(x), self.ranges.get(id(x)))
        if activation == "leaky_relu":
            layer = QuantizedLeakyReLU(name=layer.name)
        if activation == "silu":  # two operations
            gate = keras.layers.Activation("sigmoid", name=f"{layer.name}_gate")(x)
            gate = self._rounded(gate, f"{layer.name}_gate", FIXED["sigmoid"])
            return self._rounded(QuantizedMultiply(name=layer.name)([x, gate]), layer.name)
        return self._rounded(layer(x), layer.name, FIXED.get(activation))


def _of_two(layer: Any) -> bool:
    """Whether a sum has two terms, of the same shape."""
    return len(layer.input) == 2 and layer.input[0].shape == layer.input[1].shape


def _take_weights(made: QuantizedWeights, layer: Any, norm: Any) -> None:
    """Puts the weights of a layer into the one in its place, those of the normalisation behind it folded in."""
    if type(layer).__name__ in NORMS:
        factor, shift = affine(layer)
        made.kernel.assign(np.reshape(factor, made.kernel.shape))
        made.layer.bias.assign(shift)
        return
    source = layer.free_kernel if hasattr(layer, "free_kernel") else layer.kernel
    kernel, bias = np.array(source), 0.0 if layer.bias is None else np.array(layer.bias)
    if norm is not None:
        factor, shift = affine(norm)
        bias = bias * factor + shift
        kernel = kernel * (factor.reshape(kernel.shape[-2:]) if type(layer).__name__ == "DepthwiseConv2D" else factor)
    made.kernel.assign(kernel)
    if made.layer.bias is not None:
        made.layer.bias.assign(bias)


def _constant(values: Any) -> np.ndarray:
    """A constant as a file has it: rounded, where it is more than a number, over the range that it and 0 are in."""
    array = np.asarray(values, float)
    return array if array.ndim == 0 else np.asarray(rounded(array, min(array.min(), 0), max(array.max(), 0)), float)


def _span(ends: np.ndarray | None) -> tuple[float, float] | None:
    """The range from the lowest to the highest of some values, with 0 in it.

    It is a level wider where 0 lies between two levels: it is moved until 0 is one, and pixels would lie half-way.
    """
    if ends is None:
        return None
    low, high = min(float(ends.min()), 0.0), max(float(ends.max()), 0.0)
    zero = -low / (high - low) * 255
    return (low, high) if abs(zero - round(zero)) < 1e-3 else (low, high + (high - low) / 255)
