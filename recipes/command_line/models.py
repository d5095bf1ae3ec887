"""What models and recipes there are."""

from pathlib import Path

import click

import zoo
from recipes import text
from recipes.command_line.names import ANY_RECIPE, FAMILY, MODEL, RESULTS
from recipes.command_line.options import as_json, overrides
from recipes.command_line.printing import answer
from recipes.command_line.values import Amount, Choice, Shape
from zoo.anatomy import complete
from zoo.cards import check_options
from zoo.catalogue import ORDERS, SYMMETRIES, facts, select
from zoo.errors import RequestError
from zoo.results import of_models, read_results, result_sets


@click.command("list")
@click.argument("pattern", type=MODEL, default="*")
@click.option("--family", type=FAMILY, help="Only this line of models.")
@click.option("--input", "size", type=int, help="Only models for images of this height by default.")
@click.option("--max-params", type=Amount(), help="At most so many parameters: 60000, 60k, 1.5M.")
@click.option("--max-macs", type=Amount(), help="At most so many multiply-adds an image: 10M, 1G.")
@click.option("--max-arena", type=Amount(), help="At most so many bytes of values as int8, estimated: 64k.")
@click.option("--weights", is_flag=True, help="Only models with published weights.")
@click.option(
    "--symmetry",
    is_flag=False,
    flag_value="any",
    type=Choice(list(SYMMETRIES)),
    help="Only models with exactly the same scores for rotated (c4), mirrored, or both (d4) images.",
)
@click.option(
    "--results",
    type=RESULTS,
    metavar="SET",
    help="Only models that were measured on this set, digits, with what they reach.",
)
@click.option("--sort", type=Choice([*ORDERS, "accuracy"]), default="name", show_default=True)
@as_json
def list_(
    pattern: str,
    family: str | None,
    size: int | None,
    max_params: float | None,
    max_macs: float | None,
    max_arena: float | None,
    weights: bool,
    symmetry: str | None,
    results: str | None,
    sort: str,
    as_json: bool,
) -> None:
    """List the models whose name matches PATTERN.

    With --results, a line for each way that a model was trained, from docs/results.md.

    \b
    Example: zoo list 'l*' --max-params 1M --sort macs
    """
    found = read_results(results) if results is not None else None
    if sort == "accuracy" and found is None:
        raise RequestError(f"--sort accuracy needs --results; allowed: {', '.join(result_sets())}.")
    cards = select(
        pattern,
        family=family,
        size=size,
        max_params=max_params,
        max_macs=max_macs,
        max_arena=max_arena,
        weights=weights,
        symmetry=symmetry,
        sort="name" if sort == "accuracy" else sort,
    )
    if found is not None:
        rows = of_models(found, [card.name for card in cards], by_accuracy=sort == "accuracy")
        answer(as_json, [row.to_dict() for row in rows], lambda: text.result_list(rows))
        return
    columns = {"symmetry": symmetry is not None, "arena": max_arena is not None or sort == "arena"}
    answer(as_json, [facts(card) for card in cards], lambda: text.model_list(cards, **columns))


@click.command()
@click.argument("model", type=MODEL)
@click.option("--input-shape", "shape", type=Shape(), help="Another image, as in 64x64x3.")
@overrides("Change one option of the model: --set antialias=true; --set symmetry=c4 for what copies of the image cost.")
@click.option("--plot", type=click.Path(path_type=Path), help="Draw feature maps and receptive fields (PNG or SVG).")
@as_json
def show(
    model: str, shape: tuple[int, int, int] | None, overrides: tuple[str, ...], plot: Path | None, as_json: bool
) -> None:
    """Show the facts of MODEL, and what it is made of, layer by layer.

    MACs are multiply-adds for one image; "sees" is the receptive field of one unit, in pixels, "+ all" where the whole
    image reaches it too, as through squeeze-and-excitation; "unshared" is how many weights there would be if every
    unit had its own.

    \b
    Example: zoo show lenet5 --input-shape 64x64x1
    """
    from recipes.config.presets import model_options

    card = zoo.get_card(model)
    options = model_options(overrides)
    asked = {"input_shape": shape, "symmetry": options.pop("symmetry", None)}
    asked = check_options(card, options) | {key: value for key, value in asked.items() if value}
    card, anatomy, copies = complete(card), zoo.describe(model, **asked), asked.get("symmetry")
    if plot:
        from zoo.drawing import draw

        draw(anatomy, model, plot)
    found = card.to_dict() | {"anatomy": anatomy.to_dict()} | ({"copies": copies} if copies else {})
    answer(as_json, found, lambda: text.model(card, anatomy, copies))


@click.command("recipes")
@click.argument("name", type=ANY_RECIPE, required=False)
@as_json
def recipes_(name: str | None, as_json: bool) -> None:
    """List recipes and augmentations, or print the one called NAME with everything in it resolved.

    An augmentation is called augment/NAME; in a recipe it is named by `augment = "NAME"`. What `zoo finetune` takes is
    called finetune/NAME.

    \b
    Example: zoo recipes digits > mine.toml
    """
    import tomli_w

    from recipes.config.presets import (
        list_augmentations,
        list_finetunings,
        list_recipes,
        load_augmentation,
        load_recipe,
    )

    if name:
        kind, _, last = name.rpartition("/")
        if kind == "augment":
            settings = load_augmentation(last).model_dump(mode="json", exclude_none=True)
        else:
            found = load_recipe(last, kind="finetune") if kind == "finetune" else load_recipe(name)
            settings = found.model_dump(mode="json", exclude_none=True)
        answer(as_json, settings, lambda: tomli_w.dumps(settings).rstrip())
        return
    presets = {name: load_recipe(name) for name in list_recipes()}
    presets |= {f"finetune/{name}": load_recipe(name, kind="finetune") for name in list_finetunings()}
    augmentations = {f"augment/{name}": load_augmentation(name) for name in list_augmentations()}
    abouts = [{"name": name, **found.about.model_dump()} for name, found in (presets | augmentations).items()]
    answer(as_json, abouts, lambda: text.recipes(presets, augmentations))
