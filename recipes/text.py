"""Results as lines of text, for people; the same results as JSON are for scripts."""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from zoo import Anatomy, Card
from zoo.catalogue import macs

if TYPE_CHECKING:
    from recipes.augment import Augment
    from recipes.benchmark import Timing
    from recipes.cross_validate import CrossValidated
    from recipes.data.doctor import Report
    from recipes.embed import Embedded
    from recipes.fit import Fitted
    from recipes.inspection import Inspected
    from recipes.predict import Prediction
    from recipes.preset import Recipe
    from recipes.proof import Exported
    from recipes.tune import Tuned

_NAMED = ("name", "description", "version", "author", "license")  # of a .tflite file's metadata


SHOWN = 8  # mistakes; --json has more


def table(header: Sequence[str], rows: Iterable[Sequence[str]], right: Iterable[int] = ()) -> str:
    """Columns as wide as their widest entry; an empty header is left out. Nothing is ever cut off."""
    rows, right = list(rows), set(right)
    lines = [header, *rows] if any(header) else rows
    widths = [max(len(line[i]) for line in lines) for i in range(len(header))]
    return "\n".join(
        "  ".join(
            cell.rjust(width) if i in right else cell.ljust(width)
            for i, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    )


def size(shape: Sequence[int | None]) -> str:
    """(32, 32, 3) as `32x32x3`."""
    return "x".join("any" if n is None else str(n) for n in shape)


def short(number: float) -> str:
    """1,369,738 as `1.37M`."""
    if math.isinf(number):
        return "?"
    for limit, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if number >= limit:
            return f"{number / limit:.3g}{unit}"
    return f"{number:g}"


def models(cards: Iterable[Card]) -> str:
    rows = [
        (c.name, size(c.input_shape), f"{c.parameters:,}", short(macs(c)), str(c.paper.year), c.summary) for c in cards
    ]
    return table(["model", "picture", "parameters", "MACs", "year", "what it is"], rows, right=[2, 3])


def model(card: Card, anatomy: Anatomy) -> str:
    facts = card.to_dict()
    paper = facts["paper"]
    hidden = " > ".join(str(units) for units in facts["hidden"])
    rows = [
        ("model", card.name),
        ("what it is", card.summary),
        ("paper", f"{paper['title']} ({paper['authors']}, {paper['year']}) {paper['url']}"),
        ("picture", f"{size(card.input_shape)}, pixels 0-255"),
        ("pixels become", f"{card.scaling}, inside the model"),
        ("head", card.pooling + (f", hidden layers {hidden}" if hidden else "")),
        ("classes", str(card.classes)),
        ("parameters", f"{card.parameters:,}, of them trained {card.trainable_parameters:,}"),
        *((f"weights {w['name']}", f"{w['source']}  ({w['licence']})") for w in facts["weights"]),
        *((f"option {name}", f"{o['default']}  ({o['allowed']})") for name, o in facts["options"].items()),
        *([("notes", card.notes)] if card.notes else []),
    ]
    return f"{table(['', ''], rows)}\n\n{layers(anatomy)}"


def layers(anatomy: Anatomy) -> str:
    header = ["layer", "kind", "output", "parameters", "MACs", "sees", "stride", "unshared", "dense"]
    rows = [
        (
            layer.name,
            layer.kind,
            size(layer.output_shape),
            f"{layer.parameters:,}",
            f"{layer.macs:,}",
            size(layer.receptive_field) if layer.receptive_field else "all",
            size(layer.stride) if layer.stride else "",
            f"{layer.parameters_unshared:,}",
            f"{layer.parameters_dense:,}",
        )
        for layer in anatomy.layers
    ]
    total = (
        *("total", "", size(anatomy.input_shape), f"{anatomy.parameters:,}", f"{anatomy.macs:,}"),
        *("", "", f"{anatomy.parameters_unshared:,}", ""),
    )
    return table(header, [*rows, total], right=[3, 4, 5, 6, 7, 8])


def recipes(presets: Mapping[str, "Recipe"], augmentations: Mapping[str, "Augment"]) -> str:
    rows = [(name, str(recipe.epochs), recipe.about.summary) for name, recipe in presets.items()]
    others = [(name, augment.about.summary) for name, augment in augmentations.items()]
    return (
        table(["recipe", "epochs", "what it is for"], rows, right=[1])
        + "\n\n"
        + table(["augmentation", "what it is for"], others)
    )


def fitted(result: "Fitted") -> str:
    run, metrics = result.run.path, result.metrics
    return (
        f"{run}: {summary(metrics)} on {metrics['examples']:,} test pictures, weights of epoch {result.best_epoch}.\n"
        f"Next: zoo evaluate {run}\n      zoo export {run} --to int8\n      zoo predict {run} PICTURE..."
    )


def summary(metrics: Mapping[str, Any]) -> str:
    """The figures that matter most, in a few words."""
    match metrics.get("task", "classification"):
        case "multilabel":
            return f"mAP {metrics['map']:.2%}, F1 {metrics['f1']:.2%}, all classes right {metrics['exact']:.2%}"
        case "regression":
            known = "" if metrics["r2"] is None else f", R² {metrics['r2']:.4f}"
            return f"mean error {metrics['mae']:.4g}, squared {metrics['mse']:.4g}{known}"
    return f"accuracy {metrics['accuracy']:.2%}, loss {metrics['loss']:.4f}"


def cross_validated(result: "CrossValidated") -> str:
    other, (low, high) = result.against, result.interval
    names = [result.model, other["model"]] if other else [result.model]
    columns = [result.folds, other["folds"]] if other else [result.folds]
    rows = [(str(i + 1), *(f"{score:.4f}" for score in row)) for i, row in enumerate(zip(*columns, strict=True))]
    parts = [
        table(["fold", *names], rows, right=range(1, 1 + len(names))),
        f"{result.model}: {result.score} {result.mean:.4f} +- {result.spread:.4f}, in 95 of 100 cases "
        f"{low:.4f} to {high:.4f}",
    ]
    if other:
        parts.append(
            f"{other['model']}: {other['mean']:.4f} +- {other['spread']:.4f}; {result.model} is "
            f"{other['difference']:+.4f} from it, p {other['p']:.3g} that they are equally good "
            f"(corrected resampled t {other['t']:.2f})"
        )
    return "\n\n".join(parts)


TRIAL_COLUMNS = ["trial", "state", "score", "spread", "parameters", "MACs", "seconds", "settings"]


def trial_cells(row: Mapping[str, Any]) -> tuple[str, ...]:
    """The cells of a trial of a study, by `TRIAL_COLUMNS`."""

    def number(key: str, form: str) -> str:
        return "-" if row[key] is None else form.format(row[key])

    return (
        str(row["number"]),
        row["state"],
        number("score", "{:.4f}"),
        number("spread", "{:.4f}"),
        number("parameters", "{:,.0f}"),
        "-" if row["macs"] is None else short(row["macs"]),
        number("seconds", "{:.1f}"),
        row["why"] if row["state"] in ("skipped", "failed") else "  ".join(map(_brief, row["settings"])),
    )


def _brief(setting: str) -> str:
    """A setting with three figures of its number."""
    key, _, value = setting.partition("=")
    return f"{key}={float(value):.3g}" if "." in value and value.replace(".", "").isdecimal() else setting


def trial_line(row: Mapping[str, Any], wanted: int | None) -> str:
    """One line for a trial that has ended."""
    cells = dict(zip(TRIAL_COLUMNS, trial_cells(row), strict=True))
    of = f"/{wanted}" if wanted else ""
    score = f" {cells['score']} +- {cells['spread']}" if row["score"] is not None else ""
    return f"trial {row['number'] + 1}{of} {cells['state']}{score}  {cells['settings']}"


def trials(rows: Sequence[Mapping[str, Any]]) -> str:
    """The trials of a study, best first."""
    ordered = sorted(rows, key=lambda row: (row["state"] != "complete", -(row["score"] or 0)))
    return table(TRIAL_COLUMNS, [trial_cells(row) for row in ordered], right=range(2, 7))


def tuned(result: "Tuned") -> str:
    best, study = result.best, result.study
    front = f"front: trials {', '.join(map(str, result.front))}\n" if len(result.front) > 1 else ""
    spread = "" if best["spread"] is None else f" +- {best['spread']:.4f}"
    return (
        f"{trials(result.trials)}\n\n{front}best: trial {best['number']}, {best['score']:.4f}{spread} by "
        f"cross-validation; trained again on all of it: {summary(result.metrics)} on "
        f"{result.metrics['examples']:,} test pictures.\n"
        f"Next: zoo fit {study}/best.toml --data ...\n      zoo export {study}/best --to int8\n"
        f"Drawn in {study}/report.html"
    )


def embedded(result: "Embedded") -> str:
    count, width = result.features.shape
    lines = [f"{result.file}: {width:,} features of {count:,} pictures, {', '.join(result.arrays)}"]
    if result.same_class is not None:
        lines.append(f"{result.same_class:.1%} of the nearest pictures are of the same class")
    return "\n".join(lines)


def evaluation(metrics: Mapping[str, Any]) -> str:
    match metrics.get("task", "classification"):
        case "regression":
            return f"{summary(metrics)}, {metrics['examples']:,} pictures"
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
            classes = table(["class", "average precision", "f1", "pictures"], rows, right=[1, 2, 3])
            return f"{summary(metrics)}, {metrics['examples']:,} pictures\n\n{classes}"
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
        f"{metrics['examples']:,} pictures",
        table(["class", "precision", "recall", "f1", "pictures"], rows, right=[1, 2, 3, 4]),
        "Rows are true classes, columns are guesses:\n" + table(["", *names], matrix, right=range(1, len(names) + 1)),
    ]
    if mistakes := metrics["worst_mistakes"][:SHOWN]:
        rows = [(m["file"] or f"picture {m['index']}", m["true"], m["guess"], f"{m['score']:.1%}") for m in mistakes]
        parts.append("Worst mistakes:\n" + table(["picture", "is", "taken for", "sure"], rows, right=[3]))
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
    parts.append(f"overall {measured['overall']:.1%}; two random shifts agree on {agree:.1%} of the pictures")
    return "\n\n".join(parts)


