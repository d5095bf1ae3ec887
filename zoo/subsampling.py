"""How a backbone subsamples: as its paper has it, behind a blur, or on places that follow every circular shift.

The one place where strides and poolings of all architectures are replaced. What an architecture builds is taken as it
is, layer by layer, and built again: layers with weights keep their names, shapes and order, so that weights fit both.

`antialias` (Zhang 2019, section 3.2): what subsamples does what it does at every place (stride 1), and what its
nonlinearity gives is blurred by a binomial filter and only then subsampled. A 1x1 convolution looks at no neighbours:
blurred is what it is given, so that it costs no more than before. The filter has 2 * stride - 1 places in a row.

`polyphase` (Chaman and Dokmanic 2021): of the polyphase components at stride 1 the one with the largest norm is kept,
and convolutions and poolings see the map go on around at its edges; margins of zeros are left out. All that subsamples
the same places, as the two branches of a residual block, keeps the same component. With both, the blur comes before
the choice.
"""

from dataclasses import dataclass, field
from typing import Any

from zoo.backend import keras
from zoo.errors import RequestError
from zoo.keras_internals import nodes
from zoo.layers.pooling import BlurPooling2D
from zoo.layers.shift import (
    CircularBlur2D,
    CircularPadding2D,
    PolyphaseChoice2D,
    PolyphaseSampling2D,
    nearest_multiples,
)
from zoo.registry import Tensor

Axes = tuple[int, int]
LARGEST_FILTER = 7


def resampled(backbone: "keras.Model", *, antialias: bool, polyphase: bool) -> "keras.Model":
    """A backbone with other strides and poolings, and new weights.

    Args:
        backbone: functional, from (B, H, W, C) to a feature map.
        antialias, polyphase: see this file.

    Raises:
        RequestError: with `polyphase`, an image whose sizes are not multiples of all strides together, or are not
            known, or a layer that treats places differently.
    """
    if polyphase:
        _check_sizes(backbone)
    again = _Again(antialias, polyphase)
    model = keras.models.clone_model(backbone, clone_function=again.layer, call_function=again.call)
    return keras.Model(model.input, again.settled(model.output), name=backbone.name)


def _check_sizes(backbone: "keras.Model") -> None:
    """Raises a `RequestError` where not every polyphase component would be of one size."""
    reached: dict[int, Axes] = {}
    for node in nodes(backbone):
        before = [reached[id(tensor)] for tensor in node.input_tensors]
        down, right = _strides(node.operation)
        total = max((y for y, _ in before), default=1) * down, max((x for _, x in before), default=1) * right
        reached |= {id(tensor): total for tensor in node.output_tensors}
    sizes, total = backbone.input_shape[1:3], reached[id(backbone.output)]
    wanted = " and ".join(f"{what} of {n}" for what, n in zip(("heights", "widths"), total, strict=True))
    if None in sizes:
        raise RequestError(
            f"polyphase=true needs images of one size, multiples of the strides ({wanted}): give height and width in "
            "input_shape."
        )
    if any(size % n for size, n in zip(sizes, total, strict=True)):
        near = " by ".join(nearest_multiples(size, n) for size, n in zip(sizes, total, strict=True))
        raise RequestError(
            f"polyphase=true needs images whose sizes are multiples of the strides ({wanted}); received "
            f"{sizes[0]}x{sizes[1]}, nearest: {near}."
        )


def _pair(value: int | Axes) -> Axes:
    return (value, value) if isinstance(value, int) else (value[0], value[1])


def _window(layer: Any) -> Axes | None:
    """Height and width of what a layer sees at once, None where it has no window."""
    window = getattr(layer, "kernel_size", None) or getattr(layer, "pool_size", None)
    if window is None:
        return None
    (height, width), (down, right) = _pair(window), _pair(getattr(layer, "dilation_rate", 1))
    return (height - 1) * down + 1, (width - 1) * right + 1


def _strides(layer: Any) -> Axes:
    """Those that can be taken out of a layer: weights that belong to places stay where they are."""
    movable = _window(layer) and not getattr(layer, "unshared", False)
    return _pair(getattr(layer, "strides", 1)) if movable else (1, 1)


def _is_pooling(layer: Any) -> bool:
    return hasattr(layer, "pool_size")


def _is_linear(layer: Any) -> bool:
    return getattr(layer, "activation", None) in (None, keras.activations.linear)


