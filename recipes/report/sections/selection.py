"""What becomes of the errors where the least sure predictions are left out."""

import shlex
from html import escape

from recipes.report import charts
from recipes.report.sections.contents import Page


def not_sure(page: Page) -> str:
    """Risk over coverage, and what the run's threshold comes to, or the command that chooses one."""
    found = page.metrics
    if "risk_coverage" not in found:
        return ""
    risk = [(coverage, risk) for coverage, risk in found["risk_coverage"]]
    chart = charts.line_chart("Wrong among the surest", {"risk": risk}, x="fraction of the images, surest first")
    rows = [
        ("coverage at 99 % precision", f"{found['coverage_at_99']:.1%}"),
        ("area under the curve", f"{found['aurc']:.4f}"),
    ]
    kept = found.get("threshold")
    if kept:
        rows += [("threshold", f"{kept['value']:.4f}"), ("images with a prediction", f"{kept['coverage']:.1%}")]
        rows += [("precision asked for", f"{kept['precision']:.2%}")] if "precision" in kept else []
        if kept["precision_found"] is not None:
            ends = " to ".join(f"{end:.1%}" for end in kept["interval"])
            rows += [("precision found", f"{kept['precision_found']:.2%} ({ends})")]
        about = (
            "<p>Below the threshold, which was chosen on the validation images, the answer is that it is not sure.</p>"
        )
    else:
        command = shlex.join(["zoo", "evaluate", str(page.run.path), "--precision", "0.99"])
        about = f"<p>There is no threshold. This chooses one:</p><pre><code>{escape(command)}</code></pre>"
    table = charts.table(["", ""], rows, "Of the test images")
    return about + charts.side_by_side([chart]) + table + _unknown(page)


def _unknown(page: Page) -> str:
    """How well images of no class are told from the test images."""
    if not (measured := page.metrics.get("unknown")):
        return ""
    rows = [(name, f"{found['auroc']:.3f}", f"{found['fpr_at_95']:.1%}") for name, found in measured["by"].items()]
    header = ["told apart by", "AUROC", "taken for known, where 95 % of the known are"]
    return charts.table(header, rows, f"{measured['unknown_images']:,} images of no class")
