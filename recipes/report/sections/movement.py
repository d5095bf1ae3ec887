"""What becomes of answers and feature maps when the image moves."""

import shlex
from html import escape
from typing import Any

from recipes.report import charts
from recipes.report.sections.contents import Page

AXES = {"rotation": "degrees", "translation": "fraction of the size", "scale": "factor", "affine": "strength"}


def invariance(page: Page) -> str:
    """How accuracy holds up when the image is moved, or the command that measures it."""
    if not page.data.label_kind.single_label:
        return ""
    measured = page.metrics.get("invariance")
    if not measured:
        command = shlex.join(["zoo", "evaluate", str(page.run.path), "--invariance"])
        return f"<p>Not measured. This measures it:</p><pre><code>{escape(command)}</code></pre>"
    drawn, tables = [], []
    for name, family in ((n, f) for n, f in measured.items() if isinstance(f, dict)):
        values, title = family["values"], f"{name.capitalize()}: {family['score']:.1%} of the accuracy is kept"
        if not isinstance(values[0], str):
            near = [i for i, value in enumerate(values) if name != "rotation" or abs(value) <= 45]
            lines = {k: [(values[i], family[k][i]) for i in near] for k in ("accuracy", "consistency")}
            drawn.append(charts.line_chart(title, lines, x=AXES.get(name, name), percent=True))
        texts = [value if isinstance(value, str) else f"{value:g}" for value in values]
        fractions = [[f"{fraction:.1%}" for fraction in family[key]] for key in ("accuracy", "consistency")]
        drops = [f"{drop:+.3f}" for drop in family["score_drop"]]
        rows = list(zip(texts, *fractions, drops, strict=True))
        tables.append(charts.table([AXES.get(name, name), "accuracy", "same answer", "loss of score"], rows, title))
    overall = f"<p>Overall {measured['overall']:.1%} of the accuracy is kept.</p>"
    folded = charts.folded("Invariance as tables", "".join(tables))
    return overall + charts.side_by_side(drawn) + folded


def equivariance(page: Page) -> str:
    """Layer by layer, how far the maps of a shifted image are from the shifted maps."""
    measured = page.metrics.get("equivariance")
    if not measured:
        return ""
    rows = [(row["layer"], "x".join(map(str, _pair(row["stride"]))), f"{row['error']:.3f}") for row in measured]
    points = [(i + 1, row["error"]) for i, row in enumerate(measured)]
    chart = charts.line_chart("Equivariance error by layer", {"error": points}, x="layer", percent=False)
    about = "How far the maps of a shifted image are from the shifted maps: 0 not at all, 1 as far as strangers."
    table = charts.table(["layer", "stride", "error"], rows, "Equivariance error")
    return f"<p>{about}</p>{charts.side_by_side([chart])}{table}"


def _pair(stride: Any) -> tuple[int, ...]:
    return tuple(stride) if isinstance(stride, (list, tuple)) else (stride,)
