"""Writes what is derived from the code: `zoo/facts/`, `docs/models.md`, a page a family in `docs/models/`, and tables.

python docs/generate.py            # everything; builds every model once, minutes
python docs/generate.py lenet5     # the facts of some models, and all pages
"""

import ast
import importlib
import inspect
import json
import re
import sys
from collections import Counter, defaultdict
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, Literal, get_args, get_origin

if TYPE_CHECKING:
    from recipes.export.kinds import Budget
    from zoo import Anatomy
    from zoo.cards import Weights
    from zoo.results import Result

DOCS = Path(__file__).parent
FACTS = DOCS.parent / "zoo" / "facts"
COMMAND = "Written by `python docs/generate.py`."
KINDS_BEGIN, KINDS_END = "<!-- kinds: written by `python docs/generate.py` -->", "<!-- end of kinds -->"
ROWS_BEGIN, ROWS_END = "<!-- rows: written by `python docs/generate.py --pages` -->", "<!-- end of rows -->"
MEASURED = DOCS.parent / "zoo" / "measured"


def write_facts(names: list[str]) -> None:
    """One file a model, what `zoo.describe` and `zoo list` read."""
    from zoo.anatomy import to_lines

    FACTS.mkdir(exist_ok=True)
    for name in names:
        (FACTS / f"{name}.jsonl").write_text(to_lines(built(name)), "utf-8")
        print(name, file=sys.stderr, flush=True)


def built(name: str) -> "Anatomy":
    """The anatomy of a model that is built for it, without the time and memory that its weights would take."""
    import keras

    import zoo
    from zoo.anatomy import dissect

    keras.backend.clear_session()  # layers without a name are numbered from the start
    with keras.StatelessScope(initialize_variables=False):
        return dissect(zoo.create_model(name))


def pages() -> dict[str, str]:
    """The text of every generated page, by its path below docs/. Reads cards and facts only."""
    import zoo

    cards = [zoo.get_card(name) for name in zoo.list_models()]
    families = defaultdict(list)
    for card in cards:
        families[card.family].append(card)
    texts = {"models.md": _overview(cards), "recipes.md": _recipes(), "settings.md": _settings(), "api.md": _api()}
    texts |= {"export.md": _export(), "results.md": _results()}
    for family, members in families.items():
        texts[f"models/{family}.md"] = _family_page(family, members)
    return texts


def _overview(cards: list) -> str:
    from zoo.anatomy import totals
    from zoo.receptive_field import in_words

    lines = [
        "# Models",
        "",
        f"{COMMAND} Parameters count all weights at the card's own settings; MACs are multiply-adds for one image; "
        "the receptive field is that of a unit of the last feature map, in pixels, along paths that keep places apart.",
        "",
        "| model | image | parameters | MACs | receptive field | paper | weights |",
        "|---|---|---:|---:|---|---|---|",
    ]
    for card in cards:
        counts = totals(card.name)
        seen = in_words(counts.get("receptive_field"), counts.get("whole_image"))
        lines.append(
            f"| [`{card.name}`](models/{card.family}.md) | {_size(card.input_shape)} | {card.parameters:,} "
            f"| {counts.get('macs', 0):,} | {seen} "
            f"| [{card.paper.authors} {card.paper.year}]({card.paper.url}) | {_weights(card)} |"
        )
    return "\n".join(lines) + "\n"


def _recipes() -> str:
    from recipes.config.presets import (
        list_augmentations,
        list_finetunings,
        list_recipes,
        load_augmentation,
        load_recipe,
    )

    lines = [
        "# Recipes",
        "",
        f"{COMMAND} `zoo recipes NAME` prints one with everything in it; `--set KEY=VALUE` changes one of its "
        "[settings](settings.md).",
        "",
    ]
    named = {name: load_recipe(name) for name in list_recipes()}
    named |= {f"finetune/{name}": load_recipe(name, kind="finetune") for name in list_finetunings()}
    for name, recipe in named.items():
        about = recipe.about
        lines += [f"## {name}", "", about.summary, ""]
        lines += [f"Source: {about.source}", ""] if about.source else []
        measured = f" Measured with `{about.command}`." if about.command else ""
        lines += [f"Reaches: {about.reaches}{measured}", ""] if about.reaches else []
    lines += ["## Augmentations", "", "| name | what it is for | source | advice |", "|---|---|---|---|"]
    for name in list_augmentations():
        about = load_augmentation(name).about
        lines.append(f"| `{name}` | {about.summary} | {about.source} | {about.advice} |")
    return "\n".join(lines) + "\n"


