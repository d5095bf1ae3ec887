"""Whether probabilities are right as often as they say."""

from collections.abc import Mapping
from typing import Any

from recipes.report import charts
from recipes.report.sections.contents import Page

_ROWS = {
    "calibration_error": "calibration error",
    "calibration_error_by_chance": "of probabilities that are right, on as many images",
    "brier_score": "Brier score",
    "loss": "log loss",
}


def calibration(page: Page) -> str:
    """The reliability diagram of the test images, and the errors, before and after the temperature."""
    found = page.metrics
    if "reliability" not in found:
        return ""
    changed = found.get("calibration")
    states: dict[str, Mapping[str, Any]] = {"after": found, "before": changed["before"]} if changed else {"": found}
    lines = {
        f"{name} calibration".strip() if name else "model": [
            (row["confidence"], row["accuracy"]) for row in state["reliability"]
        ]
        for name, state in states.items()
    }
    confidences = [x for line in lines.values() for x, _ in line]
    lines["as often right as it says"] = [(end, end) for end in (min(confidences), max(confidences))]
    chart = charts.line_chart("How often it is right", lines, x="probability that it gives", percent=True)
    header = ["", *(name or "model" for name in states)]
    rows = [
        (
            words,
            *(
                f"{state[key]:.2%}" if key.startswith("calibration") else f"{state[key]:.4f}"
                for state in states.values()
            ),
        )
        for key, words in _ROWS.items()
        if all(key in state for state in states.values())
    ]
    about = (
        f"<p>Logits are divided by a temperature of {changed['temperature']:.3f}, fitted on the validation images; the "
        "figures are of the test images.</p>"
        if changed
        else "<p>No temperature is in the model.</p>"
    )
    table = charts.table(header, rows, "Calibration, 15 bins of equal width")
    return about + charts.side_by_side([chart]) + table
