"""What was measured beside a task's metrics, as text for people."""

from collections.abc import Mapping, Sequence
from typing import Any

from recipes.support.tables import table


def invariance(measured: Mapping[str, Any]) -> str:
    """What `recipes.evaluate.invariance.measure_invariance` returns."""
    parts = []
    for name, family in measured.items():
        if not isinstance(family, dict):
            continue
        columns = [name, *(value if isinstance(value, str) else f"{value:g}" for value in family["values"])]
        rows = [(key, *(f"{fraction:.1%}" for fraction in family[key])) for key in ("accuracy", "consistency")]
        parts.append(
            f"{name}: {family['score']:.1%} of the accuracy is kept\n" + table(columns, rows, range(1, len(columns)))
        )
    agree = measured["shift_consistency"]
    parts.append(f"overall {measured['overall']:.1%}; two random shifts agree on {agree:.1%} of the images")
    return "\n\n".join(parts)


def equivariance(measured: Sequence[Mapping[str, Any]]) -> str:
    """What `recipes.evaluate.equivariance.equivariance_errors` returns."""
    rows = [(e["layer"], "x".join(map(str, e["stride"])), f"{e['error']:.3f}") for e in measured]
    return "How far feature maps are from following a shift (0: they follow it, 1: not at all):\n" + table(
        ["layer", "stride", "error"], rows, right=[2]
    )