@dataclass
class _Again:
    """The calls of a backbone, made once more. Tensors are known by their `id`, and held so that those stay theirs."""

    antialias: bool
    polyphase: bool
    held: list[Tensor] = field(default_factory=list)
    # Of the new tensors: what still has to be subsampled, by which strides and under which name; and what came of it.
    waiting: dict[int, tuple[Axes, str]] = field(default_factory=dict)
    sampled: dict[tuple[int, Axes], Tensor] = field(default_factory=dict)
    # The strides that led to the places of a tensor, and what was chosen for those that are sampled from there.
    places: dict[int, tuple[Axes, ...]] = field(default_factory=dict)
    chosen: dict[tuple[Axes, ...], Tensor] = field(default_factory=dict)
    original: dict[int, Any] = field(default_factory=dict)  # the layers of before, by those that are called in place

    def layer(self, layer: Any) -> Any:
        """A layer with weights of its own, at stride 1 where it is subsampled behind."""
        if not isinstance(layer, keras.layers.Layer):
            return layer
        config, kind, strides = layer.get_config(), type(layer), _strides(layer)
        if self.polyphase and _window(layer):
            config |= {key: "valid" for key in ("padding",) if key in config}
            if isinstance(layer, BlurPooling2D):
                kind = {"max": keras.layers.MaxPooling2D, "average": keras.layers.AveragePooling2D}[layer.statistic]
                config = {key: config[key] for key in ("name", "dtype", "pool_size", "padding")} | {"strides": 1}
        if strides != (1, 1) and not (isinstance(layer, BlurPooling2D) and not self.polyphase):
            statistic = {"MaxPooling2D": "max", "AveragePooling2D": "average"}.get(kind.__name__)
            if statistic and not self.polyphase:
                kind, config["statistic"], config["filter_size"] = BlurPooling2D, statistic, _filter(strides)
                config = {key: value for key, value in config.items() if key != "data_format"}
            else:
                config["strides"] = type(layer.strides)((1, 1)) if isinstance(layer.strides, tuple | list) else 1
        made = kind.from_config(config)
        self.original[id(made)] = layer
        return made

    def call(self, layer: Any, *args: Any, **kwargs: Any) -> Any:
        """What a layer, as `layer` made it, gives where the backbone calls it."""
        original, first = self.original.get(id(layer), layer), args[0] if args else None
        if id(first) in self.waiting and isinstance(layer, keras.layers.BatchNormalization | keras.layers.Activation):
            y = self._noted(layer(*args, **kwargs), [first])
            if isinstance(layer, keras.layers.BatchNormalization):
                self.waiting[id(y)] = self.waiting[id(first)]
                return y
            return self.subsampled(y, *self.waiting[id(first)])
        args, kwargs = keras.tree.map_structure(self.settled, (args, kwargs))
        tensors = [x for x in keras.tree.flatten((args, kwargs)) if isinstance(x, keras.KerasTensor)]
        if not self.polyphase and original is not layer and isinstance(layer, BlurPooling2D):
            return layer(*args, **kwargs)
        window, strides = _window(original), _strides(original)
        if window == (1, 1) and strides != (1, 1) and not isinstance(original, BlurPooling2D):
            args = (self.subsampled(args[0], strides, layer.name), *args[1:])
            return self._noted(layer(*args, **kwargs), [args[0]])
        if self.polyphase:
            if _is_margin(layer):
                return args[0]
            self._check(original, tensors)
            if window and window != (1, 1):
                padded = CircularPadding2D(window, name=f"{layer.name}_around")(args[0])
                return self._behind(self._noted(layer(padded, *args[1:], **kwargs), tensors), original)
        return self._behind(self._noted(layer(*args, **kwargs), tensors), original)

    def _behind(self, y: Any, original: Any) -> Any:
        """The output of a layer at stride 1: subsampled, or waiting for its nonlinearity."""
        strides = _strides(original)
        if self.polyphase and isinstance(original, BlurPooling2D):
            blur = CircularBlur2D(original.filter_size, name=f"{original.name}_own_blur")
            y = self._noted(blur(y), [y])
        if strides == (1, 1):
            return y
        if _is_linear(original) and not _is_pooling(original):
            self.waiting[id(y)] = strides, original.name
            return y
        return self.subsampled(y, strides, original.name)

    def _noted(self, y: Any, tensors: list[Tensor]) -> Any:
        """An output, with the places of what it was computed from."""
        for one in keras.tree.flatten(y):
            self.held.append(one)
            self.places[id(one)] = self.places.get(id(tensors[0]), ()) if tensors else ()
        return y

    def settled(self, x: Any) -> Any:
        """A tensor that may be used anywhere: subsampled, if that was still to be done."""
        return self.subsampled(x, *self.waiting[id(x)]) if id(x) in self.waiting else x

    def subsampled(self, x: Tensor, strides: Axes, name: str) -> Tensor:
        """Every so manieth place of a map at stride 1, once for all that take it."""
        if (id(x), strides) in self.sampled:
            return self.sampled[id(x), strides]
        self.held.append(x)
        y = x
        if not self.polyphase:
            y = BlurPooling2D(1, strides, filter_size=_filter(strides), name=f"{name}_blur")(x)
        else:
            if self.antialias:
                y = CircularBlur2D(_filter(strides), name=f"{name}_blur")(y)
            places = (*self.places.get(id(x), ()), strides)
            if places not in self.chosen:
                self.chosen[places] = PolyphaseChoice2D(strides, name=f"{name}_choice")(y)
            y = PolyphaseSampling2D(strides, name=f"{name}_sampled")(y, self.chosen[places])
            self.places[id(y)] = places
        self.held.append(y)
        self.sampled[id(x), strides] = y
        return y

    def _check(self, layer: Any, tensors: list[Tensor]) -> None:
        """Raises a `RequestError` for a layer with which scores would change under a shift all the same."""
        maps = [x for x in tensors if len(x.shape) == 4]
        if type(layer).__name__ in BY_PLACE:
            raise RequestError(
                f"polyphase=true is not possible with the layer {layer.name} ({type(layer).__name__}), which treats "
                "places differently; antialias=true is."
            )
        if len({self.places.get(id(x), ()) for x in maps}) > 1:
            raise RequestError(
                f"polyphase=true is not possible with the layer {layer.name}: it joins maps that are subsampled in "
                "different ways; antialias=true is."
            )


# Layers that depend on where in the map a value is.
BY_PLACE = ("LocallyConnected2D", "Flatten", "Reshape", "Permute", "Cropping2D", "RegionPooling2D", "UpSampling2D")


def _filter(strides: Axes) -> int:
    return min(2 * max(strides) - 1, LARGEST_FILTER)


def _is_margin(layer: Any) -> bool:
    """Whether all that an operation does is to put margins around a map."""
    if type(layer).__name__ == "Pad":
        widths = layer.pad_width if len(layer.pad_width) > 1 else 4 * layer.pad_width
        return any(sum(width) for width in widths[1:3])
    return isinstance(layer, keras.layers.ZeroPadding2D)
