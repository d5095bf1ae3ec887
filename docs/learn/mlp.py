"""Lesson 1: what a fully connected network does not know of images."""

from functools import partial
from pathlib import Path

import numpy as np
from lesson import Tables, accuracy, digits, main, spread, trained
from matplotlib.figure import Figure

import zoo
from recipes.data import Split
from recipes.evaluate.invariance import measure_invariance

MODELS = {"mlp": {}, "lenet5": {"nonlinearity": "relu", "subsampling": "max"}}
SHOWN = {  # of what is measured, the values of each kind that the table shows
    "translation": ("shifted by {:.0%} of the size", (0.05, 0.10, 0.15, 0.20)),
    "rotation": ("rotated by {} degrees", (15, 30, 45, 90)),
    "scale": ("scaled by {}", (0.6, 0.8, 1.2, 1.4)),
    "mirror": ("mirrored, {}", ("horizontal",)),
}


def lesson(small: bool, out: Path) -> Tables:
    data = digits(small)
    seeds, epochs = (range(1), 1) if small else (range(2), 6)
    order = np.random.default_rng(0).permutation(28 * 28)
    learnt = Split(shuffled(data.train.images, order), data.train.labels)

    upright, mixed, moved = {}, {}, {}
    for name, options in MODELS.items():
        build = partial(zoo.create_model, name, input_shape=(28, 28, 1), **options)
        models = [trained(build, data.train, seed=seed, epochs=epochs) for seed in seeds]
        upright[name] = [accuracy(model, data.test.images, data.test.labels) for model in models]
        moved[name] = [measure_invariance(model, data.test) for model in models]
        models = [trained(build, learnt, seed=seed, epochs=epochs) for seed in seeds]
        mixed[name] = [accuracy(model, shuffled(data.test.images, order), data.test.labels) for model in models]

    draw(moved, out / "mlp.png")
    rows = [["test digits", *MODELS], ["as they are", *(spread(upright[name]) for name in MODELS)]]
    for kind, (text, values) in SHOWN.items():
        for value in values:
            found = {name: [100 * at(one[kind], value) for one in moved[name]] for name in MODELS}
            rows.append([text.format(value), *(spread(found[name]) for name in MODELS)])
    anatomies = [zoo.describe(name, input_shape=(28, 28, 1), **options) for name, options in MODELS.items()]
    places = [
        ["", *MODELS],
        ["parameters", *(f"{anatomy.parameters:,}" for anatomy in anatomies)],
        ["pixels in their places", *(spread(upright[name]) for name in MODELS)],
        ["pixels shuffled", *(spread(mixed[name]) for name in MODELS)],
    ]
    return {"accuracy, transformed": rows, "accuracy, shuffled": places}


def shuffled(images: np.ndarray, order: np.ndarray) -> np.ndarray:
    """All images (N, H, W, 1) with their pixels in another order, the same for every image."""
    return images.reshape(len(images), -1)[:, order].reshape(images.shape)


def at(family: dict, value: float | str) -> float:
    """The accuracy that was measured at one value of a transformation."""
    return family["accuracy"][family["values"].index(value)]


def draw(moved: dict[str, list[dict]], file: Path) -> None:
    figure = Figure(figsize=(7.5, 2.6), layout="constrained")
    labels = {"translation": "shift, fraction of the size", "rotation": "rotation, degrees", "scale": "scale, factor"}
    for axes, (kind, label) in zip(figure.subplots(1, 3, sharey=True), labels.items(), strict=True):
        for name, found in moved.items():
            values, scores = found[0][kind]["values"], np.mean([one[kind]["accuracy"] for one in found], axis=0)
            kept = [i for i, value in enumerate(values) if abs(value) <= 45]
            axes.plot([values[i] for i in kept], [100 * scores[i] for i in kept], marker=".", label=name)
        axes.set_xlabel(label)
        axes.set_ylim(0, 100)
        axes.grid(alpha=0.3)
    figure.axes[0].set_ylabel("accuracy, %")
    figure.axes[0].legend()
    figure.savefig(file, dpi=100)


if __name__ == "__main__":
    main(lesson)
