"""Lesson 7: a network of convolutions alone, on images of any size."""

from functools import partial
from pathlib import Path

import numpy as np
from lesson import Tables, accuracy, digits, main, trained
from matplotlib.figure import Figure

import zoo
from recipes.data import Split
from zoo.anatomy import dissect

SIZES = (32, 48, 64, 128)
STEP = 4  # pixels from one place of the score map to the next
DIGITS, PITCH = 5, 28  # digits of a row, and pixels from one to the next, a multiple of STEP


def lesson(small: bool, out: Path) -> Tables:
    data = digits(small)
    framed = {part: Split(np.pad(split.images, FRAME), split.labels) for part, split in data.parts.items()}
    build = partial(zoo.create_model, "lenet5_1998", input_shape=(32, 32, 1), pooling="convolutional")
    model = trained(build, framed["train"], epochs=1 if small else 8)
    maps = zoo.score_map_model(model)  # the same weights, for images of any size
    one = dissect(model).macs

    sizes = [["image", "places", "parameters", "multiply-adds, one pass", "one window after the other"]]
    for size in SIZES[: 2 if small else None]:
        anatomy = dissect(zoo.score_map_model(model, input_shape=(size, size, 1)))
        places = anatomy.layers[-1].output_shape[:2]
        counts = (anatomy.parameters, anatomy.macs, places[0] * places[1] * one)
        sizes.append([f"{size} x {size}", f"{places[0]} x {places[1]}", *(f"{count:,}" for count in counts)])

    images, labels = rows_of_digits(data.test, seed=0)
    scores = maps.predict(images, batch_size=20, verbose=0)  # (rows, 1, places, classes)
    cut = [images[:, :, STEP * place : STEP * place + 32] for place in range(scores.shape[2])]
    apart = max(float(np.abs(model.predict(c, verbose=0) - scores[:, 0, p]).max()) for p, c in enumerate(cut))
    same = [["windows", "largest difference of a probability"]]
    same.append([f"{len(images) * len(cut):,}", "below 1e-5" if apart < 1e-5 else f"{apart:.1g}"])

    on = np.arange(DIGITS) * PITCH // STEP  # the places whose window has a digit in its middle
    right = 100 * float((scores[:, 0, on].argmax(-1) == labels).mean())
    sure = [100 * float(scores[:, 0, at].max(-1).mean()) for at in (on, on[:-1] + PITCH // STEP // 2)]
    single = accuracy(model, framed["test"].images, framed["test"].labels)
    reading = [
        ["", "%"],
        ["single digits, right", f"{single:.1f}"],
        ["digits in rows of five, right", f"{right:.1f}"],
        ["mean of the highest probability on a digit", f"{sure[0]:.1f}"],
        ["the same between two digits", f"{sure[1]:.1f}"],
    ]
    draw(images[0, :, :, 0], scores[0, 0], out / "any_size.png")
    return {"sizes": sizes, "windows": same, "rows of digits": reading}


FRAME = [(0, 0), (2, 2), (2, 2), (0, 0)]  # black pixels around digits of 28 x 28


def rows_of_digits(split: Split, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Images (N, 32, W, 1) of five digits side by side, each digit of the split once, and their labels (N, 5)."""
    order = np.random.default_rng(seed).permutation(len(split) // DIGITS * DIGITS).reshape(-1, DIGITS)
    rows = np.zeros((len(order), 28, PITCH * (DIGITS - 1) + 28, 1), np.uint8)
    for number in range(DIGITS):
        part = rows[:, :, PITCH * number : PITCH * number + 28]
        np.maximum(part, split.images[order[:, number]], out=part)
    return np.pad(rows, FRAME), split.labels[order]


def draw(image: np.ndarray, scores: np.ndarray, file: Path) -> None:
    """A row of digits, and below each place the probability of each class there."""
    figure = Figure(figsize=(6, 2.6), layout="constrained")
    above, below = figure.subplots(2, 1, height_ratios=(1, 1.4), sharex=True)
    above.imshow(image, cmap="gray", aspect="auto")
    above.set_yticks([])
    left, right = 16 - STEP / 2, 16 + STEP * (len(scores) - 0.5)
    below.imshow(scores.T, cmap="viridis", aspect="auto", extent=(left, right, 9.5, -0.5), vmin=0, vmax=1)
    below.set_yticks(range(10))
    below.tick_params(labelsize=6)
    below.set_xlabel("column of the middle of the window")
    below.set_ylabel("class")
    below.set_xlim(-0.5, image.shape[1] - 0.5)
    figure.savefig(file, dpi=100)


if __name__ == "__main__":
    main(lesson)
