"""Numbers as text: one rule for labels in tables and for what is typed."""

import re

# ASCII digits, with or without sign, decimal point and exponent. Not: nan, inf, 1_000, 0x10, 1,5, digits of other
# scripts; Python takes all of these but the comma for numbers.
NUMBER_TEXT = re.compile(r"[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")
_WHOLE = re.compile(r"[0-9]{1,18}")


def to_number(text: str) -> float:
    """The number that a text is.

    Raises:
        ValueError: it is none, or so large that no float holds it.

    >>> to_number("-1.5e-3"), to_number(".5")
    (-0.0015, 0.5)
    """
    number = float(text) if NUMBER_TEXT.fullmatch(text) else float("inf")
    if number in (float("inf"), float("-inf")):
        raise ValueError(f"{text!a} is not a finite number")
    return number


def to_whole(text: str) -> int:
    """The whole number from 0 that a text is.

    Raises:
        ValueError: it is none, or has more than 18 digits.
    """
    if not _WHOLE.fullmatch(text):
        raise ValueError(f"{text!a} is not a whole number")
    return int(text)
