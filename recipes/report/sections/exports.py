"""The files that a run was exported to."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from recipes.report import charts
from recipes.report.sections.contents import Page


def exports(page: Page) -> str:
    """Files that the run was exported to."""
    rows = [_export_row(export) for export in page.run.exports.values() if "file" in export]
    if not rows:
        return ""
    header = ["file", "bytes", "accuracy", "of the model", "same answer", "largest difference"]
    return charts.table(header, rows, "Files")


def _export_row(export: Mapping[str, Any]) -> tuple[str, ...]:
    fractions = (f"{export[k]:.2%}" if k in export else "" for k in ("accuracy_file", "accuracy_keras", "agreement"))
    largest = f"{export['max_difference']:.2g}" if "max_difference" in export else ""
    return Path(export["file"]).name, f"{export.get('bytes', 0):,}", *fractions, largest
