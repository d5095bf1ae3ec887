"""Lesson 6: what follows when the image moves, layer by layer, learned from data and built in."""

from functools import partial
from pathlib import Path

import numpy as np
from lesson import Tables, accuracy, digits, main, spread, trained
from matplotlib.figure import Figure

import zoo
from recipes.augment.affine import affine_matrices
from recipes.augment.warp import warp
from recipes.data import Split
from recipes.evaluate.equivariance import equivariance_errors
from zoo.backend import keras
from zoo.layers import FieldNormalization, FieldPooling2D, GroupConv2D, GroupPooling, LiftingConv2D

WAYS = {"plain": (False, False), "plain, rotated digits": (False, True), "group": (True, False)}


def lesson(small: bool, out: Path) -> Tables:
    data = digits(small)
    seeds, epochs = (range(1), 1) if small else (range(2), 5)
    shifts = [["layer of lenet5", "stride", "`max`", "`blur_max`"]]
    errors = []
    for kind in ("max", "blur_max"):
        build = partial(zoo.create_model, "lenet5", input_shape=(28, 28, 1), nonlinearity="relu", subsampling=kind)
        errors.append(equivariance_errors(trained(build, data.train, epochs=min(epochs, 3)), data.test.images))
    for one, other in zip(*errors, strict=True):
        shifts.append([one["layer"], f"{one['stride'][0]}", f"{one['error']:.2f}", f"{other['error']:.2f}"])

    around = np.random.default_rng(0).uniform(0, 360, len(data.train))
    learnt = {False: data.train, True: Split(rotated(data.train.images, around), data.train.labels)}
    models = {
        way: [
            trained(partial(network, group), learnt[turned], seed=seed, epochs=epochs, learning_rate=6e-3)
            for seed in seeds
        ]
        for way, (group, turned) in WAYS.items()
    }
    turns = [["layer", *WAYS]]
    found = [turn_errors(models[way][0], data.test.images[:50], 4 if WAYS[way][0] else 1) for way in WAYS]
    turns += [[name, *(number(each[name]) for each in found)] for name in found[0]]
    sizes = [f"{models[way][0].count_params():,}" for way in WAYS]
    scores = [["test digits", *WAYS], ["parameters", *sizes]]
    curves = {way: [] for way in WAYS}
    for angle in range(0, 181, 90 if small else 15):
        images = rotated(data.test.images, np.full(len(data.test), float(angle)))
        row = {way: [accuracy(model, images, data.test.labels) for model in models[way]] for way in WAYS}
        for way in WAYS:
            curves[way].append((angle, float(np.mean(row[way]))))
        if angle in (0, 45, 90, 180):
            name = f"rotated by {angle} degrees" if angle else "as they are"
            scores.append([name, *(spread(row[way]) for way in WAYS)])
    draw(curves, out / "equivariance.png")
    return {"shifts, layer by layer": shifts, "quarter turns, layer by layer": turns, "accuracy": scores}


def network(group: bool) -> keras.Model:
    """Four convolutions, plain or over the group of quarter turns, of about as many parameters."""
    plain = keras.layers.Conv2D
    first, other, count = (LiftingConv2D, GroupConv2D, 6) if group else (plain, plain, 12)
    norm = partial(FieldNormalization if group else keras.layers.BatchNormalization, momentum=0.9)
    pool = FieldPooling2D if group else keras.layers.MaxPooling2D
    image = keras.Input((28, 28, 1))
    x = keras.layers.Rescaling(1 / 255)(image)
    for number, (conv, maps) in enumerate([(first, 1), (other, 2), (other, 2), (other, 3)], start=1):
        x = conv(maps * count, 3)(x)
        x = keras.layers.ReLU(name=f"conv{number}")(norm()(x))
        if number in (1, 3):
            x = pool(2 if number == 1 else 3)(x)  # 26 to 13, 9 to 3; conv4 makes 1 of it
    x = GroupPooling("max")(x) if group else x
    x = keras.layers.Flatten(name="features")(x)
    return keras.Model(image, keras.layers.Dense(10, "softmax", name="scores")(x))


def turn_errors(model: keras.Model, images: np.ndarray, copies: int) -> dict[str, float]:
    """How far the map of the rotated image is from the rotated map, as a part of the spread of the map."""
    names = ("conv1", "conv2", "conv3", "conv4", "features", "scores")
    maps = keras.Model(model.input, [model.get_layer(name).output for name in names])
    found = {}
    for name, before, after in zip(names, maps(images), maps(np.rot90(images, 1, (1, 2))), strict=True):
        before, after = (keras.ops.convert_to_numpy(map_) for map_ in (before, after))
        if before.ndim == 4:  # maps rotate, and where there are copies, each comes into the place of the next
            fields = before.reshape(*before.shape[:3], copies, -1)
            before = np.roll(np.rot90(fields, 1, (1, 2)), 1, axis=3).reshape(before.shape)
        found[name] = float(np.sqrt(((after - before) ** 2).mean()) / before.std())
    return found


def rotated(images: np.ndarray, angles: np.ndarray) -> np.ndarray:
    return warp(images, affine_matrices(angle=angles.astype("float32"), height=28, width=28)).numpy()


def number(error: float) -> str:
    return f"{error:.2f}" if error >= 1e-4 else "below 1e-4"


def draw(curves: dict[str, list[tuple[int, float]]], file: Path) -> None:
    figure = Figure(figsize=(5, 2.8), layout="constrained")
    axes = figure.subplots()
    for way, points in curves.items():
        axes.plot(*zip(*points, strict=True), marker=".", label=way)
    axes.set_xlabel("rotation, degrees")
    axes.set_ylabel("accuracy, %")
    axes.set_xticks(range(0, 181, 45))
    axes.set_ylim(0, 100)
    axes.grid(alpha=0.3)
    axes.legend()
    figure.savefig(file, dpi=100)


if __name__ == "__main__":
    main(lesson)
