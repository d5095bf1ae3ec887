"""Layers that Keras lacks, and pooling inside networks by name. Importing this does not import Keras."""

import importlib
import pkgutil
from typing import TYPE_CHECKING, Any, Literal

import lazy_loader

if TYPE_CHECKING:
    import keras

_lazy_getattr, __dir__, _ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "across": ["ChannelAverage", "ChannelLp", "Maxout"],
        "convolution": ["Conv2D"],
        "pooling": [
            "BlurPooling2D",
            "LpPooling2D",
            "OrderStatisticPooling2D",
            "StochasticPooling2D",
            "WeightedAveragePooling2D",
        ],
        "whole": [
            "GlobalAttentionPooling2D",
            "GlobalGeneralizedMeanPooling2D",
            "GlobalLpPooling2D",
            "RegionPooling2D",
        ],
    },
)

Pooling = Literal["max", "average", "weighted_average", "l2", "lp", "median", "stochastic", "blur_max", "blur_average"]


def __getattr__(name: str) -> object:
    return _lazy_getattr(name)


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
        kind: one of `Pooling`; `lp` is p = 3 unless `settings` say otherwise.
        pool_size: of the window, (height, width) or one number for both.
        strides: from window to window; `pool_size` if None.
        padding: `valid` (whole windows only) or `same` (ceil(size / stride) of them).
        name: of the layer.
        **settings: the layer's own: `p` of lp, `rank` of median, `seed` of stochastic, `filter_size` of blur_*.

    Raises:
        RequestError: no pooling has that name.
    """
    import keras

    from zoo.errors import unknown
    from zoo.layers import pooling

    kinds: dict[str, tuple[type[keras.layers.Layer], dict[str, Any]]] = {
        "max": (keras.layers.MaxPooling2D, {}),
        "average": (keras.layers.AveragePooling2D, {}),
        "weighted_average": (pooling.WeightedAveragePooling2D, {}),
        "l2": (pooling.LpPooling2D, {"p": 2.0}),
        "lp": (pooling.LpPooling2D, {"p": 3.0}),
        "median": (pooling.OrderStatisticPooling2D, {"rank": "median"}),
        "stochastic": (pooling.StochasticPooling2D, {}),
        "blur_max": (pooling.BlurPooling2D, {"statistic": "max"}),
        "blur_average": (pooling.BlurPooling2D, {"statistic": "average"}),
    }
    if kind not in kinds:
        raise unknown("pooling", kind, kinds)
    layer, own = kinds[kind]
    return layer(pool_size, strides=strides, padding=padding, name=name, **(own | settings))


def register_layers() -> None:
    """Makes every layer of this package known to Keras; needed before `keras.models.load_model` meets one."""
    for module in pkgutil.iter_modules(__path__):
        importlib.import_module(f"{__name__}.{module.name}")


__all__ = [
    "BlurPooling2D",
    "ChannelAverage",
    "ChannelLp",
    "Conv2D",
    "GlobalAttentionPooling2D",
    "GlobalGeneralizedMeanPooling2D",
    "GlobalLpPooling2D",
    "LpPooling2D",
    "Maxout",
    "OrderStatisticPooling2D",
    "Pooling",
    "RegionPooling2D",
    "StochasticPooling2D",
    "WeightedAveragePooling2D",
    "pooling_layer",
    "register_layers",
]
