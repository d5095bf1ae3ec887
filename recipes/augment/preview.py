"""What an augmentation does to images, as one drawing to look at before training."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import lazy_loader
import numpy as np

from recipes.augment.pipeline import Augment
from recipes.support.files import write_whole

if TYPE_CHECKING:
    import tensorflow as tf
else:
    tf = lazy_loader.load("tensorflow")


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

    Raises:
        RequestError: no such source, or images of different sizes without `image_shape`.
        FailureError: the source could not be prepared.
    """
    from recipes.data import load

    data = load(source, image_shape=image_shape)
    return data.train.images[data.label_kind.in_turn(data.train.labels, count)]


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

    Mixed images meet each other, and their captions say by what share.

    Returns:
        For each epoch its images (N, H, W, C); for each image its captions.
    """
    count = len(images)
    cells, captions = [], []
    for epoch in range(columns):
        draws = augment.draw(count, tf.constant([seed, epoch], tf.int32))
        varied, texts = augment(tf.constant(images), draws), describe(augment, draws, images.shape[1:3])
        if augment.mixes:
            partner, own = augment.partners(draws, count), tf.eye(count)
            others, theirs = tf.gather(varied, partner), tf.gather(own, partner)
            varied, shares = augment.mix(varied, own, others, theirs, draws)
            texts = [
                f"{text}\n{share:.0%} + {1 - share:.0%} of row {other + 1}".strip() if share < 0.995 else text
                for text, share, other in zip(texts, np.diag(shares), partner.numpy(), strict=True)
            ]
        cells.append(varied.numpy())
        captions.append(texts)
    return cells, tuple(zip(*captions, strict=True))


def describe(augment: Augment, draws: "tf.Tensor", size: tuple[int, int]) -> list[str]:
    """In words, what each row of `draws` (B, columns) does to an image of `size` (H, W)."""
    from recipes.augment.operations import OPERATIONS

    drawn = {name: values.numpy() for name, values in augment.parameters(draws).items()}
    parts = {name: values.numpy() for name, values in augment.split(draws).items()}
    texts = []
    for i in range(len(drawn["angle"])):
        p = {name: float(values[i]) for name, values in drawn.items()}
        words = []
        if not np.allclose([p["scale_x"], p["scale_y"]], 1):
            same = np.isclose(p["scale_x"], p["scale_y"], rtol=1e-4)
            words.append(f"x{p['scale_x']:.2f}" if same else f"x{p['scale_x']:.2f}, {p['scale_y']:.2f}")
        if augment.translation:
            words.append(f"{p['shift_x'] * size[1]:+.1f}, {p['shift_y'] * size[0]:+.1f} px")
        words += [f"{p['angle']:+.0f}°"] if augment.rotation else []
        words += [f"slant {np.degrees(np.arctan(p['shear_x'])):+.0f}°"] if augment.shear else []
        words += ["mirrored"] if p["flip_x"] < 0 else []
        words += ["upside down"] if p["flip_y"] < 0 else []
        if augment.blur and parts["blur"][i, 1] < augment.blur.probability:
            low, high = augment.blur.sigma
            words.append(f"blur {low + (high - low) * parts['blur'][i, 0]:.1f}")
        if augment.colour:
            for column, name in enumerate(("brightness", "contrast", "saturation")):
                limit = getattr(augment.colour, name)
                words += [f"{name} {1 + limit * (2 * parts['colour'][i, column] - 1):.2f}"] if limit else []
        if augment.randaugment:
            choices = parts["randaugment"][i].reshape(-1, 2)
            words += [f"{OPERATIONS[int(c * len(OPERATIONS))]}{'-' if s < 0.5 else '+'}" for c, s in choices]
        if augment.erasing and parts["erasing"][i, 0] < augment.erasing.probability:
            words.append("erased")
        texts.append("\n".join(", ".join(words[k : k + 2]) for k in range(0, len(words), 2)))
    return texts


def _draw(images: np.ndarray, cells: list[np.ndarray], captions: tuple[tuple[str, ...], ...], file: Path) -> None:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    rows, columns = len(images), len(cells) + 1
    lines = max((text.count("\n") + 1 for row in captions for text in row), default=1)
    figure = Figure(figsize=(1.7 * columns, rows * (1.6 + 0.13 * lines)), layout="constrained")
    FigureCanvasAgg(figure)  # no pyplot: no window system, no global state
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
