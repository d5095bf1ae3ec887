"""For whom the model is right, and where not."""

from html import escape

from recipes.report.limits import not_for, right_for
from recipes.report.sections.contents import Page


def use(page: Page) -> str:
    """What was measured of where the model may be used, and what was not."""
    source = page.recipe.data.source
    return (
        f"<h3>Right for</h3>{_items(right_for(page.metrics, source))}"
        f"<h3>Not for</h3>{_items(not_for(page.metrics, source, page.sure_from))}"
    )


def _items(sentences: list[str]) -> str:
    return f"<ul>{''.join(f'<li>{escape(sentence)}</li>' for sentence in sentences)}</ul>"
