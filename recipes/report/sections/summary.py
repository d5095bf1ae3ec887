"""The metrics of the test images, and the facts of the model."""

from collections.abc import Mapping
from html import escape
from typing import Any

from recipes.report import charts
from recipes.report.sections.contents import Page


def summary(page: Page) -> str:
    """What the model comes to on its test images, and what it is made of."""
    from zoo.anatomy import dissect

    m, anatomy = page.metrics, dissect(page.model)
    facts = _metrics(m)
    if "invariance" in m:
        facts["Invariance, overall"] = f"{m['invariance']['overall']:.1%}"
    facts |= {
        "Parameters": f"{page.model.count_params():,}",
        "Multiply-adds": f"{anatomy.macs:,}",
        "Image": "x".join(map(str, page.recipe.data.image_shape)),
        "Training images": f"{len(page.data.train):,}",
        "Validation images": f"{len(page.data.validation):,}",
        "Test images": f"{m['examples']:,}",
        "Epochs": f"{len(page.run.history):,}",
        "Seed": str(page.recipe.seed),
    }
    listed = "".join(f"<div><dt>{escape(name)}</dt><dd>{escape(value)}</dd></div>" for name, value in facts.items())
    return f"<dl>{listed}</dl>\n{_each_class(m)}"


def _metrics(m: Mapping[str, Any]) -> dict[str, str]:
    """The metrics of the test images, by what they are called."""
    task = m.get("task", "classification")
    if task == "regression":
        known = {} if m["r2"] is None else {"R²": f"{m['r2']:.4f}"}
        return {"Mean error": f"{m['mae']:.4g}", "Mean squared error": f"{m['mse']:.4g}"} | known
    if task == "multilabel":
        return {
            "Mean average precision": f"{m['map']:.2%}",
            "F1": f"{m['f1']:.2%}",
            "F1, mean of the classes": f"{m['f1_macro']:.2%}",
            "All classes right": f"{m['exact']:.2%}",
        }
    low, high = m["accuracy_interval"]
    return {
        "Test accuracy": f"{m['accuracy']:.2%}",
        "95 % interval": f"{low:.1%} to {high:.1%}",
        f"Top-{m['top_k']['k']} accuracy": f"{m['top_k']['accuracy']:.2%}",
        "Log loss": f"{m['loss']:.4f}",
        "Calibration error": f"{m['calibration_error']:.2%}",
    }


def _each_class(m: Mapping[str, Any]) -> str:
    if "per_class" not in m:
        return ""
    keys = [key for key in next(iter(m["per_class"].values())) if key != "support"]
    rows = [
        (name, *("-" if c[key] is None else f"{c[key]:.1%}" for key in keys), f"{c['support']:,}")
        for name, c in m["per_class"].items()
    ]
    header = ["class", *(key.replace("_", " ") for key in keys), "images"]
    return charts.folded(f"Each of the {len(rows):,} classes", charts.table(header, rows, "Metrics of each class"))
