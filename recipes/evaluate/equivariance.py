"""Where in a model a shift of the image stops being the same shift of the feature maps."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from recipes.data.decoded import Images
from recipes.evaluate.inside import backbone_layers, has_map, tap
from recipes.support.rows import evenly_spaced
from zoo.anatomy import dissect
from zoo.backend import as_keras_ships, keras

IMAGES = 48
BATCH = 8  # small: all maps of a batch are held at once
SHIFTS = 4  # of different lengths along each axis, up to an eighth of the image


@as_keras_ships
def equivariance_errors(model: keras.Model, images: Images) -> list[dict[str, Any]]:
    """How far the feature maps of a shifted image are from the shifted feature maps.

    The image is moved by whole pixels, right or down, up to an eighth of its size; its edge fills the gap. A map
    with a stride of s pixels should then move by 1/s units a pixel; parts of a unit are interpolated linearly. Units
    whose centre moved in from outside are left out.

    Args:
        model: of `zoo.create_model`.
        images: uint8 (N, H, W, C); 48 of them, evenly chosen, are used.

    Returns:
        For each convolution and each layer that changes the stride, in order, `layer` (its name), `stride` ([rows,
        columns], in pixels) and `error`: root mean square difference over the spread of both maps about their means,
        0 where a shift is followed exactly, about 1 where the two maps have nothing in common. Layers whose units
        see the whole image, or that have less than two rows and columns, are left out.
    """
    chosen = images[evenly_spaced(len(images), IMAGES)]
    layers, strides = _followed(model)
    if not layers:
        return []
    maps_of, sums = tap(model, layers), np.zeros((len(layers), 2))
    for start in range(0, len(chosen), BATCH):
        batch = chosen[start : start + BATCH]
        plain = maps_of(batch)
        for axis in (0, 1):
            size = batch.shape[1 + axis]
            for pixels in np.unique(np.linspace(1, max(size // 8, 1), SHIFTS).astype(int)):
                moved = maps_of(shifted(batch, int(pixels), axis))
                for row, (before, after, stride) in enumerate(zip(plain, moved, strides, strict=True)):
                    sums[row] += _difference(before, after, pixels / stride[axis], axis)
    return [
        {"layer": layer.name, "stride": list(stride), "error": math.sqrt(different / spread) if spread else 0.0}
        for layer, stride, (different, spread) in zip(layers, strides, sums, strict=True)
    ]


def shifted(images: np.ndarray, pixels: int, axis: int) -> np.ndarray:
    """Images (N, H, W, C) moved down (`axis` 0) or right (1) by whole pixels; the edge fills the gap."""
    before = [(0, 0)] * 4
    before[1 + axis] = (pixels, 0)
    return np.pad(images, before, "edge")[:, : images.shape[1], : images.shape[2]]


def _followed(model: keras.Model) -> tuple[list[keras.layers.Layer], list[tuple[int, int]]]:
    """Layers of the backbone that can lose a shift, and their strides."""
    layers = {layer.name: layer for layer in backbone_layers(model) if has_map(layer, 2)}
    if not layers:
        return [], []
    found, strides, before = [], [], (1, 1)
    for facts in dissect(model.get_layer("backbone")).layers:
        if facts.name in layers and facts.stride and (facts.macs or facts.stride != before):
            found.append(layers[facts.name])
            strides.append(facts.stride)
        before = facts.stride or before
    return found, strides


def _difference(plain: np.ndarray, moved: np.ndarray, units: float, axis: int) -> Sequence[float]:
    """Squared difference of maps (B, h, w, c) after a shift by so many units, and the squared spread of both."""
    plain, moved = (np.moveaxis(maps.astype(np.float64), 1 + axis, 1) for maps in (plain, moved))
    size, gone = plain.shape[1], math.ceil(units)
    if gone >= size:
        return 0.0, 0.0
    weight = gone - units  # of the nearer of the two units between which a moved one lies
    nearer, farther = plain[:, 1 : size - gone + 1], plain[:, : size - gone]
    expected = farther if weight == 0 else weight * nearer + (1 - weight) * farther
    received = moved[:, gone:]
    spread = sum(((maps - maps.mean((1, 2), keepdims=True)) ** 2).sum() for maps in (expected, received))
    return float(((expected - received) ** 2).sum()), float(spread)