def _settings() -> str:
    from recipes.augment import Augment
    from recipes.config.settings import DataRules, Distill, FineTune, Model, Optimizer, Recipe, Schedule, Unknown

    lines = [
        "# Settings of a recipe",
        "",
        f"{COMMAND} What stands before the last dot is a table in a recipe's TOML file; at the command line, all are "
        "`--set optimizer.learning_rate=3e-4`. Below `augment`, a table is switched on by naming any setting of it: "
        '`--set augment.blur.probability=0.5`; `augment = "natural"` takes a named [augmentation](recipes.md).',
        "",
    ]
    tables = {"": Recipe, "model": Model, "data": DataRules, "optimizer": Optimizer, "schedule": Schedule}
    tables["augment"] = Augment
    operations = {f"augment.{name}": _table_in(Augment, name) for name in Augment.model_fields if name != "about"}
    tables |= {name: table for name, table in operations.items() if table}
    tables |= {"finetune": FineTune, "unknown": Unknown, "distill": Distill}
    for table, kind in tables.items():
        lines += [f"## {table or 'The recipe itself'}", "", "| setting | default | what it is |", "|---|---|---|"]
        for name, field in kind.model_fields.items():
            key = f"{table}.{name}".lstrip(".")
            of_a_run = key in ("versions", "plugin", "finetune.source", "distill.digests")
            if not of_a_run and not _table_in(kind, name):
                default = "needed" if field.is_required() else json.dumps(field.default)
                lines.append(f"| `{key}` | {default.replace('null', 'none')} | {_meaning(kind, name)} |")
        lines.append("")
    return "\n".join(lines)


def _export() -> str:
    """The page on export as it stands, with the table of kinds between its two marks."""
    from recipes.export.kinds import KINDS

    rows = ["| `--to` | what it is | ending | verified by | usual budget |", "|---|---|---|---|---|"]
    for kind in KINDS.values():
        needed = f"; needs `pip install 'convzoo[{kind.extra}]'`" if kind.extra else ""
        ending = f"`{kind.ending}`" if kind.ending else "a folder"
        rows.append(f"| `{kind.name}` | {kind.summary}{needed} | {ending} | {kind.runner} | {_limits(kind.budget)} |")
    return _between("export.md", KINDS_BEGIN, KINDS_END, rows)


def _between(page: str, begin: str, end: str, lines: list[str]) -> str:
    """A page as it stands, with these lines between two marks."""
    before, mark, rest = (DOCS / page).read_text("utf-8").partition(begin)
    _, _, after = rest.partition(end)
    return "\n".join([f"{before}{mark}", "", *lines, "", f"{end}{after}"])


def measured() -> dict[str, str]:
    """What `zoo list --results` reads: for each file of rows in docs/results/, the means over seeds."""
    from zoo.results import read_rows, summarize, to_lines

    return {file.name: to_lines(summarize(read_rows(file))) for file in sorted((DOCS / "results").glob("*.jsonl"))}


def results_table(results: "list[Result]", models: str = "models/") -> list[str]:
    """Lines of Markdown, a row for each model and recipe; `models` leads to the pages of models."""
    import zoo

    lines = [
        "| model | image | recipe | seeds | accuracy % | from | to | int8 % | agree % | calibration error "
        "| turned | shifted | scaled | mirrored | parameters | MACs | int8 bytes | arena bytes | latency | seconds |",
        "|---|---|---" + "|---:" * 17 + "|",
    ]
    for one in results:
        copies = f", copies {one.symmetry}" if one.symmetry else ""
        cells = [f"[{one.model}]({models}{zoo.get_card(one.model).family}.md#{one.model}){copies}"]
        cells += [_size(one.image), one.recipe, str(one.seeds), one.accuracy_in_words]
        cells += [f"{100 * share:.1f}" for share in (*one.interval, one.int8_accuracy, one.agreement)]
        moved = [one.invariance[family] for family in ("rotation", "translation", "scale", "mirror")]
        cells += [f"{number:.3f}" for number in (one.calibration_error, *moved)]
        cells += [f"{n:,}" for n in (one.parameters, one.macs, one.int8_bytes, one.arena_bytes)]
        cells += [f"{one.latency_ratio:.2f}", f"{one.seconds:.0f}"]
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def _results() -> str:
    """The page on results as it stands, with a section for each set."""
    from zoo.results import read_rows

    sets = {file.stem: read_rows(file) for file in sorted((DOCS / "results").glob("*.jsonl"))}
    lines = [line for name in sets for line in results_on(name, sets)]
    return _between("results.md", ROWS_BEGIN, ROWS_END, lines)


