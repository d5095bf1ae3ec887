"""The metrics of the test images, and the facts of the model."""

from collections.abc import Mapping
from html import escape
from typing import Any

from recipes.report import charts
from recipes.report.sections.contents import Page
from recipes.tasks import task_of


def summary(page: Page) -> str:
    """What the model comes to on its test images, and what it is made of."""
    m = page.metrics
    facts = task_of(m).facts(m)
    if "invariance" in m:
        facts["Invariance, overall"] = f"{m['invariance']['overall']:.1%}"
    facts |= {
        "Parameters": f"{page.model.count_params():,}",
        "Multiply-adds": f"{page.anatomy.macs:,}",
        "Image": "x".join(map(str, page.recipe.data.image_shape)),
        "Training images": f"{len(page.data.train):,}",
        "Validation images": f"{len(page.data.validation):,}",
        "Test images": f"{m['examples']:,}",
        "Epochs": f"{len(page.run.history):,}",
        "Seed": str(page.recipe.seed),
    }
    if distill := page.recipe.distill:
        facts["Learned from, beside the labels"] = distill.in_words
    listed = "".join(f"<div><dt>{escape(name)}</dt><dd>{escape(value)}</dd></div>" for name, value in facts.items())
    return f"<dl>{listed}</dl>\n{_each_class(m)}"


def _each_class(m: Mapping[str, Any]) -> str:
    if "per_class" not in m:
        return ""
    keys = [key for key in next(iter(m["per_class"].values())) if key != "support"]
    rows = [(name, *(_share(c[key]) for key in keys), f"{c['support']:,}") for name, c in m["per_class"].items()]
    header = ["class", *(key.replace("_", " ") for key in keys), "images"]
    return charts.folded(f"Each of the {len(rows):,} classes", charts.table(header, rows, "Metrics of each class"))


def _share(value: float | list[float] | None) -> str:
    """A fraction, or the two ends of an interval."""
    if isinstance(value, list):
        return " to ".join(map(_share, value))
    return "-" if value is None else f"{value:.1%}"
