"""A backbone with the weights of a source, under a new head."""

from typing import Any

from recipes.config.settings import Model
from recipes.run.keras_file import load_keras_file
from recipes.transfer.source import Source
from zoo import get_card, list_models
from zoo.backend import keras
from zoo.errors import RequestError
from zoo.weights import load_weights


def build(source: Source, wanted: Model, classes: int, activation: str = "softmax") -> "keras.Model":
    """The source's backbone with its weights and its own scaling of pixels, under a new head, all in the precision that
    layers are made in.

    Args:
        source: what `recipes.transfer.source.open_source` found.
        wanted: image size and head.
        classes: of the new head.
        activation: of its scores.

    Raises:
        RequestError: weights that do not fit, or an image size that the backbone cannot take.
        FailureError: weights that could not be fetched.
    """
    from zoo import create_model
    from zoo.builder import assemble, head_of
    from zoo.layers import ImageCopies
    from zoo.precision import in_precision
    from zoo.stages import take_apart

    if source.file:
        model = load_keras_file(source.file)
        if tuple(model.input_shape[1:]) != wanted.input_shape:
            raise RequestError(f"{source.file} takes images of {model.input_shape[1:]}, not {wanted.input_shape}.")
        parts = take_apart(model)
        precision = keras.config.dtype_policy().name
        scaling, backbone = (in_precision(part, precision) for part in (parts.scaling, parts.backbone))
        image = keras.Input(wanted.input_shape, name="image")
        x = image
        for layer in scaling.layers[1:]:
            x = x if isinstance(layer, ImageCopies) else layer(x)
        head: dict[str, Any] = {"pooling": wanted.pooling, "hidden": wanted.hidden, "dropout": wanted.dropout}
        if model.name in list_models():
            head = head_of(get_card(model.name), {}, **head)
        else:
            head = {"pooling": "average"} | {key: value for key, value in head.items() if value is not None}
        head |= {"classes": classes, "activation": activation}
        scores = assemble(x, backbone, wanted.symmetry, model.name, **head)
        return keras.Model(image, scores, name=model.name)
    model = create_model(
        wanted.name,
        input_shape=wanted.input_shape,
        classes=classes,
        pooling=wanted.pooling,
        hidden=wanted.hidden,
        dropout=wanted.dropout,
        activation=activation,
        symmetry=wanted.symmetry,
        **wanted.options,
    )
    weights = source.run.path if source.run else wanted.weights
    if weights is not None and weights != "none":
        load_weights(model, get_card(wanted.name), weights, head=False)
    return model
