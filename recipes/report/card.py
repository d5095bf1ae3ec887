"""A run's model card: `CARD.md`, whose head Hugging Face reads.

The sections are those of Mitchell and others 2019, https://arxiv.org/abs/1810.03993, as far as a run knows something
for them; the head is that of https://huggingface.co/docs/hub/model-cards. Who trains the model writes the rest.
"""

import json
from collections.abc import Iterable, Sequence
from typing import Any

from recipes.report.limits import not_for, right_for
from recipes.report.sections import Page, command_to_reproduce
from recipes.tasks import task_of
from recipes.tasks.selective import wilson
from zoo.registry import get_card, list_models

MOST_CLASSES = 100  # in the table
TASKS = {"classification": "image-classification", "multilabel": "image-classification"}  # in the words of the hub
# By the licences of published weights: the identifiers of https://huggingface.co/docs/hub/repositories-licenses.
LICENCES = {"Apache-2.0": "apache-2.0", "MIT": "mit", "BSD-3-Clause": "bsd-3-clause", "CC-BY-4.0": "cc-by-4.0"}


def model_card(page: Page) -> str:
    """The card, Markdown below a head in YAML."""
    recipe, m = page.recipe, page.metrics
    title = f"{recipe.model.name} on {recipe.data.source}"
    parts = [
        f"---\n{_head(page)}---",
        f"# {title}",
        _details(page),
        "## Intended use",
        _items(right_for(m, recipe.data.source)),
        "Not for:",
        _items(not_for(m, recipe.data.source, page.sure_from)),
        "## Metrics",
        _metrics(page),
        "## Evaluation data",
        f"{m['examples']:,} test images of `{recipe.data.source}`, which no part of the training saw.",
        "## Training data",
        _training(page),
        "## How to use it",
        _use(page),
        "## Caveats",
        _caveats(page),
        "## How to train it again",
        f"```\n{command_to_reproduce(page.run, recipe)}\n```",
    ]
    return "\n\n".join(parts) + "\n"


def _head(page: Page) -> str:
    """YAML whose values are JSON, which YAML reads."""
    recipe, m = page.recipe, page.metrics
    task = TASKS.get(page.data.task)
    head: dict[str, Any] = {"library_name": "keras", "tags": ["convzoo", "convolutional", recipe.model.name]}
    if task:
        head["pipeline_tag"] = task
    if (licence := _starting_licence(page)) in LICENCES:
        head["license"] = LICENCES[licence]
    measured = {"accuracy": m.get("accuracy"), "mean_average_precision": m.get("map"), "mse": m.get("mse")}
    result = {
        "task": {"type": task or "image-regression"},
        "dataset": {"type": recipe.data.source, "name": recipe.data.source, "split": "test"},
        "metrics": [{"type": key, "value": value} for key, value in measured.items() if value is not None],
    }
    head["model-index"] = [{"name": page.run.path.resolve().name, "results": [result]}]
    return "".join(f"{key}: {json.dumps(value, ensure_ascii=False)}\n" for key, value in head.items())


def _details(page: Page) -> str:
    recipe = page.recipe
    anatomy = page.anatomy
    facts = {
        "Answers": task_of(page.metrics).answer(page.data.class_names),
        "Architecture": _architecture(recipe.model.name),
        "Image": "x".join(map(str, recipe.data.image_shape)) + ", pixels 0-255, normalised inside the model",
        "Resize rule": f"`{recipe.data.resize}`",
        "Parameters": f"{page.model.count_params():,}",
        "Multiply-adds": f"{anatomy.macs:,}",
        "Starting weights": _starting_weights(page),
        "Learned from, beside the labels": recipe.distill.in_words if recipe.distill else "",
        "Trained with": ", ".join(f"{name} {version}" for name, version in recipe.versions.items()),
        "Seed": str(recipe.seed),
    }
    return "## Model details\n\n" + _items(f"**{name}**: {value}" for name, value in facts.items() if value)


