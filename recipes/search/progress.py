"""What a search shows while it goes on: on a terminal a table that follows the study, whoever is working on it."""

import contextlib
import time
from collections.abc import Iterator, Sequence
from typing import Any

from rich.console import Console
from rich.live import Live
from rich.table import Table

from recipes.search.results import ENDED, rows_of
from recipes.search.study import Study
from recipes.search.table import TRIAL_COLUMNS, trial_cells

SHOWN = 12  # trials: those that are running, then the best


@contextlib.contextmanager
def shown_live(study: Study, wanted: int | None, until: float | None, *, quiet: bool) -> Iterator[bool]:
    """Follows a study on stderr inside the block; False, and nothing, where stderr is not a terminal.

    Args:
        study: to look at, twice a second.
        wanted: how many trials in all.
        until: seconds since 1970.
        quiet: shows nothing anywhere.
    """
    console = Console(stderr=True, highlight=False)
    if quiet or not console.is_terminal:
        yield False
        return
    trials = study.trials()

    def now() -> Table:
        return as_table(rows_of(trials.get_trials(deepcopy=False)), wanted, until)

    with Live(get_renderable=now, console=console, refresh_per_second=2, transient=True):
        yield True


def as_table(rows: Sequence[dict[str, Any]], wanted: int | None, until: float | None) -> Table:
    """The running and the best of a study's trials, under a line that says how far the search is."""
    ended = [row for row in rows if row["state"] in ENDED]
    complete = sorted((row for row in rows if row["state"] == "complete"), key=lambda row: -row["score"])
    running = [row for row in rows if row["state"] == "running"]
    facts = [f"{len(ended)}{f' of {wanted}' if wanted else ''} trials"]
    if until is not None:
        facts.append(f"{max(0, until - time.time()):.0f} s left")
    if complete:
        facts.append(f"best {complete[0]['score']:.4f}")
    table = Table(title=", ".join(facts), title_justify="left", box=None)
    for number, name in enumerate(TRIAL_COLUMNS):
        table.add_column(name, justify="right" if 2 <= number < 7 else "left", no_wrap=number < 7)
    for row in [*running, *complete][:SHOWN]:
        table.add_row(*trial_cells(row))
    return table
