"""The galleries of models and recipes: the pages in docs/ with drawings of models and pictures of augmentations."""

import re
from functools import cache
from hashlib import sha256
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

from zoo.results import read_results, result_sets

if TYPE_CHECKING:
    import numpy as np

    from recipes.augment import Augment

ROOT = Path(__file__).parents[2]
KEPT = ROOT / "build" / "pictures"
COLUMNS, ROWS, SIZE = 5, 2, (96, 96)


def extended(path: str, markdown: str) -> str:
    """A page with what only the site has."""
    if path == "models.md":
        return markdown.replace("\n| model |", f"\n{_models()}\n## All models\n\n| model |", 1)
    if path == "recipes.md":
        return _with_pictures(markdown)
    if path.startswith("models/"):
        return markdown + _results_of(Path(path).stem)
    return markdown


def _results_of(family: str) -> str:
    """What models of a family reach, from the page on results."""
    import zoo

    tables = []
    for name in result_sets():
        found = [result for result in read_results(name) if zoo.get_card(result.model).family == family]
        if found:
            tables += ["", f"## Results on {name}", "", "From [results](../results.md), which says what is what.", ""]
            tables += _generate().results_table(found, models="")
    return "\n".join(tables)


@cache
def _generate() -> ModuleType:
    """`docs/generate.py`."""
    spec = spec_from_file_location("generate", ROOT / "docs" / "generate.py")
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _models() -> str:
    """A card a family: its drawing, its smallest model, and how many there are."""
    import zoo
    from zoo.anatomy import totals
    from zoo.receptive_field import in_words

    families: dict[str, list] = {}
    for card in map(zoo.get_card, zoo.list_models()):
        families.setdefault(card.family, []).append(card)
    lines = ['<div class="gallery" markdown>', ""]
    for family, cards in families.items():
        card = min(cards, key=lambda card: card.parameters)
        counts = totals(card.name)
        more = f", and {len(cards) - 1} more" if len(cards) > 1 else ""
        lines += [
            "<div markdown>",
            "",
            f"[![{family}](models/{family}.png){{ loading=lazy }}](models/{family}.md)",
            "",
            f"**[{family}](models/{family}.md)**: `{card.name}`{more}. {card.summary}",
            "",
            f"{card.parameters:,} parameters, {counts.get('macs', 0):,} multiply-adds; a unit of the last map sees "
            f"{in_words(counts.get('receptive_field'), counts.get('whole_image'))}.",
            "",
            "</div>",
            "",
        ]
    return "\n".join([*lines, "</div>", ""])


def _with_pictures(markdown: str) -> str:
    """Behind each recipe what its augmentation does to images."""

    def section(found: re.Match) -> str:
        picture = _picture_of(found[1])
        drawn = f"![What {found[1]} makes of images]({picture}){{ loading=lazy }}\n\n" if picture else ""
        return f"{found[0].rstrip()}\n\n{drawn}"

    return re.sub(r"^## ((?:finetune/)?[\w-]+)\n(?:(?!^#).*\n)*", section, markdown, flags=re.M)


def _picture_of(recipe: str) -> str | None:
    """The picture of a recipe's augmentation; None where there is no such recipe, or images stay as they are."""
    return next((path for path, (_, names) in _augmentations().items() if recipe in names), None)


@cache
def _augmentations() -> dict[str, tuple["Augment", list[str]]]:
    """Augmentations of recipes by the path of their picture, and the recipes that have each: one picture for all."""
    from recipes.config.presets import list_finetunings, list_recipes, load_recipe

    recipes = {name: load_recipe(name) for name in list_recipes()}
    recipes |= {f"finetune/{name}": load_recipe(name, kind="finetune") for name in list_finetunings()}
    found: dict[str, tuple[Augment, list[str]]] = {}
    seen: dict[str, str] = {}
    for name, recipe in recipes.items():
        settings = recipe.augment.model_dump_json(exclude={"about"}) if recipe.augment else ""
        if recipe.augment and recipe.augment.model_dump(exclude={"about"}, exclude_defaults=True):
            path = seen.setdefault(settings, f"assets/augmentations/{name.replace('/', '-')}.png")
            found.setdefault(path, (recipe.augment, []))[1].append(name)
    return found


def pictures() -> dict[str, bytes]:
    """The drawing of each augmentation, from build/ where it has been drawn before."""
    found = {}
    for path, (augment, _) in _augmentations().items():
        drawn = f"{augment.model_dump_json()} {COLUMNS} {ROWS} {SIZE}"
        kept = KEPT / f"{sha256(drawn.encode()).hexdigest()[:16]}.png"
        if not kept.exists():
            _draw(augment, kept)
        found[path] = kept.read_bytes()
    return found


def _draw(augment: "Augment", file: Path) -> None:
    """Rows of images: digits for what is meant for drawings, else photographs that come with scikit-learn."""
    from recipes.augment.preview import preview, sample

    file.parent.mkdir(parents=True, exist_ok=True)
    images = _photographs() if augment.horizontal_flip else sample("digits", ROWS)
    preview(images, augment, file, columns=COLUMNS)


def _photographs() -> "np.ndarray":
    import numpy as np
    from PIL import Image
    from sklearn.datasets import load_sample_images

    square = [Image.fromarray(image).crop((100, 0, 527, 427)).resize(SIZE) for image in load_sample_images().images]
    return np.stack([np.asarray(image) for image in square[:ROWS]])
