"""What an augmentation does to images, as one drawing to look at before training."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from recipes.augment.mixing import describe_mixing
from recipes.augment.pipeline import Augment
from recipes.support.files import write_whole
from zoo.backend import as_keras_ships, tf
from zoo.drawing import as_matplotlib_ships

FILE_SHAPE = (128, 128, 3)  # of images that may each have a size of their own


@dataclass(frozen=True)
class Preview:
    """A drawing, and what was drawn for it.

    Attributes:
        file: where it is.
        captions: what stands under each image, a row for each image of the data.
    """

    file: Path
    captions: tuple[tuple[str, ...], ...]


def sample(source: str, count: int, image_shape: tuple[int, int, int] | None = None) -> np.ndarray:
    """Training images uint8 (N, H, W, C) of a source of `recipes.data`, of each class in turn, at most `count`.

    Args:
        image_shape: what to bring them to; without it arrays keep their shape, and files become `FILE_SHAPE`.

    Raises:
        RequestError: no such source.
        FailureError: the source could not be prepared.
    """
    from recipes.data import load
    from recipes.data.readers import FileReader, open_reader

    reader = open_reader(source)
    if image_shape is None and isinstance(reader, FileReader):
        image_shape = FILE_SHAPE
    data = load(reader, image_shape=image_shape)
    images: np.ndarray = data.train.images[data.label_kind.in_turn(data.train.labels, count)]
    return images


@as_keras_ships
def preview(images: np.ndarray, augment: Augment, out: str | Path, *, columns: int = 6, seed: int = 0) -> Preview:
    """Draws images uint8 (N, H, W, C) as rows: as they are, then as they look in the first `columns` epochs.

    Raises:
        FailureError: `out` cannot be written.
    """
    cells, captions = vary(images, augment, columns=columns, seed=seed)
    out = Path(out)
    write_whole(out, lambda aside: _draw(images, cells, captions, aside))
    return Preview(out, captions)


def vary(
    images: np.ndarray, augment: Augment, *, columns: int, seed: int = 0
) -> tuple[list[np.ndarray], tuple[tuple[str, ...], ...]]:
    """Images uint8 (N, H, W, C) as they look in the first `columns` epochs, and in words what was done to each.

    Mixed images meet each other, and their captions say by what fraction.

    Returns:
        For each epoch its images (N, H, W, C); for each image its captions.
    """
    count = len(images)
    cells, captions = [], []
    for epoch in range(columns):
        draws = augment.draw(count, tf.constant([seed, epoch], tf.int32))
        varied = augment(tf.constant(images), draws)
        texts = [_caption(augment.describe(row, images.shape[1:3])) for row in draws.numpy()]
        if augment.mixes:
            partner, own = augment.partners(draws, count), tf.eye(count)
            others, theirs = tf.gather(varied, partner), tf.gather(own, partner)
            varied, weights = augment.mix(varied, own, others, theirs, draws)
            mixed = zip(texts, np.diag(weights), partner.numpy(), strict=True)
            texts = [f"{text}\n{describe_mixing(weight, other)}".strip() for text, weight, other in mixed]
        cells.append(varied.numpy())
        captions.append(texts)
    return cells, tuple(zip(*captions, strict=True))


def _caption(words: list[str]) -> str:
    """Two to a line."""
    return "\n".join(", ".join(words[k : k + 2]) for k in range(0, len(words), 2))


@as_matplotlib_ships()
def _draw(images: np.ndarray, cells: list[np.ndarray], captions: tuple[tuple[str, ...], ...], file: Path) -> None:
    from matplotlib.figure import Figure

    rows, columns = len(images), len(cells) + 1
    lines = max((text.count("\n") + 1 for row in captions for text in row), default=1)
    figure = Figure(figsize=(1.7 * columns, rows * (1.6 + 0.13 * lines)), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False)
    for row in range(rows):
        for column in range(columns):
            pixels = images[row] if column == 0 else cells[column - 1][row]
            grey = pixels.shape[-1] == 1
            axis = axes[row, column]
            axis.imshow(pixels[..., 0] if grey else pixels, cmap="gray" if grey else None, vmin=0, vmax=255)
            axis.set_xticks([])
            axis.set_yticks([])
            axis.set_xlabel("as it is" if column == 0 else captions[row][column - 1], fontsize=6)
    figure.savefig(file, dpi=150)
