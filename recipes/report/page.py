"""The page that a run and a study are shown on: one file that needs no internet connection and no other file."""

from collections.abc import Mapping
from html import escape
from importlib.resources import files
from string import Template


def render(title: str, subtitle: str, sections: Mapping[str, str]) -> str:
    """A whole HTML page.

    Args:
        title, subtitle: plain text.
        sections: HTML by heading, in their order; headings are plain text without special characters.
    """
    anchors = {heading: heading.lower().replace(" ", "-") for heading in sections}
    return fill(
        "page.html",
        title=escape(title),
        subtitle=escape(subtitle),
        contents="".join(f'<li><a href="#{anchors[heading]}">{heading}</a></li>' for heading in sections),
        body="\n".join(
            f'<section id="{anchors[heading]}" aria-labelledby="{anchors[heading]}-heading">'
            f'<h2 id="{anchors[heading]}-heading">{heading}</h2>\n{content}\n</section>'
            for heading, content in sections.items()
        ),
    )


def fill(template: str, **texts: str) -> str:
    """A template of this folder with its `$` names filled in; `$colours` are those of all pages, light and dark."""
    folder = files("recipes.report")
    whole = Template((folder / template).read_text("utf-8"))
    return whole.substitute(texts, colours=(folder / "colours.css").read_text("utf-8"))
