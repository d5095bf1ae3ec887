"""Models and recipes as text."""

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from recipes.support.tables import short, size, table
from zoo import Anatomy, Card
from zoo.anatomy import Layer, totals
from zoo.cards import Weights
from zoo.catalogue import macs
from zoo.groups import check_group, find_group
from zoo.receptive_field import in_words
from zoo.results import Result

if TYPE_CHECKING:
    from recipes.augment.pipeline import Augment
    from recipes.config.settings import Recipe


def model_list(cards: Iterable[Card], *, symmetry: bool = False, arena: bool = False) -> str:
    """A line a card; with `symmetry` also the group that is exact, and the weights with their copies.

    With `arena` also the bytes of all values as int8.
    """
    rows = [
        (
            card.name,
            size(card.input_shape),
            *((card.symmetry,) if symmetry else ()),
            "?" if card.parameters is None else f"{card.parameters:,}",
            *((_number(totals(card.name).get("parameters_expanded")),) if symmetry else ()),
            short(macs(card)),
            *((_number(totals(card.name).get("arena_bytes")),) if arena else ()),
            str(card.paper.year) if card.paper else "",
            card.summary,
        )
        for card in cards
    ]
    counts = ["exact", "free parameters", "expanded", "MACs"] if symmetry else ["parameters", "MACs"]
    counts += ["int8 arena"] if arena else []
    numbers = range(3 if symmetry else 2, 2 + len(counts))
    return table(["model", "image", *counts, "year", "what it is"], rows, right=numbers)


def result_list(results: Iterable[Result]) -> str:
    """A line for each model and recipe."""
    rows = [
        (
            result.name,
            size(result.image),
            result.recipe,
            str(result.seeds),
            f"{result.accuracy_in_words} %",
            f"{100 * result.interval[0]:.1f} to {100 * result.interval[1]:.1f}",
            f"{100 * result.int8_accuracy:.1f} %",
            f"{result.invariance['rotation']:.3f}",
            f"{result.parameters:,}",
            short(result.macs),
            f"{result.int8_bytes:,}",
            f"{result.arena_bytes:,}",
        )
        for result in results
    ]
    header = [
        "model",
        "image",
        "recipe",
        "seeds",
        "accuracy",
        "95 %",
        "int8",
        "turned",
        "parameters",
        "MACs",
        "int8 bytes",
        "arena",
    ]
    return table(header, rows, right=range(3, len(header)))


def _number(count: int | None) -> str:
    return "?" if count is None else f"{count:,}"


def model(card: Card, anatomy: Anatomy, copies: str | None = None) -> str:
    """The facts of a complete card, see `zoo.anatomy.complete`, and its layers; `copies` is `model.symmetry`."""
    facts, paper = card.to_dict(), card.paper
    measured = ", measured" if card.measured else ""
    hidden = " > ".join(str(units) for units in facts["hidden"])
    rows = [
        ("model", card.name),
        ("what it is", card.summary),
        *([("paper", f"{paper.title} ({paper.authors}, {paper.year}) {paper.url}")] if paper else []),
        *([("plugin", str(card.plugin))] if card.plugin else []),
        ("image", f"{size(card.input_shape)}, pixels 0-255"),
        ("pixels become", f"{card.scaling}, inside the model"),
        ("head", card.pooling + (f", hidden layers {hidden}" if hidden else "")),
        ("classes", str(card.classes)),
        ("parameters", f"{card.parameters:,}, of them trained {card.trainable_parameters:,}{measured}"),
        ("arena", f"{anatomy.arena_bytes:,} bytes of values as int8, estimated"),
        *([("symmetry", _symmetry(card, anatomy))] if card.symmetry else []),
        *([("copies", _copies(copies, anatomy))] if check_group(copies) else []),
        ("a last unit sees", in_words(anatomy.receptive_field, anatomy.whole_image)),
        *(row for weights in card.weights for row in _weights(weights)),
        *((f"option {name}", f"{o['default']}  ({o['allowed']})") for name, o in facts["options"].items()),
        *([("notes", card.notes)] if card.notes else []),
    ]
    return f"{table(['', ''], rows)}\n\n{layers(anatomy)}"


def _symmetry(card: Card, anatomy: Anatomy) -> str:
    words = {"c4": "quarter turns", "d4": "quarter turns and mirror images", "mirror": "left and right exchanged"}
    return (
        f"{card.symmetry}: scores are exactly the same under {words[card.symmetry]}; with the copies of its kernels "
        f"{anatomy.parameters_expanded:,} parameters and {anatomy.macs:,} MACs"
    )


def _copies(group: str | None, anatomy: Anatomy) -> str:
    return f"{find_group(str(group)).order} of each image, under {group}; {anatomy.macs:,} MACs in all"


def _weights(weights: Weights) -> list[tuple[str, str]]:
    return [
        (f"weights {weights.name}", f"{weights.source}  ({weights.licence})"),
        ("  licence", weights.licence_source),
        *([("  trained on", weights.trained_on)] if weights.trained_on else []),
    ]


def layers(anatomy: Anatomy) -> str:
    header = ["layer", "kind", "output", "parameters", "MACs", "sees", "stride", "unshared", "dense"]
    rows = [
        (
            layer.name,
            layer.kind,
            size(layer.output_shape),
            f"{layer.parameters:,}",
            f"{layer.macs:,}",
            _sees(layer),
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


def _sees(layer: Layer) -> str:
    if not layer.receptive_field:
        return "all"
    return size(layer.receptive_field) + (" + all" if layer.whole_image else "")


def recipes(presets: Mapping[str, "Recipe"], augmentations: Mapping[str, "Augment"]) -> str:
    rows = [
        (name, f"{recipe.steps:,} steps" if recipe.steps else str(recipe.epochs), recipe.about.summary)
        for name, recipe in presets.items()
    ]
    others = [(name, augment.about.summary) for name, augment in augmentations.items()]
    return (
        table(["recipe", "epochs", "what it is for"], rows, right=[1])
        + "\n\n"
        + table(["augmentation", "what it is for"], others)
    )