def results_on(name: str, sets: Mapping[str, list[dict[str, Any]]]) -> list[str]:
    """The section of one set; what it lacks is what another set has of the same recipes."""
    from zoo.results import summarize

    rows = sets[name]
    models, recipes = {row["model"] for row in rows}, {row["recipe"] for row in rows}
    elsewhere = {row["model"] for others in sets.values() for row in others if row["recipe"] in recipes}
    lacking = ", ".join(f"`{model}`" for model in sorted(elsewhere - models))
    good = [row for row in rows if "failed" not in row]
    failed = [row for row in rows if "failed" in row]
    seeds = Counter(row["seed"] for row in rows)
    counts = ", ".join(f"{count} of seed {seed}" for seed, count in sorted(seeds.items()))
    commits = ", ".join(dict.fromkeys(row["commit"] for row in good))
    machines = "; ".join(dict.fromkeys(row["machine"] for row in good))
    images = ", ".join(dict.fromkeys(f"{row['test_images']:,}" for row in good))
    lines = [
        f"## {name}",
        "",
        f"Models: {len(models)}. Trainings: {len(rows)} ({counts}), {len(failed)} failed. Test "
        f"images: {images}. The rows, each with its command, are in [{name}.jsonl](results/{name}.jsonl). "
        f"{machines}; at {commits}." + (f" Not trained on this set: {lacking}." if lacking else ""),
        "",
        f"<!-- plots: {name} -->",
        "",
        *results_table(summarize(good)),
        "",
    ]
    lines += [f"- `{row['model']}`, seed {row['seed']}, failed: {row['failed']}" for row in failed]
    return [*lines, *([""] if failed else [])]


def _limits(budget: "Budget") -> str:
    limits = [f"agreement at least {100 * budget.agreement:g} %"] if budget.agreement > 0 else []
    if budget.drop < 1:
        points = "point" if budget.drop == 0.01 else "points"
        limits.append(f"at most {100 * budget.drop:g} {points} of accuracy lost")
    return ", ".join(limits)


def _table_in(kind: type, name: str) -> type | None:
    """The class of a setting that is a table of settings itself."""
    annotation = kind.model_fields[name].annotation
    kinds = [part for part in (annotation, *get_args(annotation)) if hasattr(part, "model_fields")]
    return kinds[0] if kinds else None


def _meaning(kind: type, name: str) -> str:
    """What the docstring of its class, or of one that this extends, says of a setting; else its choices."""
    for one in kind.__mro__:
        for names, text in re.findall(r"^ {4}([\w, ]+): (.+(?:\n {8}.+)*)", inspect.cleandoc(one.__doc__ or ""), re.M):
            if name in names.split(", "):
                return " ".join(text.split()).replace("|", "\\|")
    annotation = kind.model_fields[name].annotation
    return ", ".join(f"`{choice}`" for choice in get_args(annotation)) if get_origin(annotation) is Literal else ""


STABLE = """\
What is named here is public, as are the options of `zoo`, its exit codes (0, 1 for what did not succeed, 2 for what
cannot be done as asked), what `--json` prints, the [settings](settings.md) of a recipe, the files of a run and their
keys, the names of [models](models.md) and [recipes](recipes.md), and what [extending](extending.md) builds on.

- **Stable**: names, keyword arguments, keys and files. One that goes is first kept for a minor version, with a
  `DeprecationWarning` that names what is there instead; a run folder of an older version can be opened.
- **May change in any version**: what is not named here, the order of positional arguments after the first two, texts
  for people (messages, tables, the report's HTML), and the numbers inside named recipes. A run keeps its own recipe, so
  that it is repeated as it was.
- **Bits**: the same recipe, versions, machine and devices give the same weights. Another version of TensorFlow may not.

The [changelog](../CHANGELOG.md) tells of every change."""


def _api() -> str:
    """Every name in the `__all__` of the zoo, of the rooms and of the commands, with the first sentence on it."""
    from recipes.support.quiet import import_keras

    import_keras()
    lines = ["# Public API", "", COMMAND, "", STABLE, ""]
    rooms = sorted(file.parent for file in (DOCS.parent / "recipes").glob("*/__init__.py"))
    commands = sorted((DOCS.parent / "recipes").glob("[!_]*.py"))
    names = ["zoo", "zoo.errors", "zoo.layers"]
    names += [f"recipes.{place.stem}" for place in (*commands, *rooms) if place.name != "text"]  # the command line's
    for name in names:
        module = importlib.import_module(name)
        if public := getattr(module, "__all__", []):
            lines += [f"## `{name}`", "", _first_sentence(module.__doc__), "", "| name | what it is |", "|---|---|"]
            lines += [f"| `{one}` | {_about(module, one)} |" for one in sorted(public, key=str.lower)]
            lines.append("")
    return "\n".join(lines)


