"""The sections of a run's report: each makes its piece of HTML from the run, or nothing."""

import csv
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from recipes.augment.preview import vary
from recipes.config.settings import Recipe
from recipes.data import Data
from recipes.evaluate.inside import feature_maps, first_kernels, grad_cam
from recipes.report import charts
from recipes.run.folder import Run
from recipes.tasks.tasks import TASKS

if TYPE_CHECKING:
    import keras

SAMPLES = 20  # images of the data
VARIED, DRAWS = 4, 5  # images that are augmented, and how often each
LOOKED_AT = 8  # images with a saliency map
LARGEST_MATRIX = 40  # classes


@dataclass(frozen=True, eq=False)
class Page:
    """What the sections are made from."""

    run: Run
    recipe: Recipe
    model: "keras.Model"
    data: Data
    metrics: dict[str, Any]

    @cached_property
    def history(self) -> list[dict[str, float]]:
        file = self.run.path / "history.csv"
        if not file.is_file():
            return []
        with file.open(encoding="utf-8", newline="") as lines:
            return [{key: _number(value) for key, value in row.items()} for row in csv.DictReader(lines)]

    @cached_property
    def mistakes(self) -> list[dict[str, Any]]:
        return [m for m in self.metrics.get("worst_mistakes", []) if m["index"] < len(self.data.test)]

    def label(self, of: Any) -> str:
        """A label of the data in words."""
        return self.data.label_kind.text(of, self.data.class_names)

    @cached_property
    def classifies(self) -> bool:
        return self.data.task == "classification"


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return float("nan")


def _summary(page: Page) -> str:
    from zoo.anatomy import dissect

    m, anatomy = page.metrics, dissect(page.model)
    facts = _figures(m)
    if "invariance" in m:
        facts["Invariance, overall"] = f"{m['invariance']['overall']:.1%}"
    facts |= {
        "Parameters": f"{page.model.count_params():,}",
        "Multiply-adds": f"{anatomy.macs:,}",
        "Image": "x".join(map(str, page.recipe.data.image_shape)),
        "Training images": f"{len(page.data.train):,}",
        "Validation images": f"{len(page.data.validation):,}",
        "Test images": f"{m['examples']:,}",
        "Epochs": f"{len(page.history):,}",
        "Seed": str(page.recipe.seed),
    }
    listed = "".join(f"<div><dt>{escape(name)}</dt><dd>{escape(value)}</dd></div>" for name, value in facts.items())
    return f"<dl>{listed}</dl>\n{_each_class(m)}"


def _figures(m: Mapping[str, Any]) -> dict[str, str]:
    """The figures of the test images, by what they are called."""
    task = m.get("task", "classification")
    if task == "regression":
        known = {} if m["r2"] is None else {"R²": f"{m['r2']:.4f}"}
        return {"Mean error": f"{m['mae']:.4g}", "Mean squared error": f"{m['mse']:.4g}"} | known
    if task == "multilabel":
        return {
            "Mean average precision": f"{m['map']:.2%}",
            "F1": f"{m['f1']:.2%}",
            "F1, mean of the classes": f"{m['f1_macro']:.2%}",
            "All classes right": f"{m['exact']:.2%}",
        }
    low, high = m["accuracy_interval"]
    return {
        "Test accuracy": f"{m['accuracy']:.2%}",
        "95 % interval": f"{low:.1%} to {high:.1%}",
        f"Top-{m['top_k']['k']} accuracy": f"{m['top_k']['accuracy']:.2%}",
        "Log loss": f"{m['loss']:.4f}",
        "Calibration error": f"{m['calibration_error']:.2%}",
    }


def _each_class(m: Mapping[str, Any]) -> str:
    if "per_class" not in m:
        return ""
    keys = [key for key in next(iter(m["per_class"].values())) if key != "support"]
    rows = [
        (name, *("-" if c[key] is None else f"{c[key]:.1%}" for key in keys), f"{c['support']:,}")
        for name, c in m["per_class"].items()
    ]
    header = ["class", *(key.replace("_", " ") for key in keys), "images"]
    return _folded(f"Each of the {len(rows):,} classes", charts.table(header, rows, "Figures of each class"))


def _samples(page: Page) -> str:
    train = page.data.train
    rows = page.data.label_kind.in_turn(train.labels, SAMPLES)
    return charts.gallery(
        charts.image(train.images[row], f"Training image of class {name}", name)
        for row in rows
        for name in [page.label(train.labels[row])]
    )


def _augmentation(page: Page) -> str:
    augment, train = page.recipe.augment, page.data.train
    if augment.is_identity and not augment.mixes:
        return "<p>None: images were used as they are.</p>"
    rows = page.data.label_kind.in_turn(train.labels, VARIED)
    originals = np.asarray(train.images[rows])
    cells, captions = vary(originals, augment, columns=DRAWS, seed=page.recipe.seed)
    lines = []
    for i, row in enumerate(rows):
        name = page.label(train.labels[row])
        shown = [charts.image(originals[i], f"Class {name} as it is", f"{name}, as it is")]
        for cell, caption in zip(cells, captions[i], strict=True):
            words = caption.replace("\n", ", ")
            shown.append(charts.image(cell[i], f"Class {name}: {words}", words))
        lines.append(charts.gallery(shown))
    return "".join(lines)