def comparison(rows: Sequence[Mapping[str, Any]]) -> str:
    families = list(dict.fromkeys(name for row in rows for name in row["invariance"] or ()))
    kinds = list(dict.fromkeys(kind for row in rows for kind in row["exports"]))
    header = [
        "run",
        "model",
        "data",
        "test pictures",
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


def exported(result: "Exported") -> str:
    accuracy, same, of = {
        "classification": ("accuracy", "same top-1", "of {:,} test pictures"),
        "multilabel": ("labels right", "same labels", "of those of {:,} test pictures"),
        "regression": ("R²", "same number", "of the variance over {:,} test pictures"),
    }[result.task]
    changes = _class_changes(result)
    operators = ", ".join(f"{count} {name}" for name, count in result.operators.items())
    rows = [
        ("file", result.file),
        ("size", f"{result.bytes:,} bytes"),
        (accuracy, f"{result.accuracy_file:.2%} (Keras model {result.accuracy_keras:.2%})"),
        (same, f"{result.agreement:.2%} {of.format(result.pictures)}"),
        ("difference", f"at most {result.max_difference:.2g} of a score, {result.mean_difference:.2g} in the mean"),
        *([("by class", f"{', '.join(changes[:8])} points" if changes else "no change")] if result.per_class else []),
        *([("operators", operators)] if operators else []),
    ]
    return table(["", ""], rows)


def _class_changes(result: "Exported") -> list[str]:
    """Classes whose accuracy in the file is not the model's and by how many points, the worst first."""
    points = {name: 100 * (share["file"] - share["keras"]) for name, share in result.per_class.items()}
    return [f"{name} {change:+.1f}" for name, change in sorted(points.items(), key=lambda item: item[1]) if change]


def all_exported(passed: Sequence["Exported"], failed: Mapping[str, str]) -> str:
    header = ["kind", "bytes", "agreement", "accuracy", "Keras", "by class, worst", "largest", "mean", "file"]
    rows = [
        (
            r.kind,
            f"{r.bytes:,}",
            f"{r.agreement:.2%}",
            f"{r.accuracy_file:.2%}",
            f"{r.accuracy_keras:.2%}",
            next(iter(_class_changes(r)), "no change"),
            f"{r.max_difference:.1e}",
            f"{r.mean_difference:.1e}",
            r.file,
        )
        for r in passed
    ]
    return "\n".join([table(header, rows, range(1, 8)), *(f"{kind}: {why}" for kind, why in failed.items())])


def inspected(result: "Inspected") -> str:
    def tensor(facts: Mapping[str, Any]) -> str:
        shape = "x".join("any" if n == -1 else str(n) for n in facts["shape"])
        scaled = "" if facts["scale"] is None else f", scale {facts['scale']:.6g}, zero point {facts['zero_point']}"
        return f"{facts['dtype']} {shape}{scaled}"

    weights, named = result.quantised_weights, {key: result.metadata.get(key) for key in _NAMED}
    rows = [
        ("file", f"{result.file}, {result.bytes:,} bytes"),
        *((key, str(value)) for key, value in named.items() if value),
        *(("input", tensor(facts)) for facts in result.inputs),
        *(("output", tensor(facts)) for facts in result.outputs),
        ("labels", ", ".join(result.labels) or "none"),
        ("resize", str(result.facts.get("resize", "not said"))),
        ("quantised", f"{weights['tensors']} constants, {weights['per_channel']} of them per channel"),
        ("MACs", f"{result.macs:,}"),
        ("arena", f"{result.arena_bytes:,} bytes at least"),
        ("operators", ", ".join(f"{count} {name}" for name, count in result.operators.items())),
    ]
    layers = [(name, f"{size:,}") for name, size in result.layers.items()]
    return f"{table(['', ''], rows)}\n\n{table(['layer', 'bytes'], layers, right=[1])}"


def timings(results: Sequence["Timing"]) -> str:
    rows = [
        (
            r.file,
            str(r.threads) if r.threads else r.kind,
            f"{r.median_ms:.3f}",
            f"{r.p95_ms:.3f}",
            f"{r.ratio:.2f}",
            f"{r.bytes:,}",
            f"{r.arena_bytes:,}" if r.arena_bytes else "",
        )
        for r in results
    ]
    return table(["file", "threads", "median ms", "p95 ms", "ratio", "bytes", "arena"], rows, range(1, 7))


def predictions(results: Iterable["Prediction"]) -> str:
    rows = [
        (p.image, "  ".join(f"{name} {score:.1%}" if p.shares else f"{name} {score:.4g}" for name, score in p.guesses))
        for p in results
    ]
    return table(["picture", "best guesses"], rows)


def diagnosis(source: str, report: "Report") -> str:
    lines = []
    for kind in dict.fromkeys(finding.kind for finding in report.findings):
        found = [finding for finding in report.findings if finding.kind == kind]
        lines += [f"{'error' if f.is_error else 'remark'}  {kind}  {f.path} {f.detail}" for f in found[:10]]
        if len(found) > 10:
            lines.append(f"        {kind}  and {len(found) - 10:,} more; --json lists them all")
    classes = "" if report.task == "regression" else f" of {len(report.class_names):,} classes"
    remarks = len(report.findings) - report.errors
    lines.append(
        f"{source}: {report.pictures:,} pictures{classes} can be used; "
        f"{report.errors:,} error{'s' * (report.errors != 1)}, {remarks:,} remark{'s' * (remarks != 1)}."
    )
    return "\n".join(lines)
