"""The page on which a person decides about labels: one file that needs no internet connection and no other file."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

import numpy as np

from recipes.report.charts import data_uri
from recipes.report.page import fill

MOST = 500  # images a section


@dataclass(frozen=True, eq=False)
class Card:
    """An image to decide about.

    Attributes:
        row: its number, by which the saved table finds it.
        name: its file, or its part and row.
        pixels: uint8 (H, W, C).
        label, likely: classes.
        label_score, likely_score: from 0 to 1.
        told: what else is to be known.
    """

    row: int
    name: str
    pixels: np.ndarray
    label: str
    label_score: float
    likely: str
    likely_score: float
    told: str = ""


def write_page(
    file: Path,
    title: str,
    told: str,
    sections: Mapping[str, Sequence[Card]],
    class_names: Sequence[str],
    table: Sequence[Mapping[str, str]] | None,
) -> None:
    """Writes the page.

    Args:
        file: where to.
        title, told: plain text above.
        sections: cards by heading.
        class_names: what an image may be relabelled to.
        table: the rows to save with what was decided, where a table of the set can be made; `row` is that of a card.
            None: what was decided is saved by itself.
    """
    parts = "\n".join(_section(heading, cards) for heading, cards in sections.items() if cards)
    known = json.dumps({"classes": list(class_names), "table": table})
    page = fill(
        "labels.html",
        title=escape(title),
        told=escape(told),
        sections=parts or "<p>Nothing is suspected.</p>",
        classes="".join(f"<option>{escape(name)}</option>" for name in class_names),
        saved=escape("" if table is not None else NO_TABLE),
        known=known.replace("<", "\\u003c"),
        key=hashlib.sha256(f"{title}{known}".encode("utf-8", "backslashreplace")).hexdigest()[:16],
    )
    file.write_text(page, "utf-8")


NO_TABLE = (
    "These images are not files that a table could name (or a class is called with a |), so that the table lists what "
    "you decided and cannot be trained on; `zoo augment write` writes a set as files."
)


def _section(heading: str, cards: Sequence[Card]) -> str:
    more = f" (the first {MOST:,} of {len(cards):,})" if len(cards) > MOST else f" ({len(cards):,})"
    items = "\n".join(_item(card) for card in cards[:MOST])
    return f"<section><h2>{escape(heading)}{more}</h2>\n<ol>\n{items}\n</ol></section>"


def _item(card: Card) -> str:
    label, likely, name = escape(card.label), escape(card.likely), escape(card.name)
    short = escape("/".join(Path(card.name).parts[-2:]))
    other = f"<p>likely <b>{likely}</b> {card.likely_score:.0%}</p>" if card.likely != card.label else "<p>&nbsp;</p>"
    more = f'<p class="quiet">{escape(card.told)}</p>' if card.told else ""
    return (
        f'<li class="card" tabindex="0" data-row="{card.row}" data-label="{label}" data-likely="{likely}" '
        f'aria-label="{name}: labelled {label}, likely {likely}">'
        f'<img src="{data_uri(card.pixels)}" alt="">'
        f"<p>labelled <b>{label}</b> {card.label_score:.0%}</p>{other}"
        f'<p class="quiet name" title="{name}">{short}</p>{more}'
        '<p class="buttons"><button type="button" data-do="keep">Keep</button> '
        '<button type="button" data-do="relabel">Relabel</button> '
        '<button type="button" data-do="drop">Drop</button></p>'
        '<p class="mark" aria-live="polite"></p></li>'
    )