def _learning(page: Page) -> str:
    if not page.history:
        return ""

    def curve(key: str) -> list[tuple[float, float]]:
        return [(row.get("epoch", i + 1), row[key]) for i, row in enumerate(page.history) if key in row]

    watched = TASKS[page.data.task].watched
    drawn = [
        charts.line_chart(
            watched.capitalize().replace("_", " "),
            {"training": curve(watched), "validation": curve(f"val_{watched}")},
            x="epoch",
            percent=page.data.task != "regression",
        ),
        charts.line_chart("Loss", {"training": curve("loss"), "validation": curve("val_loss")}, x="epoch"),
        charts.line_chart("Learning rate", {"learning rate": curve("learning_rate")}, x="epoch"),
    ]
    varied = not page.recipe.augment.is_identity
    note = "<p>Training figures are of augmented images, which are harder.</p>" if varied else ""
    return f'{note}<div class="charts">{"".join(drawn)}</div>'


def _confusion(page: Page) -> str:
    if not page.classifies:
        return ""
    names, counts = page.metrics["class_names"], np.array(page.metrics["confusion_matrix"])
    wrong = counts - np.diag(np.diag(counts))
    order = [divmod(int(i), len(names)) for i in np.argsort(-wrong, axis=None, kind="stable")[:20]]
    pairs = [(names[t], names[g], f"{wrong[t, g]:,}") for t, g in order if wrong[t, g]]
    listed = charts.table(["true class", "taken for", "images"], pairs, "Most frequent confusions") if pairs else ""
    if len(names) <= LARGEST_MATRIX:
        drawn = charts.matrix(counts.tolist(), names, "Rows are true classes, columns are guesses.")
        return drawn + (_folded("Most frequent confusions", listed) if pairs else "")
    share = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    alt = "Confusion matrix; its largest errors are in the table"
    image = charts.image(np.uint8(np.round(255 * share)), alt)
    return f"{charts.gallery([image], kind='wide')}{listed}"


def _mistakes(page: Page) -> str:
    if not page.classifies:
        return ""
    if not page.mistakes:
        return "<p>None: every test image was put into its class.</p>"
    shown = []
    for m in page.mistakes:
        name = Path(m["file"]).name if m["file"] else f"test image {m['index']}"
        caption = f"{m['true']} taken for {m['guess']}, {m['score']:.0%} sure ({name})"
        shown.append(charts.image(page.data.test.images[m["index"]], caption, caption))
    return (
        "<p>The wrong guesses that the model was surest of. Now and then it is the label that is wrong.</p>"
        + charts.gallery(shown)
    )


def _invariance(page: Page) -> str:
    if not page.classifies:
        return ""
    measured = page.metrics.get("invariance")
    if not measured:
        command = shlex.join(["zoo", "evaluate", str(page.run.path), "--invariance"])
        return f"<p>Not measured. This measures it:</p><pre><code>{escape(command)}</code></pre>"
    drawn, tables = [], []
    for name, family in ((n, f) for n, f in measured.items() if isinstance(f, dict)):
        values, title = family["values"], f"{name.capitalize()}: {family['score']:.1%} of the accuracy is kept"
        if not isinstance(values[0], str):
            near = [i for i, value in enumerate(values) if name != "rotation" or abs(value) <= 45]
            lines = {k: [(values[i], family[k][i]) for i in near] for k in ("accuracy", "consistency")}
            drawn.append(charts.line_chart(title, lines, x=AXES.get(name, name), percent=True))
        texts = [value if isinstance(value, str) else f"{value:g}" for value in values]
        shares = [[f"{share:.1%}" for share in family[key]] for key in ("accuracy", "consistency")]
        drops = [f"{drop:+.3f}" for drop in family["score_drop"]]
        rows = list(zip(texts, *shares, drops, strict=True))
        tables.append(charts.table([AXES.get(name, name), "accuracy", "same answer", "loss of score"], rows, title))
    overall = f"Overall {measured['overall']:.1%} of the accuracy is kept."
    return (
        f'<p>{overall}</p><div class="charts">{"".join(drawn)}</div>{_folded("Invariance as tables", "".join(tables))}'
    )


AXES = {"rotation": "degrees", "translation": "share of the size", "scale": "factor", "affine": "strength"}


