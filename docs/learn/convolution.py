"""Lesson 3: convolution and cross-correlation, by hand, by SciPy, and by layers."""

from functools import partial
from pathlib import Path

import numpy as np
from lesson import Tables, accuracy, digits, main, trained
from matplotlib.figure import Figure
from scipy.signal import convolve2d, correlate2d
from sklearn.datasets import load_sample_image

import zoo.layers
from zoo.backend import keras

SOBEL = np.array([[-1.0, 0.0, 1.0], [-2.0, 0.0, 2.0], [-1.0, 0.0, 1.0]])  # brighter to the right: positive


def lesson(small: bool, out: Path) -> Tables:
    photograph = load_sample_image("china.jpg").mean(-1) / 255
    random = np.random.default_rng(0)
    x, f, g = photograph[200:240, 200:260], random.normal(size=(3, 5)), random.normal(size=(3, 3))
    turned = f[::-1, ::-1]
    same = [
        ("definition", by_hand(x, f), "`correlate2d`", correlate2d(x, f, "valid")),
        ("definition, kernel rotated by 180°", by_hand(x, turned), "`convolve2d`", convolve2d(x, f, "valid")),
        ("Keras' `Conv2D`", by_layer(x, f, keras.layers.Conv2D), "`correlate2d`", correlate2d(x, f, "valid")),
        ("Keras' `Conv2D`", by_layer(x, f, keras.layers.Conv2D), "`convolve2d`", convolve2d(x, f, "valid")),
        ("`zoo.layers.Conv2D`", by_layer(x, f, zoo.layers.Conv2D), "`convolve2d`", convolve2d(x, f, "valid")),
    ]
    laws = [
        ("f * g = g * f", lambda op: (op(f, g), op(g, f))),
        ("(x * f) * g = x * (f * g)", lambda op: (op(op(x, f), g), op(x, op(f, g)))),
        ("f * (x + y) = f * x + f * y", lambda op: (op(x + x[::-1], f), op(x, f) + op(x[::-1], f))),
        ("shifting x shifts x * f", lambda op: (op(x[:, 2:], f, "valid"), op(x, f, "valid")[:, 2:])),
    ]
    draw(photograph[150:406, 200:456], out / "convolution.png")
    return {
        "the same map in two ways": [
            ["one way", "another way", "largest difference"],
            *([one, other, difference(a, b)] for one, a, other, b in same),
        ],
        "laws": [
            ["law, and the largest difference of its two sides", "convolution", "cross-correlation"],
            *([f"`{law}`", *(difference(*sides(op)) for op in (convolve2d, correlate2d))] for law, sides in laws),
        ],
        "trained": twins(small),
    }


def by_hand(x: np.ndarray, w: np.ndarray) -> np.ndarray:
    """Cross-correlation as it is defined: y[i, j] = sum over u, v of w[u, v] x[i + u, j + v]."""
    (n, m), (height, width) = w.shape, x.shape
    places = np.ndindex(height - n + 1, width - m + 1)
    values = [(w * x[i : i + n, j : j + m]).sum() for i, j in places]
    return np.reshape(values, (height - n + 1, width - m + 1))


def by_layer(x: np.ndarray, w: np.ndarray, kind: type[keras.layers.Layer]) -> np.ndarray:
    """What a layer computes that was given the kernel."""
    layer = kind(1, w.shape, use_bias=False)
    layer.build((None, *x.shape, 1))
    layer.set_weights([w[:, :, None, None]])
    return keras.ops.convert_to_numpy(layer(x[None, :, :, None].astype("float32")))[0, :, :, 0]


def difference(a: np.ndarray, b: np.ndarray) -> str:
    largest = float(np.abs(a - b).max())
    return f"{largest:.2f}" if largest > 1e-4 else "rounding" if largest else "0"


def network(operation: str) -> keras.Model:
    layers = [keras.Input((28, 28, 1)), keras.layers.Rescaling(1 / 255)]
    for filters in (8, 16):
        layers += [zoo.layers.Conv2D(filters, 5, activation="relu", operation=operation), keras.layers.MaxPooling2D()]
    model = keras.Sequential([*layers, keras.layers.Flatten(), keras.layers.Dense(10, "softmax")])
    if operation == "convolution":
        rotate(model)  # both start as the same function of an image
    return model


def rotate(model: keras.Model) -> None:
    """Rotates every kernel by 180 degrees."""
    for layer in model.layers:
        if isinstance(layer, keras.layers.Conv2D):
            kernel, bias = layer.get_weights()
            layer.set_weights([kernel[::-1, ::-1], bias])


def twins(small: bool) -> list[list[str]]:
    """Two trainings that differ in the operation alone, on the same images in the same order."""
    data, names = digits(small), ("convolution", "cross_correlation")
    models = [trained(partial(network, name), data.train, epochs=1 if small else 3) for name in names]
    scores = [f"{accuracy(model, data.test.images, data.test.labels):.1f}" for model in models]

    def apart() -> str:
        weights = (model.get_weights() for model in models)
        return difference(*(np.concatenate([array.ravel() for array in arrays]) for arrays in weights))

    rows = [["test digits, %, as convolution", scores[0]], ["test digits, %, as cross-correlation", scores[1]]]
    rows.append(["largest difference of a weight", apart()])
    rotate(models[0])
    return [["", "found"], *rows, ["the same, the kernels of one rotated", apart()]]


def draw(photograph: np.ndarray, file: Path) -> None:
    figure = Figure(figsize=(7.2, 2.6), layout="constrained")
    edges = {"photograph": photograph}
    edges |= {op.__name__: op(photograph, SOBEL, "valid") for op in (correlate2d, convolve2d)}
    for axes, (name, image) in zip(figure.subplots(1, 3), edges.items(), strict=True):
        axes.imshow(image, cmap="gray")
        axes.set_title(name if name == "photograph" else f"{name}(photograph, Sobel)", fontsize=8)
        axes.axis("off")
    figure.savefig(file, dpi=75)


if __name__ == "__main__":
    main(lesson)