def _about(module: ModuleType, name: str) -> str:
    """The first sentence of a docstring; of a constant, the comment above it where it is defined."""
    value = getattr(module, name)
    if inspect.isclass(value) or inspect.isroutine(value):
        return _first_sentence(value.__doc__)
    for file in sorted(Path(inspect.getfile(module)).parent.rglob("*.py")):
        text = file.read_text("utf-8")
        targets = [node for node in ast.parse(text).body if isinstance(node, ast.Assign | ast.AnnAssign)]
        for node in targets:
            (target,) = node.targets if isinstance(node, ast.Assign) else (node.target,)
            if isinstance(target, ast.Name) and target.id == name:
                text = re.search(r"((?:^# .*\n)+)\Z", "".join(text.splitlines(True)[: node.lineno - 1]), re.M)
                if text:
                    return _first_sentence(text[1].replace("# ", ""))
                return "a type, for annotations" if get_origin(value) else f"a `{type(value).__name__}`"
    raise LookupError(f"{module.__name__}.{name} is not defined in its package")


def _first_sentence(text: str | None) -> str:
    paragraph = " ".join(inspect.cleandoc(text or "").split("\n\n")[0].split())
    return re.split(r"(?<=[.:]) (?=[A-Z])", paragraph)[0].removesuffix(".").replace("|", "\\|")


def _weights(card: object) -> str:
    return ", ".join(f"{w.name} ({w.licence})" for w in getattr(card, "weights", ())) or "none"


def _family_page(family: str, cards: list) -> str:
    from zoo.anatomy import totals
    from zoo.receptive_field import in_words

    lines = [f"# {family}", "", COMMAND, ""]
    for paper in dict.fromkeys(card.paper for card in cards):
        lines += [f"[{paper.title}]({paper.url}), {paper.authors}, {paper.year}", ""]
    for card in cards:
        hidden = " > ".join(str(units) for units in card.hidden)
        counts = totals(card.name)
        lines += [
            f"## {card.name}",
            "",
            card.summary,
            "",
            f"- image {_size(card.input_shape)}, {card.classes:,} classes, {card.parameters:,} parameters, "
            f"{counts.get('macs', 0):,} multiply-adds; {counts.get('parameters_unshared', 0):,} parameters if no "
            "weight were shared",
            f"- a unit of the last feature map sees "
            f"{in_words(counts.get('receptive_field'), counts.get('whole_image'))}",
            f"- head: {card.pooling}" + (f", hidden layers {hidden}" if hidden else ""),
            *([_symmetry(card, counts)] if card.symmetry else []),
            *([f"- {card.notes}"] if card.notes else []),
            *(line for weights in card.weights for line in _licence(weights)),
            "",
        ]
        options = card.to_dict()["options"]
        if options:
            lines += ["| option | default | allowed |", "|---|---|---|"]
            for name, option in options.items():
                allowed = option["allowed"].replace("|", "\\|")
                lines.append(f"| `{name}` | {option['default']} | {allowed} |")
            lines.append("")
    drawn = drawn_member(cards)
    lines += [f"![Feature maps and receptive fields of {drawn.name}]({family}.png)", ""]
    return "\n".join(lines)


def _symmetry(card: object, counts: dict) -> str:
    """What stands on a model's page about the group under which its scores are the same."""
    group = {"c4": "quarter turns", "d4": "quarter turns and mirror images", "mirror": "mirror images"}[card.symmetry]
    return (
        f"- exact under {group} (`{card.symmetry}`): scores do not change; with the copies of its kernels it has "
        f"{counts['parameters_expanded']:,} parameters"
    )


def _licence(weights: "Weights") -> list[str]:
    """What stands on a model's page about published weights."""
    trained_on = f" Trained on {weights.trained_on}." if weights.trained_on else ""
    return [f"- weights `{weights.name}`, licence: {weights.licence}. {weights.licence_source}{trained_on}"]


def drawn_member(cards: list) -> object:
    """The model whose structure stands for its family: the smallest."""
    return min(cards, key=lambda card: card.parameters)


def draw_families() -> None:
    import zoo
    from zoo.drawing import draw

    families = defaultdict(list)
    for name in zoo.list_models():
        families[zoo.get_card(name).family].append(zoo.get_card(name))
    for family, members in families.items():
        member = drawn_member(members)
        draw(zoo.describe(member.name), member.name, DOCS / "models" / f"{family}.png")


def _size(shape: tuple) -> str:
    return "x".join("any" if n is None else str(n) for n in shape)


def main() -> None:
    import zoo

    write_facts([name for name in sys.argv[1:] if name != "--pages"] if sys.argv[1:] else zoo.list_models())
    (DOCS / "models").mkdir(exist_ok=True)
    MEASURED.mkdir(exist_ok=True)
    for name, text in measured().items():
        (MEASURED / name).write_text(text, "utf-8")
    for name, text in pages().items():
        (DOCS / name).write_text(text, "utf-8")
    draw_families()


if __name__ == "__main__":
    main()
