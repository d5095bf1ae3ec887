"""What a model is made of: per layer its size, cost and view of the image, and what weight sharing saves."""

import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, fields, replace
from importlib.resources import files
from typing import Any

from zoo import layers
from zoo.backend import as_keras_ships, keras
from zoo.errors import RequestError
from zoo.keras_internals import nodes
from zoo.memory import Timeline
from zoo.receptive_field import Seen, View, look, merge, places
from zoo.registry import Card, get_card

FACTS = files("zoo") / "facts"  # one file a model, written by docs/generate.py
# Layers and activations that a converter makes part of the operation before or after them.
_FOLDED = (
    *("BatchNormalization", "FieldNormalization", "Rescaling", "ReLU", "Identity", "Dropout", "SpatialDropout2D"),
    *("GaussianNoise", "GaussianDropout", "ActivityRegularization", "FakeQuantize"),
)
_FUSED = ("linear", "relu", "relu6")


@dataclass(frozen=True)
class Layer:
    """One layer of a model.

    Attributes:
        name, kind: the layer's name and class.
        output_shape: without the batch.
        parameters: all weights, BatchNorm statistics included.
        macs: multiply-adds for one image, of convolutions, blurs and matrix products; other pooling, normalisation,
            biases and activations are not counted (the convention of the mobile papers; FLOPs are twice as many). Where
            an image is seen in several copies, of all of them; so is `activation_bytes`.
        receptive_field: (height, width) in pixels of the image that one unit can see along paths that keep places
            apart, padding included; None where there is no such path, and a unit sees the whole image.
        stride: pixels of the image between neighbouring units.
        offset: pixel (row, column) at the centre of the first unit's receptive field; (0, 0) is the first pixel.
        activation_bytes: memory of the output for one image in float32.
        parameters_unshared: weights it would have if every unit had its own (no weight sharing).
        parameters_dense: weights of a fully connected layer between the same input and output.
        whole_image: by what the whole image reaches a unit, beside its receptive field or in its place:
            `squeeze-and-excitation`, `global pooling`, or the kind of layer; None where it does not.
        parameters_expanded: weights with the copies that a symmetric layer makes of its own, as an exported file has
            them; None where there are none.
    """

    name: str
    kind: str
    output_shape: tuple[int, ...]
    parameters: int
    macs: int
    receptive_field: tuple[int, int] | None
    stride: tuple[int, int] | None
    offset: tuple[float, float] | None
    activation_bytes: int
    parameters_unshared: int
    parameters_dense: int
    whole_image: str | None = None
    parameters_expanded: int | None = None


@dataclass(frozen=True)
class Anatomy:
    """A model's layers and totals.

    Attributes:
        input_shape: (H, W, C) that the counts are for.
        layers: in the order of computation.
        arena_bytes: of its values as int8 where TensorFlow Lite Micro puts them, estimated, see `estimate_arena`.
        receptive_field: of a unit of the last feature map, along paths that keep places apart; None if there is none.
        whole_image: by what the whole image reaches that unit too, as in `Layer`; None if it does not.
    """

    input_shape: tuple[int, int, int]
    layers: tuple[Layer, ...]
    arena_bytes: int = 0

    @property
    def parameters(self) -> int:
        return sum(layer.parameters for layer in self.layers)

    @property
    def parameters_expanded(self) -> int:
        """With the copies that symmetric layers make of theirs."""
        return sum(
            layer.parameters if layer.parameters_expanded is None else layer.parameters_expanded
            for layer in self.layers
        )

    @property
    def macs(self) -> int:
        return sum(layer.macs for layer in self.layers)

    @property
    def parameters_unshared(self) -> int:
        return sum(layer.parameters_unshared for layer in self.layers)

    @property
    def peak_activation_bytes(self) -> int:
        """The largest output of one layer."""
        return max(layer.activation_bytes for layer in self.layers)

    @property
    def _last_map(self) -> Layer | None:
        """The last layer whose units each see a place of their own; pixels that were only rescaled are no map."""
        maps = [layer for layer in self.layers if layer.receptive_field]
        return maps[-1] if any(layer.macs or layer.receptive_field != (1, 1) for layer in maps) else None

    @property
    def receptive_field(self) -> tuple[int, int] | None:
        return self._last_map.receptive_field if self._last_map else None

    @property
    def whole_image(self) -> str | None:
        return self._last_map.whole_image if self._last_map else self.layers[-1].whole_image

    def totals(self) -> dict[str, Any]:
        """The counts of the whole model, as JSON types."""
        names = (
            *("parameters", "parameters_expanded", "macs", "parameters_unshared", "peak_activation_bytes"),
            *("arena_bytes", "receptive_field", "whole_image"),
        )
        return {"input_shape": self.input_shape, **{name: getattr(self, name) for name in names}}

    def to_dict(self) -> dict[str, Any]:
        return self.totals() | {"layers": [asdict(layer) for layer in self.layers]}