def _architecture(name: str) -> str:
    if name not in list_models():
        return name
    card = get_card(name)
    paper = card.paper
    return name if paper is None else f"{name}, [{paper.title}]({paper.url}) ({paper.authors}, {paper.year})"


def _starting_weights(page: Page) -> str:
    recipe = page.recipe
    if recipe.model.weights:
        licence = _starting_licence(page)
        return f"`{recipe.model.weights}`, licence {licence}" if licence else f"`{recipe.model.weights}`"
    if recipe.finetune and recipe.finetune.source:
        return f"those of `{recipe.finetune.source}`; their licence is not known here"
    return "random"


def _starting_licence(page: Page) -> str:
    model = page.recipe.model
    weights = get_card(model.name).weights if model.name in list_models() else ()
    return next((one.licence for one in weights if one.name == model.weights), "")


def _metrics(page: Page) -> str:
    m = page.metrics
    parts = [_table(("metric", "value"), task_of(m).facts(m).items())]
    per_class = m.get("per_class", {})
    if per_class and "recall" in next(iter(per_class.values())):
        classes = []
        for name, row in list(per_class.items())[:MOST_CLASSES]:
            low, high = wilson(round(row["recall"] * row["support"]), row["support"])
            known = (f"{row['precision']:.1%}", f"{row['recall']:.1%}", f"{low:.1%} to {high:.1%}", f"{row['f1']:.1%}")
            classes.append((name, *known, f"{row['support']:,}"))
        more = f" (the first {MOST_CLASSES} of {len(per_class):,})" if len(per_class) > MOST_CLASSES else ""
        parts.append(f"By class{more}; the interval is of the recall, at 95 %:")
        parts.append(_table(("class", "precision", "recall", "interval", "F1", "images"), classes))
    if invariance := m.get("invariance"):
        kept = [(name, f"{f['score']:.1%}") for name, f in invariance.items() if isinstance(f, dict)]
        parts.append("Of the accuracy is kept, on average over the movements that `zoo evaluate --invariance` makes:")
        parts.append(_table(("movement", "kept"), kept))
    return "\n\n".join(parts)


def _training(page: Page) -> str:
    sizes, recipe = page.data.sizes, page.recipe
    told = [
        f"`{recipe.data.source}`: {sizes['train']:,} images to train, {sizes['validation']:,} to validate (which "
        f"chose the epoch), {sizes['test']:,} to test. Parts that the set does not bring are drawn with the seed "
        f"{recipe.data.split_seed}; copies of an image, exact or near, come into one part.",
        f"{len(page.run.history):,} epochs, {'no' if recipe.augment.is_identity else 'with'} augmentation.",
    ]
    return "\n\n".join(told)


def _use(page: Page) -> str:
    run = page.run.path
    told = f"```\nzoo predict {run} IMAGE...\nzoo export {run} --to int8\n```"
    rows = [
        (f"`{kind}`", f"{e.get('bytes', 0):,}", f"{e['accuracy_file']:.2%}", f"{e['agreement']:.2%}")
        for kind, e in page.run.exports.items()
        if "accuracy_file" in e and "agreement" in e
    ]
    return told + ("\n\n" + _table(("export", "bytes", "accuracy", "same answer as the model"), rows) if rows else "")


def _caveats(page: Page) -> str:
    told = [
        "The test images come from the source of the training images: on images from elsewhere it is less often right.",
        "Nothing was measured by groups of people, places or cameras: `zoo evaluate RUN --data` scores one at a time.",
    ]
    if page.data.skipped:
        told.append(f"{len(page.data.skipped):,} files that could not be used were left out.")
    return _items(told)


def _items(sentences: Iterable[str]) -> str:
    return "\n".join(f"- {sentence}" for sentence in sentences)


def _table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(_cell(cell) for cell in line)} |" for line in lines)


def _cell(text: str) -> str:
    return " ".join(str(text).split()).replace("|", "\\|")
