"""What was measured beside a task's metrics, as text for people."""

from collections.abc import Mapping, Sequence
from typing import Any

from recipes.support.tables import table
from recipes.tasks.confusion import LARGEST_WRITTEN, PAIRS


def listed_classes(
    per_class: Mapping[str, Mapping[str, Any]], by: str
) -> tuple[list[tuple[str, Mapping[str, Any]]], str]:
    """The classes that text lists, with their metrics, and a line above them where these are not all.

    Args:
        per_class: of a task's metrics.
        by: the metric whose lowest values are listed where there are many classes; classes without one, or without
            an image, are none of them.
    """
    if len(per_class) <= LARGEST_WRITTEN:
        return list(per_class.items()), ""
    judged = [(name, metrics) for name, metrics in per_class.items() if metrics["support"] and metrics[by] is not None]
    lowest = sorted(judged, key=lambda one: float(one[1][by]))[:PAIRS]
    return lowest, f"The {len(lowest)} of {len(per_class):,} classes of the lowest {by.replace('_', ' ')}:\n"


def honesty(metrics: Mapping[str, Any]) -> str:
    """Whether probabilities are right as often as they say, after and before the temperature; "" of older metrics."""
    if "brier_score" not in metrics:
        return ""
    after = _honesty(metrics)
    if "calibration" not in metrics:
        return f"Probabilities: {after}"
    changed = metrics["calibration"]
    words = f"before their temperature of {changed['temperature']:.3f}: {_honesty(changed['before'])}"
    return f"Probabilities: {after}\n{words}"


def selection(metrics: Mapping[str, Any]) -> str:
    """What becomes of errors where the least sure predictions are left out; "" of older metrics."""
    if "aurc" not in metrics:
        return ""
    told = (
        f"Sure first: 99 % of the surest {metrics['coverage_at_99']:.1%} are right; area under risk and coverage "
        f"{metrics['aurc']:.4f}"
    )
    if not (kept := metrics.get("threshold")):
        return told
    asked = f", chosen for a precision of {kept['precision']:g}" if "precision" in kept else ""
    found = "none of the images is given a prediction"
    if kept["precision_found"] is not None:
        low, high = kept["interval"]
        found = (
            f"{kept['coverage']:.1%} of the images are given a prediction, {kept['precision_found']:.2%} of these are "
            f"right (95 % interval {low:.1%} to {high:.1%})"
        )
    return f"{told}\nfrom a score of {kept['value']:.4f} on{asked}: {found}"


def unknown(measured: Mapping[str, Any]) -> str:
    """What `recipes.evaluate.unknown.measure_unknown` returns."""
    rows = [(name, f"{found['auroc']:.3f}", f"{found['fpr_at_95']:.1%}") for name, found in measured["by"].items()]
    header = ["told apart by", "AUROC", "taken for known, where 95 % of the known are"]
    counts = f"{measured['images']:,} images of known classes and {measured['unknown_images']:,} of none"
    return f"{counts}:\n" + table(header, rows, right=[1, 2])


def _honesty(found: Mapping[str, Any]) -> str:
    chance = found.get("calibration_error_by_chance")  # older metrics have none
    told = "" if chance is None else f"; {chance:.2%} were chance"
    return f"calibration error {found['calibration_error']:.2%} (15 bins of equal width{told}), Brier score " + (
        f"{found['brier_score']:.4f}" + (f", loss {found['loss']:.4f}" if "loss" in found else "")
    )


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
    overall, agree = f"overall {measured['overall']:.1%}", measured.get("shift_consistency")
    parts.append(overall if agree is None else f"{overall}; two random shifts agree on {agree:.1%} of the images")
    return "\n\n".join(parts)


def symmetry(measured: Mapping[str, Any]) -> str:
    """What `recipes.evaluate.symmetry.Symmetry` has of a model with a symmetry built in."""
    return f"Symmetry built in: {measured['group']}. {unchanged(measured)}."


def averaged(measured: Mapping[str, Any]) -> str:
    """What `recipes.evaluate.averaging.measure_average` returns."""
    metric, digits = measured["metric"], ".1%" if "interval" in measured else ".3f"

    def told(value: float | None, interval: str) -> str:
        number = "none" if value is None else format(value, digits)
        ends = " to ".join(f"{end:.1%}" for end in measured.get(interval, ()))
        return f"{number} (95 % interval {ends})" if ends else number

    lines = [
        f"Scores averaged over {measured['over']}, {measured['passes']} passes of each image in place of one:",
        f"{metric} {told(measured['value'], 'interval')}, without {told(measured['without'], 'interval_without')}",
    ]
    if test := measured.get("mcnemar"):
        lines.append(
            f"{test['only_wrong']:,} images are wrong only with it, {test['only_other_wrong']:,} only without; "
            f"McNemar's p {test['p']:.3g}"
        )
    return "\n".join(lines)


def unchanged(measured: Mapping[str, Any]) -> str:
    """How little scores change under the elements of a group."""
    largest, count = measured["largest"], f"{measured['images']:,} images under {len(measured['differences'])} elements"
    return f"Scores of {count}: " + (f"changed by at most {largest:.1e}" if largest else "the same to the last bit")


def equivariance(measured: Sequence[Mapping[str, Any]]) -> str:
    """What `recipes.evaluate.equivariance.equivariance_errors` returns."""
    rows = [(e["layer"], "x".join(map(str, e["stride"])), f"{e['error']:.3f}") for e in measured]
    return "How far feature maps are from following a shift (0: they follow it, 1: not at all):\n" + table(
        ["layer", "stride", "error"], rows, right=[2]
    )
