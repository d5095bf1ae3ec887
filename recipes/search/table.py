"""The trials of a study as cells of a table, and as lines."""

import re
from collections.abc import Mapping
from typing import Any

from recipes.support.tables import short

TRIAL_COLUMNS = ["trial", "state", "score", "spread", "parameters", "MACs", "seconds", "settings"]


def trial_cells(row: Mapping[str, Any]) -> tuple[str, ...]:
    """The cells of a trial of a study, by `TRIAL_COLUMNS`."""

    def number(key: str, form: str) -> str:
        return "-" if row[key] is None else form.format(row[key])

    return (
        str(row["number"]),
        row["state"],
        number("score", "{:.4f}"),
        number("spread", "{:.4f}"),
        number("parameters", "{:,.0f}"),
        "-" if row["macs"] is None else short(row["macs"]),
        number("seconds", "{:.1f}"),
        row["why"] if row["state"] in ("skipped", "failed") else "  ".join(map(_brief, row["settings"])),
    )


def _brief(setting: str) -> str:
    """A setting with three digits of its number."""
    key, _, value = setting.partition("=")
    return f"{key}={float(value):.3g}" if re.fullmatch(r"[0-9]+\.[0-9]+", value) else setting


def trial_line(row: Mapping[str, Any], done: int, wanted: int | None) -> str:
    """One line for a trial that has ended: how many have, of how many, and how this one did."""
    cells = dict(zip(TRIAL_COLUMNS, trial_cells(row), strict=True))
    of = f"/{wanted}" if wanted else ""
    score = f" {cells['score']} +- {cells['spread']}" if row["score"] is not None else ""
    return f"{done}{of}  trial {cells['trial']} {cells['state']}{score}  {cells['settings']}"
