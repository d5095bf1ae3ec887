"""Lesson 4: one kernel for all places, counted, and trained beside its twin that has a kernel of its own at each."""

from functools import partial
from pathlib import Path

import numpy as np
from lesson import Tables, accuracy, digits, main, spread, trained
from matplotlib.figure import Figure

import zoo
from recipes.augment.affine import affine_matrices
from recipes.augment.warp import warp
from zoo.backend import keras, tf
from zoo.layers.local import LocallyConnected2D

TWINS = {"lenet5": "shared", "locally_connected": "not shared"}
SHIFT = 2  # pixels


def lesson(small: bool, out: Path) -> Tables:
    counts = [["layer of lenet5", "shared", "a kernel at each place", "fully connected"]]
    for layer in zoo.describe("lenet5").layers:
        if layer.kind == "Conv2D":
            numbers = (layer.parameters, layer.parameters_unshared, layer.parameters_dense)
            counts.append([layer.name, *(f"{number:,}" for number in numbers)])

    data = digits(small, size=32)
    sizes, seeds, steps = ((64,), range(1), 4) if small else ((250, 1000, len(data.train)), range(2), 200)
    moved = {SHIFT * direction: shifted(data.test.images, SHIFT * direction) for direction in (-1, 1)}
    rows = [["digits to learn from", *TWINS.values(), *(f"{text}, shifted" for text in TWINS.values())]]
    for size in sizes:
        part, epochs = data.train[:size], max(1, round(64 * steps / size))  # as many steps for each size
        upright, aside = {}, {}
        for name in TWINS:
            models = [trained(partial(zoo.create_model, name), part, seed=seed, epochs=epochs) for seed in seeds]
            upright[name] = [accuracy(model, data.test.images, data.test.labels) for model in models]
            both = [[accuracy(model, images, data.test.labels) for images in moved.values()] for model in models]
            aside[name] = [float(np.mean(one)) for one in both]
            if name == "locally_connected" and size == sizes[-1]:
                draw(models[0], out / "weight_sharing.png")
        rows.append([f"{size:,}", *(spread(found[name]) for found in (upright, aside) for name in TWINS)])
    return {"weights": counts, "accuracy": rows, "gradients": gradients(data.test.images[:16] / 255)}


def shifted(images: np.ndarray, pixels: int) -> np.ndarray:
    """Images moved to the right, or to the left if `pixels` is below 0."""
    return warp(images, affine_matrices(shift_x=float(pixels), height=32, width=32)).numpy()


def gradients(images: np.ndarray) -> list[list[str]]:
    """The gradient of a shared kernel beside the sum of the gradients of its copies."""
    shared, own = keras.layers.Conv2D(4, 5), LocallyConnected2D(4, 5)
    for layer in (shared, own):
        layer.build(images.shape)
    kernel, bias = shared.get_weights()
    places = own.kernel.shape[:2]
    copies = np.broadcast_to(kernel.reshape(-1, 4), own.kernel.shape)  # one at each place
    own.set_weights([copies, np.broadcast_to(bias, (*places, 4))])
    target = np.random.default_rng(0).normal(size=(len(images), *places, 4)).astype("float32")
    found = []
    for layer in (shared, own):
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum((layer(images.astype("float32")) - target) ** 2) / len(images)
        found.append(tape.gradient(loss, layer.trainable_weights)[0].numpy())
    one, sum_of_all = found[0].reshape(-1, 4), found[1].sum((0, 1))
    largest = np.abs(one - sum_of_all).max() / np.abs(one).max()
    return [
        ["places", "largest gradient of the shared kernel", "largest difference to the sum, relative"],
        [
            f"{places[0]} x {places[1]}",
            f"{np.abs(one).max():.0f}",
            "below 1e-5" if largest < 1e-5 else f"{largest:.1g}",
        ],
    ]


def draw(model: keras.Model, file: Path) -> None:
    """What the twin has learned in place of one kernel: the first map's kernels at neighbouring places."""
    kernels = model.get_layer("backbone").get_layer("C1").get_weights()[0][..., 0]  # (h, w, 25)
    height, width, _ = kernels.shape
    tiles = kernels[: height - height % 4 : 4, : width - width % 4 : 4].reshape(height // 4, width // 4, 5, 5)
    figure = Figure(figsize=(3.2, 3.2), layout="constrained")
    axes = figure.subplots()
    framed = np.pad(tiles, [(0, 0), (0, 0), (0, 1), (0, 1)], constant_values=np.nan)
    axes.imshow(framed.transpose(0, 2, 1, 3).reshape(6 * tiles.shape[0], -1), cmap="gray")
    axes.axis("off")
    figure.savefig(file, dpi=100)


if __name__ == "__main__":
    main(lesson)
