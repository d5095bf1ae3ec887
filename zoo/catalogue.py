"""Choosing among the registered models by what they cost; reads cards and stored facts only."""

import math
from collections.abc import Callable
from typing import Any

from zoo.anatomy import complete, measured, totals
from zoo.errors import unknown
from zoo.registry import Card, get_card, list_models

ORDERS: dict[str, Callable[[Card], Any]] = {
    "name": lambda card: card.name,
    "params": lambda card: parameters(card),
    "macs": lambda card: macs(card),
    "arena": lambda card: arena(card),
    "year": lambda card: card.paper.year if card.paper else math.inf,
}

# What may be asked for, and the groups that have it among their elements.
SYMMETRIES = {
    "any": ("mirror", "c4", "d4"),
    "mirror": ("mirror", "d4"),
    "c4": ("c4", "d4"),
    "d4": ("d4",),
}


def list_families() -> list[str]:
    """Names of the lines of models, sorted."""
    return sorted({get_card(name).family for name in list_models()})


def select(
    pattern: str = "*",
    *,
    family: str | None = None,
    size: int | None = None,
    max_params: float | None = None,
    max_macs: float | None = None,
    max_arena: float | None = None,
    weights: bool = False,
    symmetry: str | None = None,
    sort: str = "name",
) -> list[Card]:
    """Cards of the models that match.

    Where a cost decides, models that do not state theirs are built, to measure it.

    Args:
        pattern: shell pattern of the name.
        family: only this line of models.
        size: only models whose default image is so high, in pixels.
        max_params: at most so many parameters.
        max_macs: at most so many multiply-adds an image.
        max_arena: at most so many bytes of values as int8, see `zoo.anatomy.estimate_arena`.
        weights: only models with published weights.
        symmetry: only models whose scores are exactly the same under this group, `mirror`, `c4` or `d4`; under any if
            `any`.
        sort: a name in `ORDERS`.

    Raises:
        RequestError: no model is of that family, or no such symmetry.
    """
    if symmetry not in (None, *SYMMETRIES):
        raise unknown("symmetry", str(symmetry), SYMMETRIES)
    if family is not None and family not in list_families():
        raise unknown("family", family, list_families())
    chosen = [
        card
        for card in map(get_card, list_models(pattern))
        if (family is None or card.family == family)
        and (size is None or card.input_shape[0] == size)
        and (card.weights or not weights)
        and (symmetry is None or card.symmetry in SYMMETRIES[symmetry])
    ]
    if max_params is not None or sort == "params":
        chosen = [complete(card) for card in chosen]
    if max_macs is not None or max_arena is not None or sort in ("macs", "arena"):
        for card in chosen:
            if not totals(card.name):
                measured(card.name)
    chosen = [
        card
        for card in chosen
        if (max_params is None or parameters(card) <= max_params)
        and (max_macs is None or macs(card) <= max_macs)
        and (max_arena is None or arena(card) <= max_arena)
    ]
    return sorted(chosen, key=ORDERS[sort])


def parameters(card: Card) -> float:
    """All parameters at the card's own settings; infinite where nobody has counted them yet."""
    return math.inf if card.parameters is None else card.parameters


def macs(card: Card) -> float:
    """Multiply-adds for one image at the card's own settings; infinite where nobody has counted them yet."""
    return float(totals(card.name).get("macs", math.inf))


def arena(card: Card) -> float:
    """Bytes of its values as int8, estimated, at the card's own settings; infinite where nobody has looked yet."""
    return float(totals(card.name).get("arena_bytes", math.inf))


def facts(card: Card) -> dict[str, Any]:
    """The card and its totals as JSON types; what nobody has counted yet is None."""
    nothing = dict.fromkeys(("parameters_expanded", "macs", "arena_bytes", "receptive_field", "whole_image"))
    counted = totals(card.name) or nothing
    return card.to_dict() | counted
