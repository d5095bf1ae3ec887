"""A run as one page, `report.html`, which needs no internet connection and no other file, and its card, `CARD.md`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from recipes.report.page import render
from recipes.run.folder import Run
from zoo.backend import as_keras_ships


@dataclass(frozen=True)
class Report:
    """A page that was written.

    Attributes:
        file: where it is.
        sections: their headings.
        card: the model card beside it.
    """

    file: Path
    sections: tuple[str, ...]
    card: Path


@as_keras_ships
def report(run: str | Path | Run) -> Report:
    """Writes `report.html` and `CARD.md` into a run; of what was not measured, they say how to measure it or nothing.

    Raises:
        RequestError: no run there, one without a model, or one whose images are not where they were.
        FailureError: a file cannot be written.
    """
    run = Run.open(run)
    model = run.load_model()  # before what imports TensorFlow itself, with its remarks
    from recipes.report.card import model_card
    from recipes.report.sections import SECTIONS, Page

    page = Page(run, run.recipe, model, run.load_data(), _metrics(run))
    sections = {title: content for title, section in SECTIONS.items() if (content := section(page))}
    trained = ", ".join(f"{name} {version}" for name, version in page.recipe.versions.items())
    text = render(
        f"{page.recipe.model.name} on {page.recipe.data.source}",
        f"Run {run.path.resolve().name}, trained with {trained}",
        sections,
    )
    run.write_text("report.html", text)
    run.write_text("CARD.md", model_card(page))
    return Report(run.path / "report.html", tuple(sections), run.path / "CARD.md")


def _metrics(run: Run) -> dict[str, Any]:
    from recipes.evaluate.scoring import evaluate

    return run.metrics or evaluate(run)
