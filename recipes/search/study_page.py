"""A study as one page: its trials, how the search went, and what mattered."""

import io
import re
import warnings
from collections.abc import Callable
from html import escape
from typing import Any

from recipes.report import charts
from recipes.report.page import render
from recipes.search.results import Tuned
from recipes.search.study import Search, Study
from recipes.search.table import TRIAL_COLUMNS, trial_cells
from recipes.tasks import summary
from zoo.drawing import as_matplotlib_ships

ENOUGH = 4  # complete trials, for any estimate of what mattered


def write_report(study: Study, search: Search, tuned: Tuned) -> None:
    """Writes `report.html` into the study, which needs no internet connection and no other file."""
    sections = {"Summary": _summary(search, tuned)}
    complete = sum(row["state"] == "complete" for row in tuned.trials)
    for title, draw, least in _drawings(search):
        if complete >= least:
            sections[title] = _svg(draw, study)
    sections["Trials"] = _trials(tuned)
    sections["Winner"] = f"<pre><code>{escape((study.path / 'best.toml').read_text('utf-8'))}</code></pre>"
    page = render(
        f"Search for {search.recipe.model.name} on {search.recipe.data.source}",
        f"Study {study.path.resolve().name}, {len(tuned.trials):,} trials",
        sections,
    )
    (study.path / "report.html").write_text(page, "utf-8")


def _summary(search: Search, tuned: Tuned) -> str:
    best = tuned.best
    facts = {
        "Best trial": str(best["number"]),
        f"Mean of {search.folds} folds": f"{best['score']:.4f}",
        "Spread of the folds": "-" if best["spread"] is None else f"{best['spread']:.4f}",
        "On the test images": summary(tuned.metrics),
        "Sampler and pruner": f"{search.sampler}, {search.pruner}",
    }
    listed = "".join(f"<div><dt>{escape(name)}</dt><dd>{escape(value)}</dd></div>" for name, value in facts.items())
    return f"<dl>{listed}</dl>"


def _trials(tuned: Tuned) -> str:
    return charts.table(TRIAL_COLUMNS, [trial_cells(row) for row in tuned.trials], "Every trial")


def _history(study: Any, plots: Any) -> Any:
    return plots.plot_optimization_history(study)


def _front(study: Any, plots: Any) -> Any:
    return plots.plot_pareto_front(study, target_names=["score", "cost"])


def _importance(study: Any, plots: Any) -> Any:
    return plots.plot_param_importances(study, target=lambda trial: trial.values[0], target_name="score")


def _parallel(study: Any, plots: Any) -> Any:
    return plots.plot_parallel_coordinate(study, target=lambda trial: trial.values[0], target_name="score")


def _drawings(search: Search) -> list[tuple[str, Callable[[Any, Any], Any], int]]:
    """Heading, drawing, and how many complete trials it takes."""
    return [
        ("Front", _front, 1) if search.cost else ("Search", _history, 1),
        ("What mattered", _importance, ENOUGH),
        ("Settings together", _parallel, 2),
    ]


def _svg(draw: Callable[[Any, Any], Any], study: Study) -> str:
    """One of Optuna's drawings."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    with as_matplotlib_ships(), warnings.catch_warnings(action="ignore"):  # that these drawings are experimental
        from optuna.visualization import matplotlib as plots

        axes = draw(study.trials(), plots)
        figure = (axes.flat[0] if hasattr(axes, "flat") else axes).figure
        text = io.StringIO()
        figure.savefig(text, format="svg", bbox_inches="tight")
        pyplot.close("all")
    svg = text.getvalue()
    return f'<div class="scroll">{re.sub(r"^.*?<svg", "<svg", svg, count=1, flags=re.DOTALL)}</div>'
