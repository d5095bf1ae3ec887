"""The ranges that a model made by `zoo.quantization.quantized` rounds its values over: found, and followed."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import numpy as np

from zoo.backend import keras
from zoo.keras_internals import all_layers, nodes
from zoo.layers.quantized import FakeQuantize, QuantizedConcatenate, QuantizedWeights, rounded
from zoo.layers.quantized_joins import SettledLayer
from zoo.registry import Tensor

FRACTIONS = (1.0, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3)  # of a range, that are tried in its place


def is_quantized(model: "keras.Model") -> bool:
    """Whether a model rounds its values as an integer file does."""
    return any(isinstance(layer, FakeQuantize) for layer in all_layers(model))


def has_four_bits(model: "keras.Model") -> bool:
    """Whether a model rounds its weights to four bits."""
    return any(isinstance(layer, QuantizedWeights) and layer.bits == 4 for layer in all_layers(model))


def calibrate(model: "keras.Model", images: Iterable[np.ndarray], *, clip: bool = False) -> None:
    """Sets the ranges of a model that `quantized` made to what occurs in it.

    Args:
        images: float32 (B, H, W, C), in batches.
        clip: narrows a range where the mean squared error of rounding is smaller then, in spite of what is cut off.
    """
    ranges = [layer for layer in all_layers(model) if isinstance(layer, FakeQuantize) and layer.fixed is None]
    everywhere = [layer for layer in all_layers(model) if isinstance(layer, FakeQuantize)]
    batches = list(images)
    errors: dict[int, np.ndarray] = {}

    def widen(layer: FakeQuantize, values: Tensor) -> None:
        layer.low.assign(keras.ops.minimum(layer.low, keras.ops.min(values)))
        layer.high.assign(keras.ops.maximum(layer.high, keras.ops.max(values)))

    def compare(layer: FakeQuantize, values: Tensor) -> None:
        tried = [rounded(values, fraction * layer.low, fraction * layer.high) for fraction in FRACTIONS]
        found = np.array([keras.ops.sum(keras.ops.square(values - one)) for one in tried])
        errors[id(layer)] = errors.get(id(layer), 0.0) + found

    for observer in (widen, compare) if clip else (widen,):
        for layer in everywhere:
            layer.observer = observer
        for batch in batches:
            model(batch, training=False)
    for layer in everywhere:
        layer.observer = None
    for layer in ranges if clip else []:
        best = FRACTIONS[int(np.argmin(errors[id(layer)]))]
        layer.low.assign(best * layer.low)
        layer.high.assign(best * layer.high)


def settle(model: "keras.Model") -> None:
    """Has a model that `quantized` made compute in integers, to the last bit, once its ranges stay.

    Biases are rounded, too. Without it, a value that lies half-way between two levels may come out as either.
    """
    _settle(model, {})


@contextmanager
def exporting(model: "keras.Model") -> Iterator[None]:
    """In the block, a model that `quantized` made is traced for the converter, which rounds means by itself."""
    ranges = [
        layer
        for layer in all_layers(model)
        if isinstance(layer, FakeQuantize | QuantizedConcatenate | QuantizedWeights | SettledLayer)
    ]
    for layer in ranges:
        layer.exporting = True
    try:
        yield
    finally:
        for layer in ranges:
            layer.exporting = False


def _settle(model: "keras.Model", ranges: dict[int, FakeQuantize]) -> None:
    rounding = _rounding(model)
    for node in nodes(model):
        layer, given, made = node.operation, node.input_tensors, node.output_tensors
        if node.is_input:
            continue
        range_ = ranges.get(id(given[0]))
        if isinstance(layer, keras.Model):
            known = [(own, ranges.get(id(outer))) for own, outer in zip(layer.inputs, given, strict=True)]
            inner = {id(own): range_ for own, range_ in known if range_ is not None}
            _settle(layer, inner)
            range_ = inner.get(id(layer.outputs[0]))
        elif isinstance(layer, FakeQuantize | QuantizedConcatenate):
            range_ = _range_of(layer)
        elif isinstance(layer, QuantizedWeights) and range_ is not None:
            after = rounding.get(id(made[0]))
            layer.settle(range_.scale(), None if after is None else after.scale())
        elif isinstance(layer, SettledLayer):
            before, after = [ranges.get(id(tensor)) for tensor in given], rounding.get(id(made[0]))
            if after is not None and None not in before:
                layer.settle([one.scale() for one in before if one is not None], after.scale())
        if range_ is not None:
            ranges |= {id(tensor): range_ for tensor in made}


def _rounding(model: "keras.Model") -> dict[int, FakeQuantize]:
    """The ranges that tensors are rounded over next, by their `id`."""
    return {
        id(tensor): _range_of(node.operation)
        for node in nodes(model)
        if isinstance(node.operation, FakeQuantize | QuantizedConcatenate)
        for tensor in node.input_tensors
    }


def _range_of(layer: FakeQuantize | QuantizedConcatenate) -> FakeQuantize:
    return layer if isinstance(layer, FakeQuantize) else layer.range


def divide_from(model: "keras.Model", name: str, divisor: float) -> None:
    """Divides what a layer gives, and the ranges of all that is linear in it: the scores have a fixed one."""
    calls = [node.operation for node in nodes(model)]
    first = next(number for number, layer in enumerate(calls) if layer.name == name)
    ranges = {id(layer): layer for layer in calls[first + 1 :] if isinstance(layer, FakeQuantize)}
    for layer in (calls[first], *ranges.values()):
        for weight in layer.weights:
            weight.assign(weight / divisor)
