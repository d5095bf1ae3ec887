"""A run as one HTML page."""

from recipes.report.run_page import Report, report

__all__ = ["Report", "report"]
