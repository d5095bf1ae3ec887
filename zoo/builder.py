"""From a name to a Keras model: image in, scores out."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from zoo import layers
from zoo.backend import keras, keras_as_shipped
from zoo.cards import SUBSAMPLING
from zoo.errors import RequestError, first_line, unknown
from zoo.groups import check_copies, output_group, symmetry_of
from zoo.heads import ACTIVATIONS, HEADS, apply_head
from zoo.plugins import place_of, reason
from zoo.registry import Card, Scaling, check_options, get_card
from zoo.weights import load_weights


@keras_as_shipped(keep_policy=True)  # half precision is asked for in Keras' own way
def create_model(
    name: str,
    *,
    input_shape: tuple[int | None, int | None, int] | None = None,
    classes: int | None = None,
    pooling: str | None = None,
    hidden: tuple[int, ...] | None = None,
    dropout: float | None = None,
    activation: str = "softmax",
    weights: str | Path | None = None,
    symmetry: str | None = None,
    **options: Any,
) -> keras.Model:
    """Builds a registered architecture as a plain Keras model.

    The model takes images (B, H, W, C) with pixels 0-255, uint8 or float, rescales them itself, and returns
    float32 scores (B, classes). Its feature extractor is the nested model `backbone`, so
    `model.get_layer("backbone").trainable = False` freezes everything but the head.

    Args:
        name: one of `zoo.list_models()`.
        input_shape: (H, W, C); the card's own if None. H and W may be None with a pooled head.
        classes: number of scores; the card's own if None.
        pooling: head, one of `zoo.heads.HEADS`; the paper's own if None.
        hidden: units of the head's hidden layers; the paper's own if None and `pooling` is the paper's too.
        dropout: rate in the head, from 0 up to but not including 1.
        activation: of the scores: `softmax`, `sigmoid` or `linear`.
        weights: None (or `"none"`) for new ones; the name of published weights on the card, as `imagenet`; a run
            folder, or a `.keras` or `.weights.h5` file of the same backbone. The head's come with them if they have
            exactly its shapes, otherwise it is new.
        symmetry: `mirror`, `c4` (quarter turns) or `d4` (both): the backbone sees every image in 2, 4 or 8 copies, and
            the maximum over them is taken of each feature, so that scores are exactly the same for all; None or
            `"none"` for the image alone.
        **options: the architecture's own settings, see `zoo.get_card(name).options`.

    Raises:
        RequestError: an unknown name or option, a symmetry that it has already or cannot have, a size that the
            architecture cannot be built for, or weights that do not fit its backbone.
        FailureError: weights that could not be fetched.
    """
    card = get_card(name)
    options = check_options(card, options)
    shape = _check_shape(card.input_shape if input_shape is None else input_shape)
    classes = _check_whole("classes", card.classes if classes is None else classes)
    head = head_of(card, options, pooling=pooling, hidden=hidden, dropout=dropout)
    pooling, hidden, dropout = head["pooling"], head["hidden"], head["dropout"]
    if pooling not in HEADS:
        raise unknown("pooling", pooling, HEADS)
    if activation not in ACTIVATIONS:
        raise unknown("activation", activation, ACTIVATIONS)
    if not 0 <= dropout < 1:
        raise RequestError(f"dropout={dropout} is not possible; allowed: 0 up to but not including 1.")
    if hidden and pooling == "convolutional":
        raise RequestError("the convolutional head has no hidden layers; choose another pooling, or leave out hidden.")

    check_copies(symmetry, shape, card.symmetry, name)
    image = keras.Input(shape, name="image")
    try:
        scaled = rescale(card.scaling, image)
        backbone = _backbone(card, shape, options)
        scores = assemble(scaled, backbone, symmetry, name, classes=classes, activation=activation, **head)
    except Exception as error:
        told = isinstance(error, (ValueError, TypeError)) or card.plugin  # a fault of the zoo's own keeps its traceback
        if isinstance(error, RequestError) or not told:
            raise
        size = "x".join(str(n) for n in shape)
        place = place_of(error, card.plugin) if card.plugin else None
        why = f"{reason(error)} ({place})" if place else first_line(error)
        raise RequestError(f"{name} cannot be built for images of {size} with pooling {pooling!r}: {why}") from error
    model = keras.Model(image, scores, name=name)
    if weights not in (None, "none"):
        load_weights(model, card, weights)
    return model


def assemble(
    scaled: keras.KerasTensor, backbone: keras.Model, symmetry: str | None, name: str, **head: Any
) -> keras.KerasTensor:
    """Scores (B, classes) of scaled images: their copies under a group if one is asked for, the backbone, and the head.

    Args:
        scaled: (B, H, W, C).
        backbone: to a feature map.
        symmetry: as `create_model` takes it.
        name: of the model, for messages.
        **head: what `zoo.heads.apply_head` takes.

    Raises:
        RequestError: as `zoo.groups.check_copies`, or `zoo.heads.apply_head`.
    """
    own = symmetry_of(backbone)
    copies = check_copies(symmetry, scaled.shape[1:], own, name)
    seen = layers.ImageCopies(copies, name="copies")(scaled) if copies else scaled
    return apply_head(backbone(seen), group=output_group(backbone), symmetry=own, copies=copies, **head)


def head_of(
    card: Card,
    options: Mapping[str, Any],
    *,
    pooling: str | None,
    hidden: tuple[int, ...] | None,
    dropout: float | None,
) -> dict[str, Any]:
    """What `zoo.heads.apply_head` takes: what is asked for, and the paper's own where that is None.

    Raises:
        RequestError: a number of hidden units that is not possible.
    """
    if hidden is None:
        hidden = card.hidden if pooling in (None, card.pooling) else ()
    nonlinearity = card.options.get("nonlinearity")
    return {
        "pooling": card.pooling if pooling is None else pooling,
        "hidden": tuple(_check_whole("hidden", units) for units in hidden),
        "dropout": card.dropout if dropout is None else dropout,
        "nonlinearity": options.get("nonlinearity", nonlinearity.default if nonlinearity else card.hidden_nonlinearity),
    }


def rescale(scaling: Scaling, image: keras.KerasTensor) -> keras.KerasTensor:
    """Pixels 0-255 (B, H, W, C) as the architecture expects them."""
    scaling = scaling.for_channels(image.shape[-1])
    if scaling.order == "bgr":
        image = keras.ops.flip(image, axis=-1)
    return keras.layers.Rescaling(scaling.scale, scaling.offset, name="rescaling")(image)


def _backbone(card: Card, shape: tuple[int | None, int | None, int], options: dict[str, Any]) -> keras.Model:
    scaled = keras.Input(shape, name="scaled")
    subsampling = {name: options.get(name, False) for name in SUBSAMPLING} if card.subsamples else {}
    own = {name: value for name, value in options.items() if name not in subsampling}
    backbone = keras.Model(scaled, card.build(scaled, **own), name="backbone")
    if not any(subsampling.values()):
        return backbone
    from zoo.subsampling import resampled

    return resampled(backbone, **subsampling)


def _check_shape(shape: tuple[int | None, ...]) -> tuple[int | None, int | None, int]:
    shape = tuple(shape)
    sizes = [n for n in shape if n is not None]
    channels = shape[2] if len(shape) == 3 else None
    if channels is None or any(int(n) != n or n < 1 for n in sizes):
        raise RequestError(f"input_shape={shape} is not possible; allowed: (height, width, channels), all at least 1.")
    height, width, _ = (n if n is None else int(n) for n in shape)
    return height, width, int(channels)


def _check_whole(what: str, number: int) -> int:
    if int(number) != number or number < 1:
        raise RequestError(f"{what}={number} is not possible; allowed: whole numbers from 1.")
    return int(number)
