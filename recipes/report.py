"""A run as one page: `report.html`, which needs no network and nothing beside it."""

from dataclasses import dataclass
from html import escape
from importlib.resources import files
from pathlib import Path
from string import Template
from typing import Any

from recipes.run import Run
from recipes.sections import SECTIONS, Page


@dataclass(frozen=True)
class Report:
    """A page that was written.

    Attributes:
        file: where it is.
        sections: their headings.
    """

    file: Path
    sections: tuple[str, ...]


def report(run: str | Path | Run) -> Report:
    """Writes `report.html` into a run; what was not measured is left out, or the page says how to measure it.

    Raises:
        RequestError: no run there, one without a model, or one whose pictures are not where they were.
        FailureError: the file cannot be written.
    """
    run = Run.open(run)
    page = Page(run, run.recipe, run.load_model(), run.load_data(), _metrics(run))
    sections = {title: content for title, section in SECTIONS.items() if (content := section(page))}
    anchors = {title: title.lower().replace(" ", "-") for title in sections}
    template = Template((files("recipes") / "report.html").read_text("utf-8"))
    trained = ", ".join(f"{name} {version}" for name, version in page.recipe.versions.items())
    text = template.substitute(
        title=escape(f"{page.recipe.model.name} on {page.recipe.data.source}"),
        subtitle=escape(f"Run {run.path.resolve().name}, trained with {trained}"),
        contents="".join(f'<li><a href="#{anchors[title]}">{title}</a></li>' for title in sections),
        body="\n".join(
            f'<section id="{anchors[title]}" aria-labelledby="{anchors[title]}-heading">'
            f'<h2 id="{anchors[title]}-heading">{title}</h2>\n{content}\n</section>'
            for title, content in sections.items()
        ),
    )
    run.write_text("report.html", text)
    return Report(run.path / "report.html", tuple(sections))


def _metrics(run: Run) -> dict[str, Any]:
    from recipes.evaluate import evaluate

    return run.metrics or evaluate(run)
