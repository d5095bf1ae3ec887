"""Data, trainings and what they came to, as text."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from recipes.support.tables import SHOWN, short, table
from recipes.tasks.words import summary

if TYPE_CHECKING:
    from recipes.data.checks.doctor import CheckResult
    from recipes.embed import Embedded
    from recipes.fit import Fitted


def fitted(result: "Fitted") -> str:
    run, metrics = result.run.path, result.metrics
    return (
        f"{run}: {summary(metrics)} on {metrics['examples']:,} test images, weights of epoch {result.best_epoch}.\n"
        f"Next: zoo evaluate {run}\n      zoo export {run} --to int8\n      zoo predict {run} IMAGE..."
    )


def embedded(result: "Embedded") -> str:
    count, width = result.features.shape
    lines = [f"{result.file}: {width:,} features of {count:,} images, {', '.join(result.arrays)}"]
    if result.same_class is not None:
        lines.append(f"{result.same_class:.1%} of the nearest images are of the same class")
    return "\n".join(lines)


def evaluation(metrics: Mapping[str, Any]) -> str:
    match metrics.get("task", "classification"):
        case "regression":
            return f"{summary(metrics)}, {metrics['examples']:,} images"
        case "multilabel":
            rows = [
                (
                    name,
                    "-" if c["average_precision"] is None else f"{c['average_precision']:.1%}",
                    f"{c['f1']:.1%}",
                    str(c["support"]),
                )
                for name, c in metrics["per_class"].items()
            ]
            classes = table(["class", "average precision", "f1", "images"], rows, right=[1, 2, 3])
            return f"{summary(metrics)}, {metrics['examples']:,} images\n\n{classes}"
    return _classification(metrics)


def _classification(metrics: Mapping[str, Any]) -> str:
    k, names, (low, high) = metrics["top_k"], metrics["class_names"], metrics["accuracy_interval"]
    rows = [
        (name, f"{c['precision']:.1%}", f"{c['recall']:.1%}", f"{c['f1']:.1%}", str(c["support"]))
        for name, c in metrics["per_class"].items()
    ]
    matrix = [(name, *map(str, row)) for name, row in zip(names, metrics["confusion_matrix"], strict=True)]
    parts = [
        f"accuracy {metrics['accuracy']:.2%} ({low:.1%} to {high:.1%} in 95 of 100 samples), top-{k['k']} "
        f"{k['accuracy']:.2%}, loss {metrics['loss']:.4f}, calibration error {metrics['calibration_error']:.2%}, "
        f"{metrics['examples']:,} images",
        table(["class", "precision", "recall", "f1", "images"], rows, right=[1, 2, 3, 4]),
        "Rows are true classes, columns are guesses:\n" + table(["", *names], matrix, right=range(1, len(names) + 1)),
    ]
    if mistakes := metrics["worst_mistakes"][:SHOWN]:
        rows = [(m["file"] or f"image {m['index']}", m["true"], m["guess"], f"{m['score']:.1%}") for m in mistakes]
        parts.append("Worst mistakes:\n" + table(["image", "is", "taken for", "sure"], rows, right=[3]))
    if "invariance" in metrics:
        parts.append(invariance(metrics["invariance"]))
    if metrics.get("equivariance"):
        rows = [(e["layer"], "x".join(map(str, e["stride"])), f"{e['error']:.3f}") for e in metrics["equivariance"]]
        parts.append(
            "How far feature maps are from following a shift (0: they follow it, 1: not at all):\n"
            + table(["layer", "stride", "error"], rows, right=[2])
        )
    return "\n\n".join(parts)


def invariance(measured: Mapping[str, Any]) -> str:
    parts = []
    for name, family in measured.items():
        if not isinstance(family, dict):
            continue
        columns = [name, *(value if isinstance(value, str) else f"{value:g}" for value in family["values"])]
        rows = [(key, *(f"{share:.1%}" for share in family[key])) for key in ("accuracy", "consistency")]
        parts.append(
            f"{name}: {family['score']:.1%} of the accuracy is kept\n" + table(columns, rows, range(1, len(columns)))
        )
    agree = measured["shift_consistency"]
    parts.append(f"overall {measured['overall']:.1%}; two random shifts agree on {agree:.1%} of the images")
    return "\n\n".join(parts)


def comparison(rows: Sequence[Mapping[str, Any]]) -> str:
    families = list(dict.fromkeys(name for row in rows for name in row["invariance"] or ()))
    kinds = list(dict.fromkeys(kind for row in rows for kind in row["exports"]))
    header = [
        "run",
        "model",
        "data",
        "test images",
        "parameters",
        "MACs",
        *families,
        *(f"{k} bytes" for k in kinds),
    ]
    lines = [
        (
            row["run"],
            row["model"],
            row["data"],
            summary(row["figures"]),
            f"{row['parameters']:,}",
            short(row["macs"]),
            *(f"{row['invariance'][name]:.1%}" if row["invariance"] else "-" for name in families),
            *(f"{row['exports'][kind]:,}" if kind in row["exports"] else "-" for kind in kinds),
        )
        for row in rows
    ]
    return table(header, lines, right=range(4, len(header)))


def diagnosis(source: str, report: "CheckResult") -> str:
    lines = []
    for kind in dict.fromkeys(finding.kind for finding in report.findings):
        found = [finding for finding in report.findings if finding.kind == kind]
        lines += [f"{'error' if f.is_error else 'remark'}  {kind}  {f.path} {f.detail}" for f in found[:10]]
        if len(found) > 10:
            lines.append(f"        {kind}  and {len(found) - 10:,} more; --json lists them all")
    classes = "" if report.task == "regression" else f" of {len(report.class_names):,} classes"
    remarks = len(report.findings) - report.errors
    lines.append(
        f"{source}: {report.images:,} images{classes} can be used; "
        f"{report.errors:,} error{'s' * (report.errors != 1)}, {remarks:,} remark{'s' * (remarks != 1)}."
    )
    return "\n".join(lines)