def _inside(page: Page) -> str:
    kernels = first_kernels(page.model)
    right = page.data.test.images[page.mistakes[0]["index"] if page.mistakes else 0]
    parts = []
    if kernels is not None:
        shown = (charts.image(kernel, f"Kernel {i + 1}") for i, kernel in enumerate(kernels))
        parts.append("<h3>Kernels of the first convolution</h3><p class='quiet'>Grey is zero.</p>")
        parts.append(charts.gallery(shown, kind="small"))
    stages = feature_maps(page.model, right)
    if stages:
        parts.append("<h3>Feature maps of one image</h3>" + charts.gallery([charts.image(right, "The image")]))
    for stage in stages:
        height, width = stage.maps.shape[1:]
        kept = f"{len(stage.maps)} of {stage.channels}" if len(stage.maps) < stage.channels else f"{stage.channels}"
        shown = (charts.image(m, f"Feature map {i + 1} of {stage.layer}") for i, m in enumerate(stage.maps))
        parts.append(f"<p>{escape(stage.layer)}: {kept} maps of {height}x{width}</p>")
        parts.append(charts.gallery(shown, kind="small"))
    return "".join(parts) or f"<p>{escape(page.recipe.model.name)} has neither convolutions nor feature maps.</p>"


def _saliency(page: Page) -> str:
    if not page.classifies:
        return ""
    test = page.data.test
    rows = [m["index"] for m in page.mistakes[: LOOKED_AT // 2]]
    others = page.data.label_kind.in_turn(test.labels, LOOKED_AT)
    rows += [int(row) for row in others if row not in rows][: LOOKED_AT - len(rows)]
    images = np.asarray(test.images[rows])
    guesses = page.model.predict(images, verbose=0).argmax(1)
    strengths = grad_cam(page.model, images, guesses)
    if strengths is None:
        return "<p>The network has no feature map of at least 4x4 to tell where it looked.</p>"
    shown = []
    for image, strength, guess, row in zip(images, strengths, guesses, rows, strict=True):
        caption = f"{page.label(test.labels[row])}, taken for {page.label(guess)}"
        shown.append(charts.image(image, f"Test image of class {caption}", caption))
        shown.append(charts.image(charts.heat(image, strength), f"What spoke for {page.label(guess)}", "Grad-CAM"))
    return "<p>Bright is what spoke for the guessed class (Grad-CAM).</p>" + charts.gallery(shown)


def _equivariance(page: Page) -> str:
    measured = page.metrics.get("equivariance")
    if not measured:
        return ""
    rows = [(row["layer"], "x".join(map(str, _pair(row["stride"]))), f"{row['error']:.3f}") for row in measured]
    points = [(i + 1, row["error"]) for i, row in enumerate(measured)]
    chart = charts.line_chart("Equivariance error by layer", {"error": points}, x="layer", percent=False)
    about = "How far the maps of a shifted image are from the shifted maps: 0 not at all, 1 as far as strangers."
    return f"<p>{about}</p>{chart}" + charts.table(["layer", "stride", "error"], rows, "Equivariance error")


def _pair(stride: Any) -> tuple[int, ...]:
    return tuple(stride) if isinstance(stride, (list, tuple)) else (stride,)


def _exports(page: Page) -> str:
    rows = [_export_row(export) for export in page.run.exports.values() if "file" in export]
    if not rows:
        return ""
    header = ["file", "bytes", "accuracy", "of the model", "same answer", "largest difference"]
    return charts.table(header, rows, "Files")


def _export_row(export: Mapping[str, Any]) -> tuple[str, ...]:
    shares = (f"{export[k]:.2%}" if k in export else "" for k in ("accuracy_file", "accuracy_keras", "agreement"))
    largest = f"{export['max_difference']:.2g}" if "max_difference" in export else ""
    return Path(export["file"]).name, f"{export.get('bytes', 0):,}", *shares, largest


def command_to_reproduce(run: Run, recipe: Recipe) -> str:
    """What trains the same again; the run's own recipe.toml holds every setting."""
    words = ["zoo", "fit", recipe.model.name, "--data", recipe.data.source, "--recipe", str(run.path / "recipe.toml")]
    words += ["--resize", recipe.data.resize] if recipe.data.resize != "fill" else []
    words += ["--skip-bad"] if recipe.data.skip_bad else []
    return shlex.join([*words, "--out", f"{run.path}-again"])


def _reproduce(page: Page) -> str:
    command = command_to_reproduce(page.run, page.recipe)
    recipe = (page.run.path / "recipe.toml").read_text("utf-8")
    return f"<pre><code>{escape(command)}</code></pre>" + _folded(
        "recipe.toml: every setting of this training", f"<pre><code>{escape(recipe)}</code></pre>"
    )


def _folded(summary: str, content: str) -> str:
    return f"<details><summary>{escape(summary)}</summary>{content}</details>"


SECTIONS = {
    "Summary": _summary,
    "Data": _samples,
    "Augmentation": _augmentation,
    "Learning curves": _learning,
    "Confusion matrix": _confusion,
    "Worst mistakes": _mistakes,
    "Invariance": _invariance,
    "Shift equivariance": _equivariance,
    "Inside the network": _inside,
    "Saliency": _saliency,
    "Exports": _exports,
    "Reproduce": _reproduce,
}
