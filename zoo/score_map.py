"""Where in an image a model sees what: its scores before they are averaged."""

from zoo.backend import as_keras_ships, keras
from zoo.errors import RequestError, unknown
from zoo.groups import copies_group
from zoo.heads import ACTIVATIONS


@as_keras_ships
def score_map_model(
    model: keras.Model,
    *,
    input_shape: tuple[int | None, int | None, int] | None = None,
    activation: str | None = None,
) -> keras.Model:
    """A model that gives every place of the feature map its scores: (B, H, W, C) to (B, h, w, classes), float32.

    The weights are copies of the given model's. The mean over the map, with activation `linear`, is the model's
    logits: averaging and a linear classifier may change places.

    Args:
        model: of `create_model`, with the `convolutional` head, or with `average` and no hidden layers (whose map
            is the class activation map of Zhou et al. 2016, section 2).
        input_shape: (H, W, C) of the images; any height and width if None.
        activation: of each place's scores; the model's own if None.

    Raises:
        RequestError: a model whose scores are not the mean of a map, an unknown activation, or a backbone that
            cannot be built for that size.
    """
    names = {layer.name for layer in model.layers}
    if group := copies_group(model):
        raise RequestError(
            f"{model.name} has no score map: it takes the maximum over copies of an image under {group}, "
            "which have their places elsewhere; allowed: symmetry 'none'."
        )
    averaged = "pooling" in names and isinstance(model.get_layer("pooling"), keras.layers.GlobalAveragePooling2D)
    if "backbone" not in names or not averaged or any(name.startswith("hidden_") for name in names):
        raise RequestError(
            f"{model.name} has no score map; allowed: pooling 'convolutional', or 'average' without hidden layers."
        )
    if activation is not None and activation not in ACTIVATIONS:
        raise unknown("activation", activation, ACTIVATIONS)
    shape = (None, None, model.input_shape[-1]) if input_shape is None else tuple(input_shape)

    scorer = "score_map" if "score_map" in names else "logits"
    behind = [
        layer for layer in model.layers if layer.name in (scorer, "over_group")
    ]  # of fields, the group's mean too
    image = keras.Input(shape, name="image")
    try:
        features = _copy(model.get_layer("rescaling"))(image)
        features = keras.models.clone_model(model.get_layer("backbone"), input_tensors=features)(features)
    except (ValueError, TypeError) as error:
        size = "x".join(str(n) for n in shape)
        raise RequestError(f"{model.name} has no score map for images of {size}: its layers need one size.") from error
    last = _copy(model.get_layer("scores"))
    if activation is not None:
        last.activation = keras.activations.get(activation)
    for layer in behind:
        features = _copy(layer)(features)
    map_model = keras.Model(image, last(features), name=f"{model.name}_score_map")
    for name in ("backbone", scorer):
        map_model.get_layer(name).set_weights(model.get_layer(name).get_weights())
    return map_model


def _copy(layer: keras.layers.Layer) -> keras.layers.Layer:
    return type(layer).from_config(layer.get_config())
