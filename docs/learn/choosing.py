"""Lesson 8: training, and choosing between models without looking at the test images."""

from functools import partial
from pathlib import Path

import numpy as np
from lesson import Tables, accuracy, digits, main, trained
from matplotlib.figure import Figure
from sklearn.neighbors import KNeighborsClassifier

import zoo
from recipes.cross_validate import cross_validate
from recipes.data import Data, Split

RATES = (1e-5, 1e-4, 1e-3, 1e-2, 1e-1)
RIVALS = ("lenet5", "locally_connected")
CANDIDATES, PIXELS = 30, 40


def lesson(small: bool, out: Path) -> Tables:
    data = digits(small)
    build = partial(zoo.create_model, "lenet5", input_shape=(28, 28, 1), nonlinearity="relu", subsampling="max")
    rates, curves = [["learning rate", "loss, first epoch", "loss, last epoch", "validation digits, %"]], {}
    for rate in RATES[: 2 if small else None]:
        model = trained(build, data.train, epochs=2 if small else 5, learning_rate=rate)
        losses = curves[rate] = model.history.history["loss"]
        right = accuracy(model, data.validation.images, data.validation.labels)
        rates.append([f"{rate:g}", f"{losses[0]:.2f}", f"{losses[-1]:.2f}", f"{right:.1f}"])
    draw(curves, out / "choosing.png")
    return {"learning rates": rates, "cross-validation": validated(small), "the best of many": best_of_many(data)}


def validated(small: bool) -> list[list[str]]:
    """Two models on the same folds of the digits that are not for testing."""
    folds, epochs = (2, 1) if small else (5, 2)
    settings = {"data": "digits", "recipe": "quick", "overrides": [f"epochs={epochs}"], "folds": folds}
    found = cross_validate(RIVALS[0], against=RIVALS[1], quiet=True, **settings)
    other = found.against or {}
    rows = [["", *RIVALS]]
    for number, pair in enumerate(zip(found.folds, other["folds"], strict=True), start=1):
        rows.append([f"fold {number}, %", *(f"{100 * score:.1f}" for score in pair)])
    rows.append(["mean, %", *(f"{100 * mean:.1f}" for mean in (found.mean, other["mean"]))])
    intervals = (found.interval, other["interval"])
    rows.append(["95 % interval", *(f"{100 * low:.1f} to {100 * high:.1f}" for low, high in intervals)])
    difference = f"{100 * other['difference']:+.1f}"
    return [*rows, ["difference, and p of the corrected t-test", difference, f"{other['p']:.3f}"]]


def best_of_many(data: Data) -> list[list[str]]:
    """Classifiers none of which is meant to be better: each sees 40 pixels of its own, drawn at random.

    What the best on the validation digits has there, and on the test digits; means of 10 draws.
    """
    learnt, repeats = data.train[:500], 10 if len(data.train) > 500 else 2
    rows = [["validation digits", "all 30, test, %", "the best, validation, %", "the best, test, %"]]
    found: dict[int, list[tuple[float, ...]]] = {size: [] for size in (20, 100, 500) if size <= len(data.validation)}
    for repeat in range(repeats):
        random = np.random.default_rng(repeat)
        right = {"validation": [], "test": []}
        for _ in range(CANDIDATES):
            pixels = random.choice(28 * 28, PIXELS, replace=False)
            nearest = KNeighborsClassifier(1).fit(seen(learnt, pixels), learnt.labels)
            for part in right:
                split = data.parts[part]
                right[part].append(nearest.predict(seen(split, pixels)) == split.labels)
        validation, test = (100 * np.array(right[part]) for part in right)  # (candidates, digits)
        for size in found:
            scores = validation[:, random.choice(len(data.validation), size, replace=False)].mean(1)
            best = scores.argmax()
            found[size].append((test.mean(), scores[best], test[best].mean()))
    return rows + [[f"{size}", *(f"{mean:.1f}" for mean in np.mean(found[size], axis=0))] for size in found]


def seen(split: Split, pixels: np.ndarray) -> np.ndarray:
    return split.images.reshape(len(split), -1)[:, pixels]


def draw(curves: dict[float, list[float]], file: Path) -> None:
    figure = Figure(figsize=(5, 2.6), layout="constrained")
    axes = figure.subplots()
    for rate, losses in curves.items():
        axes.plot(range(1, len(losses) + 1), losses, marker=".", label=f"{rate:g}")
    axes.set_xticks(range(1, 1 + max(len(losses) for losses in curves.values())))
    axes.set_xlabel("epoch")
    axes.set_ylabel("loss of the training digits")
    axes.set_yscale("log")
    axes.grid(alpha=0.3)
    axes.legend(title="learning rate", fontsize=7, loc="upper left", bbox_to_anchor=(1, 1))
    figure.savefig(file, dpi=100)


if __name__ == "__main__":
    main(lesson)
