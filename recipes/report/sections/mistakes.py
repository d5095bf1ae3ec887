"""What is taken for what."""

from pathlib import Path

import numpy as np

from recipes.report import charts
from recipes.report.sections.contents import Page

LARGEST_MATRIX = 40  # classes


def confusion_matrix(page: Page) -> str:
    """Which class was taken for which, and how often."""
    if not page.data.label_kind.single_label:
        return ""
    names, counts = page.metrics["class_names"], np.array(page.metrics["confusion_matrix"])
    wrong = counts - np.diag(np.diag(counts))
    order = [divmod(int(i), len(names)) for i in np.argsort(-wrong, axis=None, kind="stable")[:20]]
    pairs = [(names[t], names[g], f"{wrong[t, g]:,}") for t, g in order if wrong[t, g]]
    listed = charts.table(["true class", "taken for", "images"], pairs, "Most frequent confusions") if pairs else ""
    if len(names) <= LARGEST_MATRIX:
        drawn = charts.matrix(counts.tolist(), names, "Rows are true classes, columns are predictions.")
        return drawn + (charts.folded("Most frequent confusions", listed) if pairs else "")
    fraction = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    alt = "Confusion matrix; its largest errors are in the table"
    image = charts.image(np.round(255 * fraction).astype(np.uint8), alt)
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