@as_keras_ships
def describe(name: str, **settings: Any) -> Anatomy:
    """The anatomy of a registered model; at the card's own settings it is read, not computed, and needs no Keras.

    Args:
        name: one of `zoo.list_models()`.
        **settings: as `zoo.create_model` takes them: `input_shape`, `classes`, `pooling`, ...

    Raises:
        RequestError: as `zoo.create_model`, or an image size that is not fixed.
    """
    get_card(name)
    file = FACTS / f"{name}.jsonl"
    if not settings:
        if not file.is_file():
            return measured(name).anatomy
        totals, *layers = (json.loads(line) for line in file.read_text("utf-8").splitlines())
        rows = tuple(Layer(*map(_frozen, values)) for values in layers)
        return Anatomy(tuple(totals["input_shape"]), rows, totals["arena_bytes"])
    from zoo.builder import create_model

    return dissect(create_model(name, **settings))


def totals(name: str) -> dict[str, Any]:
    """The totals of a registered model at its own settings: `macs`, `receptive_field`, ... Never builds it.

    Returns:
        As `Anatomy.totals`; empty where no file states them, as for a model from elsewhere, until it was measured.
    """
    file = FACTS / f"{name}.jsonl"
    if not file.is_file():
        return _MEASURED[name].anatomy.totals() if name in _MEASURED else {}
    with file.open(encoding="utf-8") as lines:
        stored: dict[str, Any] = json.loads(lines.readline())
    return {"parameters_expanded": stored["parameters"], **stored}


@dataclass(frozen=True)
class Measured:
    """What a built model was found to have, at its own settings.

    Attributes:
        anatomy: its layers.
        trainable_parameters: those of its parameters that are trained.
    """

    anatomy: Anatomy
    trainable_parameters: int


_MEASURED: dict[str, Measured] = {}


def measured(name: str) -> Measured:
    """Builds a registered model, once a process, to see what it has.

    Raises:
        RequestError: as `zoo.create_model`.
    """
    if name not in _MEASURED:
        from zoo.builder import create_model

        model = create_model(name)
        trained = sum(math.prod(weight.shape) for weight in model.trainable_variables)
        _MEASURED[name] = Measured(dissect(model), trained)
    return _MEASURED[name]


def complete(card: Card) -> Card:
    """The card with its parameters; where it does not state them they are measured, which builds the model."""
    if card.parameters is not None and card.trainable_parameters is not None:
        return card
    found = measured(card.name)
    counts = {"parameters": found.anatomy.parameters, "trainable_parameters": found.trainable_parameters}
    missing: dict[str, Any] = {name: count for name, count in counts.items() if getattr(card, name) is None}
    return replace(card, **missing, measured=tuple(missing))


def to_lines(anatomy: Anatomy) -> str:
    """The text of a file in `FACTS`: the totals, then the values of a layer a line."""
    totals = anatomy.totals()
    if totals["parameters_expanded"] == totals["parameters"]:
        del totals["parameters_expanded"]  # said of what makes copies only, here and of each layer
    names = [field.name for field in fields(Layer)]
    rows = [totals, *([getattr(layer, name) for name in names] for layer in anatomy.layers)]
    rows = [row[:-1] if isinstance(row, list) and row[-1] is None else row for row in rows]
    return "".join(json.dumps(row, separators=(",", ":")) + "\n" for row in rows)


