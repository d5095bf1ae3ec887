"""What a model is right for and what not, as far as its metrics tell: sentences for the page and for the card."""

from collections.abc import Mapping
from typing import Any

from recipes.tasks.selective import wilson

KEPT = 0.95  # of the accuracy, where an image that was moved still counts as recognised
FEW = 20  # test images of a class
WORDS = {
    "rotation": ("rotated by {0:g} to {1:g} degrees", 0.0),
    "translation": ("shifted by up to {1:.0%} of their size", 0.0),
    "scale": ("scaled by {0:g} to {1:g}", 1.0),
}


def right_for(metrics: Mapping[str, Any], source: str) -> list[str]:
    """What it was measured to do."""
    told = [f"Images like those of {source}, which it was trained and tested on."]
    for family, (low, high) in kept_within(metrics).items():
        if low < high:
            told.append(
                f"Images that are {WORDS[family][0].format(low, high)}: at least {KEPT:.0%} of its accuracy is left."
            )
    if symmetry := metrics.get("symmetry"):
        told.append(f"Its scores are the same under {symmetry['group']}, by construction.")
    return told


def not_for(metrics: Mapping[str, Any], source: str, threshold: float | None = None) -> list[str]:
    """What it was measured not to do, and what nobody measured; `threshold`: the score from which on it is sure."""
    told = []
    if "accuracy" in metrics:
        classes = len(metrics["class_names"])
        told.append(
            f"Images of anything else: it knows {classes:,} classes, and an image of something else gets one of them"
            + ("." if threshold is None else f", or is not sure where no score is {threshold:.0%} or more.")
        )
    told.append(f"Images from elsewhere than {source}: how good it is on them was not measured.")
    for family, (low, high) in kept_within(metrics).items():
        words = WORDS[family][0].format(low, high)
        beyond = f"Images that are not {words}" if low < high else f"Images under {family}, however little"
        told.append(f"{beyond}: less than {KEPT:.0%} of its accuracy is left.")
    if "invariance" not in metrics and "accuracy" in metrics:
        told.append("Images that are rotated, shifted or scaled: not measured (`zoo evaluate RUN --invariance`).")
    if weak := weak_classes(metrics):
        told.append("Where these classes matter: " + ", ".join(weak) + ".")
    if few := [name for name, row in metrics.get("per_class", {}).items() if row["support"] < FEW]:
        shown = ", ".join(few[:10]) + (f" and {len(few) - 10:,} more" if len(few) > 10 else "")
        told.append(f"Where one must know how good it is on {shown}: fewer than {FEW} test images of each.")
    told.append("Decisions about people, or by which somebody may be harmed, without a person who looks at the image.")
    return told


def kept_within(metrics: Mapping[str, Any]) -> dict[str, tuple[float, float]]:
    """For each family of movements the range around "as it is" in which `KEPT` of the accuracy is left."""
    measured, found = metrics.get("invariance", {}), {}
    for family, (_, still) in WORDS.items():
        if family not in measured:
            continue
        values, accuracy = measured[family]["values"], measured[family]["accuracy"]
        pairs = sorted((v, a) for v, a in zip(values, accuracy, strict=True) if family != "rotation" or abs(v) <= 45)
        enough = KEPT * metrics["accuracy"]
        below = [v for v, a in pairs if v <= still and a < enough]
        above = [v for v, a in pairs if v >= still and a < enough]
        low, high = max(below, default=float("-inf")), min(above, default=float("inf"))
        inside = [v for v, _ in pairs if low < v < high]
        found[family] = (min(inside), max(inside)) if inside else (still, still)
    return found


def weak_classes(metrics: Mapping[str, Any], most: int = 5) -> list[str]:
    """Classes whose recall is lower than the accuracy by more than chance (95 %), the lowest first."""
    weak = []
    for name, row in metrics.get("per_class", {}).items():
        if "recall" not in row or not row["support"] or "accuracy" not in metrics:
            continue
        _, high = wilson(round(row["recall"] * row["support"]), row["support"])
        if high < metrics["accuracy"]:
            weak.append((row["recall"], f"{name} (recall {row['recall']:.0%} of {row['support']:,})"))
    return [words for _, words in sorted(weak)[:most]]
