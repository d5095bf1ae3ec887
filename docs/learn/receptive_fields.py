"""Lesson 2: what a unit of a feature map sees, computed, measured, and drawn on a photograph."""

from functools import partial
from pathlib import Path

import numpy as np
from lesson import Tables, accuracy, digits, main, spread, trained
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from sklearn.datasets import load_sample_image

import zoo
from zoo.anatomy import dissect
from zoo.backend import keras, tf

MODEL = "vgg16"
DRAWN = ("conv1_2", "conv2_2", "conv3_3", "conv4_3", "conv5_3")


def lesson(small: bool, out: Path) -> Tables:
    fields = {layer.name: layer for layer in zoo.describe(MODEL).layers if layer.receptive_field}
    rows = [["layer of vgg16", "map", "sees, pixels", "stride, pixels"]]
    for name in DRAWN:
        height, width, channels = fields[name].output_shape
        seen, stride = fields[name].receptive_field, fields[name].stride
        rows.append([name, f"{height} x {width} x {channels}", f"{seen[0]} x {seen[1]}", f"{stride[0]}"])
    draw(fields, out / "receptive_fields.png")

    data, measured = digits(small), [["kernels", "sees, computed", "sees, measured", "parameters", "test digits, %"]]
    seeds, epochs = (range(1), 1) if small else (range(2), 4)
    for kernels in [(1, 1, 1), (3, 1, 1), (3, 3, 1), (3, 3, 3), (5, 5, 3), (5, 5, 5)][: 2 if small else None]:
        models = [trained(partial(network, kernels), data.train, seed=seed, epochs=epochs) for seed in seeds]
        anatomy = dissect(models[0])
        seen = next(layer for layer in anatomy.layers if layer.name == f"conv{len(kernels)}").receptive_field
        scores = spread([accuracy(model, data.test.images, data.test.labels) for model in models])
        sizes = [f"{a} x {b}" for a, b in (seen, seen_by_gradient(models[0], data.test.images[:32]))]
        measured.append([", ".join(f"{k} x {k}" for k in kernels), *sizes, f"{anatomy.parameters:,}", scores])
    return {"receptive fields of vgg16": rows, "accuracy by receptive field": measured}


def network(kernels: tuple[int, ...], filters: int = 16) -> keras.Model:
    """Convolutions, the average over all places of what they give, and a classifier of it."""
    image = keras.Input((28, 28, 1))
    x = keras.layers.Rescaling(1 / 255)(image)
    for number, size in enumerate(kernels, start=1):
        x = keras.layers.Conv2D(filters, size, strides=2 if number == 2 else 1, name=f"conv{number}")(x)
        x = keras.layers.ReLU()(keras.layers.BatchNormalization(momentum=0.9)(x))
    x = keras.layers.GlobalAveragePooling2D()(x)
    return keras.Model(image, keras.layers.Dense(10, "softmax")(x))


def seen_by_gradient(model: keras.Model, images: np.ndarray) -> tuple[int, int]:
    """Rows and columns of the pixels on which a middle unit of the last convolution depends."""
    last = [layer for layer in model.layers if isinstance(layer, keras.layers.Conv2D)][-1]
    front = keras.Model(model.input, last.output)
    pixels = tf.random.uniform((len(images), *images.shape[1:]), 0, 255)
    with tf.GradientTape() as tape:
        tape.watch(pixels)
        maps = front(pixels, training=False)
        unit = tf.reduce_sum(maps[:, maps.shape[1] // 2, maps.shape[2] // 2])
    used = np.abs(tape.gradient(unit, pixels).numpy()).sum((0, 3)) > 0
    return int(used.any(1).sum()), int(used.any(0).sum())


def draw(fields: dict[str, zoo.anatomy.Layer], file: Path) -> None:
    """The window of a middle unit of each layer on a photograph, and the photograph as that unit sees it."""
    photograph = load_sample_image("china.jpg")[40:424, 130:514]
    photograph = keras.ops.convert_to_numpy(keras.ops.image.resize(photograph, (224, 224))) / 255
    figure = Figure(figsize=(9, 1.9), layout="constrained")
    whole, *others = figure.subplots(1, 1 + len(DRAWN))
    whole.imshow(photograph)
    for axes, name in zip(others, DRAWN, strict=True):
        layer = fields[name]
        (top, left), size = ((o + n // 2 * s for o, n, s in along(layer))), layer.receptive_field
        corner = (left - size[1] / 2, top - size[0] / 2)
        whole.add_patch(Rectangle(corner, size[1], size[0], fill=False, edgecolor="yellow"))
        axes.imshow(photograph)
        axes.set_xlim(corner[0], corner[0] + size[1])
        axes.set_ylim(corner[1] + size[0], corner[1])
        axes.set_title(f"{name}: {size[0]} x {size[1]}", fontsize=8)
    for axes in figure.axes:
        axes.set_xticks([])
        axes.set_yticks([])
    figure.savefig(file, dpi=100)


def along(layer: zoo.anatomy.Layer) -> list[tuple[float, int, int]]:
    """For rows and for columns: the centre of the first unit's window, how many units, and the stride."""
    return list(zip(layer.offset, layer.output_shape[:2], layer.stride, strict=True))


if __name__ == "__main__":
    main(lesson)
