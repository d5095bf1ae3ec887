"""Layers that Keras lacks, and pooling inside models by name. Importing this does not import Keras."""

import importlib
import pkgutil
from typing import Any, Literal, TypeAlias

from zoo.backend import keras
from zoo.errors import unknown
from zoo.lazy import lazy_names

# Each pooling inside models: where its layer is, and what it sets of the layer. All of these layers take
# (pool_size, strides, padding, name) as Keras' own do.
POOLINGS: dict[str, tuple[str, dict[str, Any]]] = {
    "max": ("keras.layers:MaxPooling2D", {}),
    "average": ("keras.layers:AveragePooling2D", {}),
    "weighted_average": ("zoo.layers.pooling:WeightedAveragePooling2D", {}),
    "l2": ("zoo.layers.pooling:LpPooling2D", {"p": 2.0}),
    "lp": ("zoo.layers.pooling:LpPooling2D", {"p": 3.0}),
    "median": ("zoo.layers.pooling:OrderStatisticPooling2D", {"rank": "median"}),
    "stochastic": ("zoo.layers.pooling:StochasticPooling2D", {}),
    "blur_max": ("zoo.layers.pooling:BlurPooling2D", {"statistic": "max"}),
    "blur_average": ("zoo.layers.pooling:BlurPooling2D", {"statistic": "average"}),
}
Pooling: TypeAlias = Literal[tuple(POOLINGS)]  # type: ignore[valid-type]

_PLACES = {
    "across": ["ChannelAverage", "ChannelLp", "Maxout"],
    "convolution": ["Conv2D"],
    "copies": ["CopyPooling", "ImageCopies"],
    "fields": ["FieldNormalization", "FieldPooling2D", "GroupPooling"],
    "group": ["GroupConv2D", "LiftingConv2D"],
    "local": ["LocallyConnected2D", "TableConv2D"],
    "quantized": ["FakeQuantize", "QuantizedConcatenate", "QuantizedWeights"],
    "pooling": sorted({layer.split(":")[1] for layer, _ in POOLINGS.values() if layer.startswith(__name__)}),
    "shift": ["CircularBlur2D", "CircularPadding2D", "PolyphaseChoice2D", "PolyphaseSampling2D"],
    "scale": ["ScaleConv2D", "ScaleLiftingConv2D", "ScaleNormalization", "ScalePooling"],
    "whole": [
        "GlobalAttentionPooling2D",
        "GlobalGeneralizedMeanPooling2D",
        "GlobalLpPooling2D",
        "RegionPooling2D",
    ],
}
_names = sorted(name for names in _PLACES.values() for name in names)
__all__ = [*_names, "POOLINGS", "Pooling", "pooling_layer", "register_layers"]
__getattr__ = lazy_names(__name__, _PLACES)


def __dir__() -> list[str]:
    return __all__


def pooling_layer(
    kind: Pooling,
    pool_size: int | tuple[int, int] = 2,
    strides: int | tuple[int, int] | None = None,
    padding: Literal["valid", "same"] = "valid",
    name: str | None = None,
    **settings: Any,
) -> "keras.layers.Layer":
    """A pooling layer from its name. All kinds give a feature map of the same size, so one can replace another.

    Args:
        kind: a name in `POOLINGS`; `lp` is p = 3 unless `settings` say otherwise.
        pool_size: of the window, (height, width) or one number for both.
        strides: from window to window; `pool_size` if None.
        padding: `valid` (whole windows only) or `same` (ceil(size / stride) of them).
        name: of the layer.
        **settings: the layer's own: `p` of lp, `rank` of median, `seed` of stochastic, `filter_size` of blur_*.

    Raises:
        RequestError: no pooling has that name.

    Example:
        >>> pooling_layer("median", 2).compute_output_shape((1, 28, 28, 6))
        (1, 14, 14, 6)
    """
    if kind not in POOLINGS:
        raise unknown("pooling", kind, POOLINGS)
    layer, own = POOLINGS[kind]
    return pkgutil.resolve_name(layer)(pool_size, strides=strides, padding=padding, name=name, **(own | settings))


def register_layers() -> None:
    """Makes every layer of this package known to Keras; needed before `keras.models.load_model` meets one."""
    for module in pkgutil.iter_modules(__path__):
        importlib.import_module(f"{__name__}.{module.name}")
