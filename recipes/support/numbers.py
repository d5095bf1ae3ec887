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


def span(seconds: float) -> str:
    """A time in its two largest units.

    >>> span(0.25), span(42.4), span(125), span(3 * 3600 + 240)
    ('0.2 s', '42 s', '2 min 5 s', '3 h 4 min')
    """
    if seconds < 59.5:
        return f"{seconds:.1f} s" if seconds < 9.95 else f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def size(count: int) -> str:
    """Bytes, by thousands.

    >>> size(1_250), size(48_123_000), size(1_250_000_000)
    ('1.2 kB', '48.1 MB', '1.2 GB')
    """
    unit, by = next((unit, by) for unit, by in (("GB", 1e9), ("MB", 1e6), ("kB", 0)) if count >= by)
    return f"{count / (by or 1e3):.1f} {unit}"
