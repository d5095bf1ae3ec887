"""A look into a trained model: its first kernels, its feature maps, and where it looked."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from zoo.backend import as_keras_ships, keras, tf
from zoo.groups import copies_group, find_group

MAP_SIZES = 5  # feature maps of so many sizes are shown
LEAST_MAP = 4  # rows and columns that a map must have to say where something is


@dataclass(frozen=True)
class FeatureMaps:
    """What one layer makes of one image.

    Attributes:
        layer: its name.
        maps: uint8 (K, h, w), each map from its own smallest to its own largest value.
        channels: how many the layer has; `maps` are the first of them.
    """

    layer: str
    maps: np.ndarray
    channels: int


def first_kernels(model: keras.Model, count: int = 32) -> np.ndarray | None:
    """The kernels of the first convolution as uint8 (K, h, w, C); grey is zero, C is 1 or 3.

    None where the first layer with weights is not a convolution that sees more than a pixel.
    """
    for layer in backbone_layers(model):
        kernel = getattr(layer, "depthwise_kernel", getattr(layer, "kernel", None))
        if kernel is None:
            continue
        if len(kernel.shape) != 4 or max(kernel.shape[:2]) < 2:
            return None
        kernels = keras.ops.convert_to_numpy(kernel).transpose(3, 0, 1, 2)[:count]  # output channels first
        if kernels.shape[-1] not in (1, 3):
            kernels = kernels.mean(-1, keepdims=True)
        return np.asarray(np.round(127.5 + 127.5 * kernels / max(np.abs(kernels).max(), 1e-12)), np.uint8)
    return None


@as_keras_ships
def feature_maps(model: keras.Model, image: np.ndarray, channels: int = 12) -> list[FeatureMaps]:
    """What the layers make of an image uint8 (H, W, C): of every size of map the last layer, largest map first."""
    of_size = {tuple(layer.output.shape[1:3]): layer for layer in backbone_layers(model) if has_map(layer, 2)}
    layers = list(of_size.values())[:MAP_SIZES]
    if not layers:
        return []
    stages = []
    for layer, (output,) in zip(layers, tap(model, layers)(image[None]), strict=True):
        maps = np.stack([_stretched(one) for one in output.transpose(2, 0, 1)[:channels]])
        stages.append(FeatureMaps(layer.name, maps, output.shape[-1]))
    return stages


def tap(model: keras.Model, layers: Sequence[keras.layers.Layer]) -> Callable[[np.ndarray], list[np.ndarray]]:
    """A function from images (B, H, W, C) to the outputs of layers of the backbone, at least one of them."""
    front = _front(model)
    maps = keras.Model(model.get_layer("backbone").input, [layer.output for layer in layers])

    def outputs(images: np.ndarray) -> list[np.ndarray]:
        made = maps(front(images), training=False)
        return [keras.ops.convert_to_numpy(output) for output in (made if isinstance(made, list) else [made])]

    return outputs


def grad_cam(model: keras.Model, images: np.ndarray, classes: np.ndarray) -> np.ndarray | None:
    """Where the model looked when it scored a class: each map counts by the mean of its gradient.

    Selvaraju et al. 2017 (https://arxiv.org/abs/1610.02391), equations 1 and 2.

    Args:
        model: of `zoo.create_model`.
        images: uint8 (N, H, W, C).
        classes: integers (N,), the class to explain for each image.

    Returns:
        float32 (N, h, w) from 0 to 1, of the last feature map with at least 4 rows and columns; None if there is none.
    """
    cams = class_maps(model, images, classes)
    return None if cams is None else cams[0]


def layer_cam(model: keras.Model, images: np.ndarray, classes: np.ndarray) -> np.ndarray | None:
    """Where the model looked when it scored a class: each place of each map counts by its own gradient, if that is
    above 0, so that the map keeps the detail that a mean gives away.

    Jiang et al. 2021 (https://doi.org/10.1109/TIP.2021.3089943), section III-B. Arguments and result as of `grad_cam`.
    """
    cams = class_maps(model, images, classes)
    return None if cams is None else cams[1]


@as_keras_ships
def class_maps(model: keras.Model, images: np.ndarray, classes: np.ndarray) -> tuple[np.ndarray, np.ndarray] | None:
    """`grad_cam` and `layer_cam` of the same images, by one gradient."""
    found = _gradient(model, images, classes)
    if found is None:
        return None
    maps, gradient = found
    coarse = tf.reduce_mean(gradient, axis=(1, 2), keepdims=True)
    return _weighed(model, maps, coarse), _weighed(model, maps, tf.nn.relu(gradient))


def _gradient(model: keras.Model, images: np.ndarray, classes: np.ndarray) -> "tuple[tf.Tensor, tf.Tensor] | None":
    """The last feature map, and the gradient there of each image's logit of its class; both (N, h, w, C)."""
    mapped = [layer for layer in backbone_layers(model) if has_map(layer, LEAST_MAP)]
    if not mapped:
        return None
    backbone = model.get_layer("backbone")
    features = model.layers[model.layers.index(backbone) + 1].input  # the backbone's output in the outer graph
    two_ends = keras.Model(backbone.input, [mapped[-1].output, backbone.output])
    head = keras.Model(features, model.get_layer("scores").input)
    names = {layer.name for layer in model.layers}
    front = keras.Model(model.input, model.get_layer("copies" if "copies" in names else "rescaling").output)
    scaled = tf.convert_to_tensor(front(images))
    with tf.GradientTape() as tape:
        tape.watch(scaled)  # also what frozen layers do is then recorded
        maps, last = two_ends(scaled, training=False)
        if mapped[-1].output is backbone.output:
            last = maps
        logits = head(last, training=False)
        chosen = tf.reduce_sum(tf.gather(logits, classes, axis=1, batch_dims=1))
    return maps, tape.gradient(chosen, maps)


def _weighed(model: keras.Model, maps: "tf.Tensor", weights: "tf.Tensor") -> np.ndarray:
    """The weighed sum of the maps of each image where it is above 0, from 0 to 1."""
    cam = tf.nn.relu(tf.reduce_sum(tf.cast(weights * maps, tf.float32), axis=-1)).numpy()
    if name := copies_group(model):  # where each copy of the image was looked at, brought back and averaged
        group = find_group(name)
        of_copy = cam.reshape(-1, group.order, *cam.shape[1:])
        back = (group.applied(group.inverse(e), of_copy[:, e], (1, 2)) for e in range(group.order))
        cam = np.mean(list(back), axis=0)
    shares: np.ndarray = cam / np.maximum(cam.max((1, 2), keepdims=True), 1e-12)
    return shares


def _front(model: keras.Model) -> keras.Model:
    """From the image to what the backbone is given."""
    return keras.Model(model.input, model.get_layer("rescaling").output)


def backbone_layers(model: keras.Model) -> list[keras.layers.Layer]:
    """The layers between rescaling and head, in order; none of a model that `zoo.create_model` did not make."""
    names = {layer.name for layer in model.layers}
    if not {"rescaling", "backbone", "scores"} <= names:
        return []
    layers = model.get_layer("backbone").layers
    return [layer for layer in layers if not isinstance(layer, keras.layers.InputLayer)]


def has_map(layer: keras.layers.Layer, least: int) -> bool:
    """Whether a layer gives a feature map with at least so many rows and columns."""
    shape = getattr(layer.output, "shape", ())
    return len(shape) == 4 and None not in shape[1:3] and min(shape[1:3]) >= least


def _stretched(values: np.ndarray) -> np.ndarray:
    values = values.astype(np.float64) - values.min()
    return np.asarray(np.round(255 * values / max(values.max(), 1e-12)), np.uint8)