def _frozen(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def dissect(model: "keras.Model") -> Anatomy:
    """The anatomy of a functional model with one image (B, H, W, C) of known size as input.

    Raises:
        RequestError: the model's image size is not fixed.
    """
    shape = tuple(model.input_shape[1:])
    if None in shape:
        raise RequestError(f"the anatomy of {model.name} needs a fixed image size, not {shape}.")
    layers = tuple(_walk(model, {id(model.inputs[0]): Seen((View(), View()))}))
    return Anatomy(shape, layers, estimate_arena(model))


def estimate_arena(model: "keras.Model") -> int:
    """Bytes of the values of a functional model, as int8, for one image, where TensorFlow Lite Micro puts them.

    An estimate: it is known of each layer which operations a converter usually makes of it. What the interpreter keeps
    beside the values, and what kernels keep for the moment, is not in it. Of an exported file, the plan is exact
    (`zoo inspect FILE --memory`).
    """
    line = Timeline()
    image = math.prod(model.input_shape[1:])
    values = {id(model.inputs[0]): line.make(image, [line.make(image)])}  # uint8 becomes int8
    _follow(model, values, line)
    line.make(math.prod(model.output_shape[1:]), [values[id(model.outputs[0])]])
    return line.peak


def _follow(model: "keras.Model", values: dict[int, int], line: Timeline) -> None:
    """Has `line` make what each layer makes; `values` of the tensors is filled along the way."""
    for node in nodes(model):
        operation, given = (
            node.operation,
            [] if node.is_input else [values[id(tensor)] for tensor in node.input_tensors],
        )
        if node.is_input:
            continue
        if isinstance(operation, layers.QuantizedWeights):
            operation = operation.layer
        if isinstance(operation, keras.Model):
            inner = dict(zip(map(id, operation.inputs), given, strict=True))
            _follow(operation, inner, line)
            made = inner[id(operation.outputs[0])]
        else:
            activation = getattr(getattr(operation, "activation", None), "__name__", "linear")
            size = math.prod(node.output_tensors[0].shape[1:])
            made = given[0]
            if type(operation).__name__ not in (*_FOLDED, "Activation"):
                made = line.make(size, given)
            if activation not in _FUSED:
                made = line.make(size, [made])
        values |= {id(tensor): made for tensor in node.output_tensors}


def _walk(model: "keras.Model", views: dict[int, Seen], copies: int = 1) -> Iterator[Layer]:
    """Layers in order; `views` of the tensors is filled along the way. Nested models are entered.

    Between the layers that make copies of the image and pool over them, everything is computed `copies` times.
    """
    for node in nodes(model):
        operation, inputs, outputs = node.operation, node.input_tensors, node.output_tensors
        if node.is_input:
            continue
        if isinstance(operation, layers.ImageCopies):
            copies = operation.group.order
        elif isinstance(operation, layers.CopyPooling):
            copies = 1
        elif isinstance(operation, layers.QuantizedWeights):
            operation = operation.layer
        if isinstance(operation, layers.FakeQuantize):  # rounds what is there already
            views |= {id(tensor): views[id(inputs[0])] for tensor in outputs}
            continue
        if isinstance(operation, keras.Model):
            inner = {id(own): views[id(given)] for own, given in zip(operation.inputs, inputs, strict=True)}
            yield from _walk(operation, inner, copies)
            seen = inner[id(operation.outputs[0])]
        else:
            shapes = [tuple(tensor.shape[1:]) for tensor in inputs]
            seen = merge(operation, shapes, [views[id(tensor)] for tensor in inputs])
            seen = look(operation, max(shapes, key=places), tuple(outputs[0].shape[1:]), seen)
            layer = _layer(operation, inputs, outputs[0], seen)
            yield replace(layer, macs=copies * layer.macs, activation_bytes=copies * layer.activation_bytes)
        views |= {id(tensor): seen for tensor in outputs}


def _layer(layer: Any, inputs: Sequence[Any], output: Any, seen: Seen) -> Layer:
    shape = tuple(output.shape[1:])
    own = sum(math.prod(weight.shape) for weight in getattr(layer, "weights", ()))
    expanded = getattr(layer, "parameters_expanded", None)
    positions = math.prod(shape[:-1]) if len(shape) == 3 else 1
    macs = _macs(layer, shape)
    shared = macs > 0 and len(shape) == 3 and not getattr(layer, "unshared", False)
    values_in = sum(math.prod(tensor.shape[1:]) for tensor in inputs)
    return Layer(
        name=layer.name,
        kind=type(layer).__name__,
        output_shape=shape,
        parameters=own,
        macs=macs,
        receptive_field=seen.receptive_field,
        stride=seen.stride,
        offset=seen.offset,
        activation_bytes=4 * math.prod(shape),
        parameters_unshared=(expanded or own) * positions if shared else own,
        parameters_dense=(values_in + 1) * math.prod(shape) if macs and own else 0,
        whole_image=seen.whole,
        parameters_expanded=expanded,
    )


def _macs(layer: Any, shape: tuple[int, ...]) -> int:
    """Multiply-adds of one image: a shared weight is used at every position of the output, another once."""
    if hasattr(layer, "kernel_shape"):  # of a kernel that is made from the weights, or of a blur
        return int(math.prod(shape[:-1]) * math.prod(layer.kernel_shape))
    kernels = [getattr(layer, name, None) for name in ("kernel", "depthwise_kernel", "pointwise_kernel")]
    positions = 1 if getattr(layer, "unshared", False) else math.prod(shape[:-1])
    return sum(positions * math.prod(kernel.shape) for kernel in kernels if kernel is not None)
