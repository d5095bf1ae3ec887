"""Choosing among the registered models by what they cost; reads cards and stored facts only."""

import math

from zoo.anatomy import totals
from zoo.errors import unknown
from zoo.registry import Card, get_card, list_models

ORDERS = {
    "name": lambda card: card.name,
    "params": lambda card: card.parameters,
    "macs": lambda card: macs(card),
    "year": lambda card: card.paper.year,
}


def select(
    pattern: str = "*",
    *,
    family: str | None = None,
    size: int | None = None,
    max_params: float | None = None,
    max_macs: float | None = None,
    weights: bool = False,
    sort: str = "name",
) -> list[Card]:
    """Cards of the models that match.

    Args:
        pattern: shell pattern of the name.
        family: only this line of models.
        size: only models whose default image is so high, in pixels.
        max_params: at most so many parameters.
        max_macs: at most so many multiply-adds an image.
        weights: only models with published weights.
        sort: a name in `ORDERS`.

    Raises:
        RequestError: no model is of that family.
    """
    cards = [get_card(name) for name in list_models()]
    families = {card.family for card in cards}
    if family is not None and family not in families:
        raise unknown("family", family, families)
    matching = set(list_models(pattern))
    chosen = [
        card
        for card in cards
        if card.name in matching
        and (family is None or card.family == family)
        and (size is None or card.input_shape[0] == size)
        and (max_params is None or card.parameters <= max_params)
        and (max_macs is None or macs(card) <= max_macs)
        and (card.weights or not weights)
    ]
    return sorted(chosen, key=ORDERS[sort])


def macs(card: Card) -> float:
    """Multiply-adds for one image at the card's own settings; infinite where nobody has counted them yet."""
    return totals(card.name).get("macs", math.inf)
