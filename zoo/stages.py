"""Where a backbone can be cut in two: its lower part stays as it is, its upper part goes on learning."""

from dataclasses import dataclass
from itertools import pairwise

from zoo.backend import keras
from zoo.errors import RequestError
from zoo.groups import copies_in
from zoo.keras_internals import nodes


@dataclass(frozen=True)
class Cut:
    """A backbone in two parts that share its layers.

    Attributes:
        lower: from the scaled image to the boundary; None where everything is in the upper part.
        upper: from the boundary to the feature map; None where everything is in the lower part.
    """

    lower: "keras.Model | None"
    upper: "keras.Model | None"


def cut(backbone: "keras.Model", *, stages: int | None = 0, layers: int = 0) -> Cut:
    """Cuts a backbone below its last stages, or below its last layers.

    A stage is a stretch of layers whose feature maps have one size; it begins with what shrinks them. Stages without
    weights do not count. Of layers, those with weights count, but not BatchNorm; what a skip connection goes past
    stays in one piece, so there may be more of them than asked for.

    Args:
        backbone: a functional model with one input and output, for images of a fixed size.
        stages: how many are in the upper part, from 0; None for all.
        layers: how many are in the upper part at least, from 0, in place of `stages`.

    Raises:
        RequestError: fewer than that, or none: some part of the model runs past every place to cut.
    """
    if stages is None:
        return Cut(None, backbone)
    if not (stages or layers):
        return Cut(backbone, None)
    name, number = ("layers", layers) if layers else ("stages", stages)
    bounds = below_layers(backbone) if layers else boundaries(backbone)
    if number > len(bounds):
        raise RequestError(
            f"{name}={number} is not possible for this backbone; allowed: 0 to {len(bounds)}, or all of it."
        )
    boundary = bounds[-number]
    upper = keras.Model(boundary, backbone.output, name="upper")
    return Cut(keras.Model(backbone.input, boundary, name="lower"), upper)


def boundaries(backbone: "keras.Model") -> list["keras.KerasTensor"]:
    """The tensors where a stage with weights begins, in order; the first stage begins at the image and has none."""
    steps = _steps(backbone)
    found, weighted = [], bool(steps[-1].learning)
    for number in range(len(steps) - 2, 0, -1):
        step, next_ = steps[number], steps[number + 1]
        if step.tensor.shape[1:3] != next_.tensor.shape[1:3] and weighted:
            found.append(_narrowed(steps, number))
            weighted = False
        weighted = weighted or bool(step.learning)
    return found[::-1]


def below_layers(backbone: "keras.Model") -> list["keras.KerasTensor"]:
    """For each layer that counts (see `cut`), in order, the closest tensor below it where one can cut.

    The first, with only the image below it, has none.
    """
    steps = _steps(backbone)
    first = next((number for number, step in enumerate(steps) if step.learning), len(steps))
    return [below.tensor for below, step in pairwise(steps[first:]) for _ in range(step.layers)]


@dataclass(frozen=True)
class _Step:
    """A tensor that all of the model above it depends on alone.

    Attributes:
        maker: what it is the output of.
        learning: the layers with weights between it and the last such tensor below.
    """

    tensor: "keras.KerasTensor"
    maker: "keras.Operation"
    learning: tuple["keras.Operation", ...]

    @property
    def layers(self) -> int:
        """How many of them count as layers."""
        return sum(not isinstance(layer, keras.layers.BatchNormalization) for layer in self.learning)


def _steps(backbone: "keras.Model") -> list[_Step]:
    calls = nodes(backbone)
    made_by = {id(tensor): number for number, node in enumerate(calls) for tensor in node.output_tensors}
    last_use = list(range(len(calls)))
    for number, node in enumerate(calls):
        for tensor in node.input_tensors:
            last_use[made_by[id(tensor)]] = number
    steps: list[_Step] = []
    learning: tuple[keras.Operation, ...] = ()
    waiting = 0  # the last node that uses what was made before this one
    for number, node in enumerate(calls):
        if getattr(node.operation, "trainable_variables", ()):
            learning = (*learning, node.operation)
        if waiting <= number:
            steps.append(_Step(node.output_tensors[0], node.operation, learning))
            learning = ()
        waiting = max(waiting, last_use[number])
    return steps


def _narrowed(steps: list[_Step], number: int) -> "keras.KerasTensor":
    """Where to cut before the layer that shrinks: below a convolution that only widens for it, if there is one.

    That is what inverted bottlenecks begin with; there is several times less to keep below it.
    """
    here = steps[number].tensor
    for below in range(number - 1, 0, -1):
        tensor = steps[below].tensor
        if tensor.shape[1:3] != here.shape[1:3] or tensor.shape[-1] > here.shape[-1]:
            break
        if tensor.shape[-1] < here.shape[-1]:
            return tensor
        if steps[below].layers and steps[below - 1].tensor.shape[-1] == tensor.shape[-1]:
            break
    return here


@dataclass(frozen=True)
class Parts:
    """A model of this zoo as a chain of four models that share its layers.

    Where the model sees copies of the image, what lies between has a row for each copy, see
    `zoo.layers.ImageCopies`.

    Attributes:
        scaling: from the image to what the backbone takes.
        backbone: to the feature map.
        pooling: what the head does before anything in it learns or is random: to the features.
        classifier: from the features to the scores.
    """

    scaling: "keras.Model"
    backbone: "keras.Model"
    pooling: "keras.Model"
    classifier: "keras.Model"

    @property
    def copies(self) -> int:
        """Rows an image between scaling and pooling."""
        return copies_in(self.scaling)

    @property
    def feature_copies(self) -> int:
        """Rows an image between pooling and classifier: 1 where the maximum over the copies is taken before."""
        from zoo.layers import CopyPooling

        return 1 if any(isinstance(layer, CopyPooling) for layer in self.pooling.layers) else self.copies


def take_apart(model: "keras.Model") -> Parts:
    """The parts of a model with a nested model `backbone`.

    Raises:
        RequestError: it has no such part.
    """
    node = next((node for node in nodes(model) if node.operation.name == "backbone"), None)
    if node is None:
        raise RequestError(
            f"{model.name} has no layer `backbone`: it is not of this zoo, so there is no telling its head."
        )
    scaling = keras.Model(model.input, node.input_tensors[0], name="scaling")
    head = keras.Model(node.output_tensors[0], model.output, name="head")
    steps = _steps(head)
    last = max(
        number
        for number, step in enumerate(steps)
        if not any(s.learning or isinstance(s.maker, keras.layers.Dropout) for s in steps[: number + 1])
    )
    features = steps[last].tensor
    pooling = keras.Model(head.input, features, name="features")
    return Parts(scaling, node.operation, pooling, keras.Model(features, head.output, name="classifier"))


def chained(*parts: "keras.Model | None", given: int = 1, made: int = 1) -> "keras.Model":
    """One model that does what these do one after the other; None is left out.

    Args:
        *parts: each takes what the one before it makes.
        given, made: rows an image that the first takes and the last makes. Where there are several, the chain takes or
            makes them as one more dimension, (B, rows, ...), so that an image is one row of whatever is kept.
    """
    models = [part for part in parts if part is not None]
    shape = models[0].input_shape[1:]
    x = first = keras.Input(shape if given == 1 else (given, *shape), dtype=models[0].inputs[0].dtype)
    if given > 1:
        x = keras.ops.reshape(x, (-1, *shape))
    for model in models:
        x = model(x)
    if made > 1:
        x = keras.ops.reshape(x, (-1, made, *x.shape[1:]))
    return keras.Model(first, x)
