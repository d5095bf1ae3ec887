"""Statistics of BatchNorm behind dropout: what they are in training they are not in inference."""

import contextlib
from collections.abc import Iterator

import numpy as np

from recipes.data import Split
from zoo.backend import keras

IMAGES, AT_ONCE = 1024, 64  # that statistics are taken from, and of which each mean and variance is
# Which number says how strong the noise is that a layer, or one derived of it, makes.
STRENGTHS = {
    keras.layers.Dropout: "rate",
    keras.layers.GaussianDropout: "rate",
    keras.layers.AlphaDropout: "rate",
    keras.layers.GaussianNoise: "stddev",
}


def norms_behind_noise(model: keras.Model) -> list[keras.layers.BatchNormalization]:
    """Every BatchNorm that learns its statistics, if noise of a layer comes to one of them; else none."""
    found, noisy, reached = [], False, False
    for layer in _in_order(model):
        if isinstance(layer, keras.layers.BatchNormalization):
            if layer.trainable:
                found.append(layer)
                reached = reached or noisy
        elif _strength(layer):
            noisy = noisy or getattr(layer, _strength(layer)) > 0
    return found if reached else []


def settle_statistics(model: keras.Model, train: Split) -> None:
    """Takes the statistics of a model with `norms_behind_noise` anew, from training images and without the noise.

    Dropout leaves means as they are and makes variances larger: of an image with a dark background, pixels -1, by far.
    Statistics that were gathered under it are wrong where it is not there (Li and others 2019,
    https://arxiv.org/abs/1801.05134). So each is the mean over batches of up to 1,024 images, unchanged and spread
    evenly over the training images, with the weights as they are (Wu and Johnson 2021, section 3,
    https://arxiv.org/abs/2105.07576). Nothing is drawn: the result is a function of weights and images.
    """
    norms = norms_behind_noise(model)
    if not norms:
        return
    rows = np.linspace(0, len(train) - 1, min(len(train), IMAGES)).astype(int)
    parts = max(len(rows) // AT_ONCE, 1)
    noises = [(layer, _strength(layer)) for layer in _in_order(model) if _strength(layer)]
    with contextlib.ExitStack() as undone:
        for layer, name in [*noises, *((norm, "momentum") for norm in norms)]:
            undone.callback(setattr, layer, name, getattr(layer, name))
        for layer, name in noises:
            setattr(layer, name, 0.0)
        for number in range(parts):
            for norm in norms:
                norm.momentum = number / (number + 1)  # so that the moving value is the mean
            model(np.asarray(train[rows[number::parts]].images), training=True)


def images_settled(model: keras.Model, train: Split) -> int:
    """How many images `settle_statistics` computes."""
    return min(len(train), IMAGES) if norms_behind_noise(model) else 0


class SettledStatistics(keras.callbacks.Callback):
    """Has `settle_statistics` before every validation of the model that is trained."""

    def __init__(self, train: Split) -> None:
        super().__init__()
        self._train = train

    def on_test_begin(self, logs: dict[str, float] | None = None) -> None:
        settle_statistics(self.model, self._train)


def _in_order(model: keras.Model) -> Iterator[keras.layers.Layer]:
    """The layers of a model and of those in it, each behind those whose outputs it takes."""
    for layer in model.layers:
        if isinstance(layer, keras.Model):
            yield from _in_order(layer)
        else:
            yield layer


def _strength(layer: keras.layers.Layer) -> str:
    return next((name for kind, name in STRENGTHS.items() if isinstance(layer, kind)), "")
