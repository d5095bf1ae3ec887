"""Data, trainings and what they came to, as text."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from recipes.data.labels import LABEL_KINDS
from recipes.support.numbers import size, span
from recipes.support.tables import lines, short, table
from recipes.tasks import summary, task_of
from recipes.tasks.words import averaged, unknown

if TYPE_CHECKING:
    from recipes.check_labels import CheckedLabels
    from recipes.data.checks.doctor import CheckResult
    from recipes.embed import Embedded
    from recipes.fit import Fitted
    from recipes.training.estimate import Estimate


# Metrics of whether answers can be relied on, where any of the runs has them: the key, its words, the format.
_TRUST = (
    ("calibration_error", "calibration error", ".2%"),
    ("aurc", "AURC", ".4f"),
    ("coverage_at_99", "covered at 99 %", ".1%"),
)


def fitted(result: "Fitted") -> str:
    run, metrics = result.run.path, result.metrics
    return lines(
        f"{run}: {summary(metrics)} on {metrics['examples']:,} test images, weights of epoch {result.best_epoch}.",
        f"Next: zoo evaluate {run}",
        f"      zoo export {run} --to int8",
        f"      zoo predict {run} IMAGE...",
    )


def estimate(result: "Estimate") -> str:
    rows = [
        (
            "time",
            f"about {span(result.seconds)}: {span(result.epoch)} an epoch, and {span(result.begin + result.end)}",
        ),
        ("memory", f"{size(result.memory)} at most, so far" if result.memory else "not known on this system"),
        ("disk", f"{size(result.disk)} while it trains, {size(result.kept)} then, without the cache of images"),
        ("device", result.device),
    ]
    return lines(
        f"{result.model} on {result.data}: {result.images:,} images to train on, {result.epochs:,} epochs of "
        f"{result.steps:,} steps, {result.batch_size:,} images a step.",
        *(f"{name:<8}{value}" for name, value in rows),
        "Nothing was written.",
    )


def embedded(result: "Embedded") -> str:
    count, width = result.features.shape
    told = [f"{result.file}: {width:,} features of {count:,} images, {', '.join(result.arrays)}"]
    if result.same_class is not None:
        told.append(f"{result.same_class:.1%} of the nearest images are of the same class")
    return lines(*told)


def evaluation(metrics: Mapping[str, Any]) -> str:
    told = task_of(metrics).evaluation(metrics)
    parts = [words(metrics[key]) for key, words in (("averaged", averaged), ("unknown", unknown)) if key in metrics]
    return "\n\n".join([told, *parts])


def comparison(rows: Sequence[Mapping[str, Any]]) -> str:
    families = list(dict.fromkeys(name for row in rows for name in row["invariance"] or ()))
    kinds = list(dict.fromkeys(kind for row in rows for kind in row["exports"]))
    trust = [columns for columns in _TRUST if any(columns[0] in row["metrics"] for row in rows)]
    header = [
        "run",
        "model",
        "data",
        "test images",
        "parameters",
        "MACs",
        *(["bytes"] if any(row.get("bytes") for row in rows) else []),
        *(words for _, words, _ in trust),
        *families,
        *(f"{k} bytes" for k in kinds),
    ]
    cells = [
        (
            row["run"],
            row["model"],
            row["data"],
            summary(row["metrics"]),
            "-" if row["parameters"] is None else f"{row['parameters']:,}",
            "-" if row["macs"] is None else short(row["macs"]),
            *([f"{row['bytes']:,}" if row.get("bytes") else "-"] if "bytes" in header else []),
            *(format(row["metrics"][key], form) if key in row["metrics"] else "-" for key, _, form in trust),
            *(f"{row['invariance'][name]:.1%}" if row["invariance"] else "-" for name in families),
            *(f"{row['exports'][kind]:,}" if kind in row["exports"] else "-" for kind in kinds),
        )
        for row in rows
    ]
    tests = [
        f"{row['run']} against {rows[0]['run']}: {row['mcnemar']['only_wrong']:,} images are wrong only in the one, "
        f"{row['mcnemar']['only_other_wrong']:,} only in the other; McNemar's p {row['mcnemar']['p']:.3g}"
        for row in rows
        if row["mcnemar"]
    ]
    return "\n".join([table(header, cells, right=range(4, len(header))), *map(lines, tests)])


def labels(checked: "CheckedLabels") -> str:
    told = [
        f"{found['image']}  labelled {found['label']} {found['label_score']:.0%}, likely {found['likely']} "
        f"{found['likely_score']:.0%}{'  (trained on)' if found['learnt'] else ''}"
        for found in checked.suspects[:10]
    ]
    if len(checked.suspects) > 10:
        told.append(f"and {len(checked.suspects) - 10:,} more; --json lists them all, --out labels.html shows them")
    for group in checked.alike[:10]:
        told.append(f"alike  {', '.join('{image} ({label})'.format(**one) for one in group)}")
    unlike = f"{len(checked.unlike):,} are like no class"
    told.append(
        f"{checked.source}: of {checked.images:,} images {len(checked.suspects):,} labels are suspected; "
        f"{len(checked.alike):,} groups look alike and have different labels; {unlike}."
    )
    if checked.learnt:
        told.append(
            f"The model was trained on {checked.learnt:,} of them and knows their labels by heart; scores of models "
            "that have not: zoo cross-validate --out FILE.csv."
        )
    if checked.page is not None:
        told.append(f"written to {checked.page}")
    return lines(*told)


def diagnosis(source: str, report: "CheckResult") -> str:
    told = []
    for kind in dict.fromkeys(finding.kind for finding in report.findings):
        found = [finding for finding in report.findings if finding.kind == kind]
        told += [f"{'error' if f.is_error else 'remark'}  {kind}  {f.path} {f.detail}" for f in found[:10]]
        if len(found) > 10:
            told.append(f"        {kind}  and {len(found) - 10:,} more; --json lists them all")
    classes = f" of {len(report.class_names):,} classes" if LABEL_KINDS[report.task].has_classes else ""
    remarks = len(report.findings) - report.errors
    told.append(
        f"{source}: {report.images:,} images{classes} can be used; "
        f"{report.errors:,} error{'s' * (report.errors != 1)}, {remarks:,} remark{'s' * (remarks != 1)}."
    )
    return lines(*told)
