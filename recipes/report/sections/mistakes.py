"""What is taken for what."""

from pathlib import Path

import numpy as np

from recipes.report import charts
from recipes.report.sections.contents import Page
from recipes.tasks.confusion import LARGEST_WRITTEN, fractions, most_confused


def confusion_matrix(page: Page) -> str:
    """Which class was taken for which, and how often."""
    if not page.data.label_kind.single_label:
        return ""
    names, matrix = page.metrics["class_names"], page.metrics.get("confusion_matrix")
    pairs = [(pair["true"], pair["predicted"], f"{pair['images']:,}") for pair in most_confused(page.metrics)]
    listed = charts.table(["true class", "taken for", "images"], pairs, "Most frequent confusions") if pairs else ""
    if matrix is None:
        return listed
    if len(names) <= LARGEST_WRITTEN:
        drawn = charts.matrix(matrix, names, "Rows are true classes, columns are predictions.")
        return drawn + (charts.folded("Most frequent confusions", listed) if pairs else "")
    alt = "Confusion matrix; its largest errors are in the table"
    image = charts.image(np.round(255 * fractions(matrix)).astype(np.uint8), alt)
    return f"{charts.gallery([image], kind='wide')}{listed}"


def worst_mistakes(page: Page) -> str:
    """The wrong answers that the model was surest of."""
    if not page.data.label_kind.single_label:
        return ""
    if not page.mistakes:
        return "<p>None: every test image was put into its class.</p>"
    shown = []
    for m in page.mistakes:
        name = Path(m["file"]).name if m["file"] else f"test image {m['index']}"
        caption = f"{m['true']} taken for {m['guess']}, {m['score']:.0%} sure ({name})"
        shown.append(charts.image(page.data.test.images[m["index"]], caption, caption))
    return (
        "<p>The wrong predictions that the model was surest of. Now and then it is the label that is wrong.</p>"
        + charts.gallery(shown)
    )
