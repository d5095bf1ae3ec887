"""Lesson 5: what pooling keeps and what it gives away, in windows, over the whole map, and across maps."""

from functools import partial
from pathlib import Path

import numpy as np
from lesson import Tables, accuracy, digits, main, spread, trained
from matplotlib.figure import Figure

import zoo
from recipes.data import Data
from zoo.backend import keras
from zoo.layers import POOLINGS, ChannelAverage, ChannelLp, Maxout, pooling_layer

WINDOW = (1.0, 4.0, 0.0, 3.0)
HEADS = ("flatten", "average", "max", "gem")
ANGLES = (0.0, 22.5, 45.0, 67.5, 90.0)
ACROSS = {"mean": ChannelAverage(16), "maximum": Maxout(16), "L2 norm": ChannelLp(16, p=2.0)}


def lesson(small: bool, out: Path) -> Tables:
    data = digits(small)
    kinds = list(POOLINGS)[: 2 if small else None]
    windows = [["`subsampling`", f"value of {', '.join(f'{x:g}' for x in WINDOW)}", "test digits, %", "same answer, %"]]
    for kind in kinds:
        value = pooling_layer(kind, 2)(np.reshape(WINDOW, (1, 2, 2, 1)).astype("float32"))
        right, same = measured(data, small, nonlinearity="relu", subsampling=kind)
        windows.append([f"`{kind}`", f"{float(value[0, 0, 0, 0]):.2f}", right, same])
    heads = [["`pooling`", "numbers that it gives", "test digits, %", "same answer, %"]]
    for pooling in HEADS[: 1 if small else None]:
        right, same = measured(data, small, nonlinearity="relu", subsampling="max", pooling=pooling, hidden=())
        classifier = build(nonlinearity="relu", subsampling="max", pooling=pooling, hidden=()).get_layer("logits")
        heads.append([f"`{pooling}`", f"{classifier.kernel.shape[0]:,}", right, same])
    draw(data, out / "pooling.png")
    return {"in windows": windows, "over the whole map": heads, "across maps": across()}


def build(**settings: object) -> keras.Model:
    return zoo.create_model("lenet5", input_shape=(28, 28, 1), **settings)


def measured(data: Data, small: bool, **settings: object) -> tuple[str, str]:
    """Accuracy, and how many digits in a hundred get the same answer when they are moved by two pixels."""
    right, same = [], []
    for seed in range(1 if small else 2):
        model = trained(partial(build, **settings), data.train, seed=seed, epochs=1 if small else 3)
        right.append(accuracy(model, data.test.images, data.test.labels))
        answers = model.predict(data.test.images, batch_size=250, verbose=0).argmax(1)
        moves = [np.roll(data.test.images, step, axis) for step in (-2, 2) for axis in (1, 2)]
        same.append(float(np.mean([accuracy(model, images, answers) for images in moves])))
    return spread(right), spread(same)


def across() -> list[list[str]]:
    """What 16 copies of an edge detector, each rotated by a further 22.5 degrees, make of an edge at an angle."""
    rows = [["angle of the edge", "one detector", *ACROSS]]
    detectors = np.stack([edge(360 * number / 16) for number in range(16)])
    detectors *= np.exp(-(np.hypot(*np.mgrid[-5:6, -5:6]) ** 2) / 8)
    for angle in ANGLES:
        found = (detectors * edge(angle)).sum((1, 2))[None, None, None, :].astype("float32")
        pooled = [float(layer(found)[0, 0, 0, 0]) for layer in ACROSS.values()]
        rows.append([f"{angle:g}°", *(f"{abs(value):.2f}" for value in (found[0, 0, 0, 0], *pooled))])
    return rows


def edge(angle: float) -> np.ndarray:
    """Dark on one side, -1, and bright on the other, 1; the angle is that of the way from dark to bright."""
    y, x = np.mgrid[-5:6, -5:6]
    return np.tanh(np.cos(np.radians(angle)) * x - np.sin(np.radians(angle)) * y)


def draw(data: Data, file: Path) -> None:
    """A digit, pooled in windows of four pixels by each kind."""
    digit = data.test.images[:1].astype("float32")
    figure = Figure(figsize=(9, 1.3), layout="constrained")
    for axes, kind in zip(figure.subplots(1, 1 + len(POOLINGS)), ["the digit", *POOLINGS], strict=True):
        image = digit if kind == "the digit" else keras.ops.convert_to_numpy(pooling_layer(kind, 4)(digit))
        axes.imshow(image[0, :, :, 0], cmap="gray")
        axes.set_title(kind.replace("_", "\n"), fontsize=7)
        axes.axis("off")
    figure.savefig(file, dpi=100)


if __name__ == "__main__":
    main(lesson)
