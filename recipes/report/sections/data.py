"""Images of the training data, as they are and as augmentation varies them."""

import numpy as np

from recipes.augment.preview import vary
from recipes.report import charts
from recipes.report.sections.contents import Page

SAMPLES = 20  # images of the data
VARIED, DRAWS = 4, 5  # images that are augmented, and how often each


def samples(page: Page) -> str:
    """Training images, the classes in turn."""
    train = page.data.train
    rows = page.data.label_kind.in_turn(train.labels, SAMPLES)
    names = [page.label(train.labels[row]) for row in rows]
    return charts.gallery(
        charts.image(train.images[row], f"Training image of class {name}", name)
        for row, name in zip(rows, names, strict=True)
    )


def augmentation(page: Page) -> str:
    """Some training images as they are and as the recipe's augmentation varies them."""
    augment, train = page.recipe.augment, page.data.train
    if augment.is_identity and not augment.mixes:
        return "<p>None: images were used as they are.</p>"
    rows = page.data.label_kind.in_turn(train.labels, VARIED)
    originals = np.asarray(train.images[rows])
    cells, captions = vary(originals, augment, columns=DRAWS, seed=page.recipe.seed)
    lines = []
    for i, row in enumerate(rows):
        name = page.label(train.labels[row])
        shown = [charts.image(originals[i], f"Class {name} as it is", f"{name}, as it is")]
        for cell, caption in zip(cells, captions[i], strict=True):
            words = caption.replace("\n", ", ")
            shown.append(charts.image(cell[i], f"Class {name}: {words}", words))
        lines.append(charts.gallery(shown))
    return "".join(lines)
