"""The command line: `zoo`. Each command parses, calls one recipe, and prints what it returns.

Results go to stdout, progress and warnings to stderr. Exit code 2: a request that cannot be met; 1: a failure.
Heavy imports are inside the commands, so that `zoo list`, `zoo --help` and a mistyped name answer at once.
"""

import logging
import os
import sys
import traceback
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

import zoo
from recipes import text
from recipes.command_line.options import (
    as_json,
    average,
    data,
    devices,
    launchable,
    overrides,
    quiet,
    resize,
    skip_bad,
    split_near_duplicates,
    training_options,
)
from recipes.command_line.values import Amount, Duration, Objective, Shape
from recipes.export.kinds import KINDS
from zoo.anatomy import complete
from zoo.cards import check_options
from zoo.catalogue import ORDERS, SYMMETRIES, facts, select
from zoo.errors import FailureError, RequestError, first_line, of_machine, unknown
from zoo.terminal import escaped, outlets, unescaped

if TYPE_CHECKING:
    from recipes.fit import Fitted


class Commands(click.Group):
    """A group that answers a mistyped command with the nearest one."""

    def resolve_command(self, context: click.Context, args: list[str]) -> Any:
        if args and self.get_command(context, args[0]) is None:
            raise unknown("command", args[0], self.commands)
        return super().resolve_command(context, args)


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="convzoo", prog_name="zoo")
@click.option(
    "--plugin",
    "plugins",
    multiple=True,
    type=click.Path(path_type=Path),
    metavar="FILE.py",
    help="Run this file first, which registers models of your own; give it again for more. ZOO_PLUGINS names others.",
)
def commands(plugins: tuple[Path, ...]) -> None:
    """Convolutional image models, from a set of images to a verified .tflite file.

    \b
    zoo fit lenet5 --data digits --out runs/first
    zoo evaluate runs/first
    zoo export runs/first --to int8
    zoo predict runs/first/lenet5-int8.tflite image.png
    """
    for plugin in plugins:
        zoo.load_plugin(plugin)


@commands.command("list")
@click.argument("pattern", default="*")
@click.option("--family", help="Only this line of models.")
@click.option("--input", "size", type=int, help="Only models for images of this height by default.")
@click.option("--max-params", type=Amount(), help="At most so many parameters: 60000, 60k, 1.5M.")
@click.option("--max-macs", type=Amount(), help="At most so many multiply-adds an image: 10M, 1G.")
@click.option("--max-arena", type=Amount(), help="At most so many bytes of values as int8, estimated: 64k.")
@click.option("--weights", is_flag=True, help="Only models with published weights.")
@click.option(
    "--symmetry",
    is_flag=False,
    flag_value="any",
    type=click.Choice(list(SYMMETRIES)),
    help="Only models with exactly the same scores for rotated (c4), mirrored, or both (d4) images.",
)
@click.option("--sort", type=click.Choice(list(ORDERS)), default="name", show_default=True)
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
    sort: str,
    as_json: bool,
) -> None:
    """List the models whose name matches PATTERN.

    \b
    Example: zoo list 'l*' --max-params 1M --sort macs
    """
    cards = select(
        pattern,
        family=family,
        size=size,
        max_params=max_params,
        max_macs=max_macs,
        max_arena=max_arena,
        weights=weights,
        symmetry=symmetry,
        sort=sort,
    )
    columns = {"symmetry": symmetry is not None, "arena": max_arena is not None or sort == "arena"}
    _answer(as_json, [facts(card) for card in cards], lambda: text.model_list(cards, **columns))


@commands.command()
@click.argument("model")
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
    _answer(as_json, found, lambda: text.model(card, anatomy, copies))


@commands.command("recipes")
@click.argument("name", required=False)
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
        _answer(as_json, settings, lambda: tomli_w.dumps(settings).rstrip())
        return
    presets = {name: load_recipe(name) for name in list_recipes()}
    presets |= {f"finetune/{name}": load_recipe(name, kind="finetune") for name in list_finetunings()}
    augmentations = {f"augment/{name}": load_augmentation(name) for name in list_augmentations()}
    abouts = [{"name": name, **found.about.model_dump()} for name, found in (presets | augmentations).items()]
    _answer(as_json, abouts, lambda: text.recipes(presets, augmentations))


@commands.group(cls=Commands)
def augment() -> None:
    """What is done to training images: look at it before you train with it, or keep a set that it was done to.

    \b
    Example: zoo augment preview digits --recipe digits --out grid.png
    """


@augment.command("preview")
@click.argument("data")
@click.option(
    "--recipe", default="natural", show_default=True, help="An augmentation of `zoo recipes`, or a TOML file."
)
@click.option("--out", required=True, type=click.Path(path_type=Path), help="The drawing, PNG, SVG or PDF.")
@overrides("Change one setting, as in rotation=20.")
@click.option("--input-shape", "shape", type=Shape(), help="Bring images to this size.  [default: files to 128x128x3]")
@click.option("--rows", default=6, show_default=True, type=click.IntRange(1, 40), help="How many images.")
@click.option("--columns", default=6, show_default=True, type=click.IntRange(1, 40), help="How many draws of each.")
@click.option(
    "--seed", default=0, show_default=True, type=click.IntRange(0, 2**31 - 1), help="Another seed draws others."
)
@as_json
def preview_(
    data: str,
    recipe: str,
    out: Path,
    overrides: tuple[str, ...],
    shape: tuple[int, int, int] | None,
    rows: int,
    columns: int,
    seed: int,
    as_json: bool,
) -> None:
    """Draw images of DATA, each in several draws, with what was drawn under each.

    \b
    Example: zoo augment preview digits --recipe digits --out grid.png
    """
    from recipes.config.presets import load_augmentation

    settings = load_augmentation(recipe.removeprefix("augment/"), overrides)
    from recipes.augment.preview import preview, sample

    images = sample(data, rows, shape)
    drawn = preview(images, settings, out, columns=columns, seed=seed)
    _answer(
        as_json,
        {"file": str(drawn.file), "captions": drawn.captions},
        lambda: _line(f"{drawn.file}: {len(images)} images, {columns} draws of each with {recipe}"),
    )


@augment.command("write")
@click.argument("data")
@click.option(
    "--recipe", default="natural", show_default=True, help="An augmentation of `zoo recipes`, or a TOML file."
)
@click.option("--out", required=True, type=click.Path(path_type=Path), help="The folder to make.")
@overrides("Change one setting, as in rotation=180.")
@click.option("--part", "parts", multiple=True, help="Only train, validation or test; give it again for two.")
@click.option("--input-shape", "shape", type=Shape(), help="Bring images to this size first; files need it.")
@resize
@click.option(
    "--seed", default=0, show_default=True, type=click.IntRange(0, 2**31 - 1), help="Another seed draws others."
)
@skip_bad
@split_near_duplicates
@click.option("--overwrite", is_flag=True, help="Replace the set in --out that this command wrote.")
@quiet
@as_json
def write_(
    data: str,
    recipe: str,
    out: Path,
    overrides: tuple[str, ...],
    shape: tuple[int, int, int] | None,
    as_json: bool,
    **settings: Any,
) -> None:
    """Vary every image of DATA once, and keep them as a folder of PNG files that --data takes.

    Labels and parts stay: train/, validation/ and test/, in each a folder for every class, or a table labels.csv where
    an image has several labels or a number. What was drawn for each is in augmented.csv.

    \b
    Example: zoo augment write digits --recipe none --set rotation=180 --part test --out turned
    """
    from recipes.config.presets import load_augmentation

    varied_by = load_augmentation(recipe.removeprefix("augment/"), overrides)
    from recipes.augment.write import write

    written = write(data, varied_by, out, image_shape=shape, **settings)
    sizes = ", ".join(f"{part} {count:,}" for part, count in written.sizes.items())
    _answer(
        as_json,
        written.to_dict(),
        lambda: _line(
            f"{written.folder}: {sizes} images, varied once with {recipe}; --data {written.source} takes them"
        ),
    )


@commands.command()
@click.argument("model", required=False)
@click.option("--recipe", help="A name from `zoo recipes` or a TOML file.  [default: by the data]")
@click.option("--pooling", help="Another head: average, max, gem, adaptive_average, convolutional, ...")
@click.option("--hidden", multiple=True, type=int, help="Units of a hidden layer of the head; give it again for more.")
@click.option("--weights", help="Start from these: imagenet, a run, a .keras or .weights.h5 file.  [default: none]")
@click.option("--epochs", type=int, help="Short for --set epochs=N.")
@devices
@training_options
@launchable
def fit(
    model: str | None,
    recipe: str | None,
    pooling: str | None,
    hidden: tuple[int, ...],
    weights: str | None,
    epochs: int | None,
    overrides: tuple[str, ...],
    shape: tuple[int, int, int] | None,
    seed: int | None,
    as_json: bool,
    **settings: Any,
) -> None:
    """Train MODEL from scratch and leave a run folder.

    \b
    Example: zoo fit lenet5 --data digits --out runs/first
    """
    from recipes.fit import fit

    named = {
        "model.input_shape": list(shape) if shape else None,
        "model.pooling": pooling,
        "model.hidden": list(hidden) or None,
        "model.weights": weights,
        "epochs": epochs,
        "seed": seed,
    }
    short = [f"{key}={value}" for key, value in named.items() if value is not None]
    _print_fitted(fit(model, recipe=recipe, overrides=[*overrides, *short], **settings), as_json)


@commands.command()
@click.argument("source")
@click.option(
    "--recipe",
    help="head, last-layers, last-stage, full, full-llrd or a TOML file.  [default: by the number of images]",
)
@click.option("--weights", help="Of a model: imagenet, a file, or none.  [default: imagenet]")
@click.option(
    "--keep-classes",
    "keep_old_classes",
    is_flag=True,
    help="SOURCE is a run whose classes stay: add those of --data to them.",
)
@training_options
def finetune(
    source: str,
    recipe: str | None,
    overrides: tuple[str, ...],
    shape: tuple[int, int, int] | None,
    seed: int | None,
    as_json: bool,
    **settings: Any,
) -> None:
    """Train SOURCE on from what it knows, for other images: a new head first, then its last stages if asked.

    SOURCE is a model with published weights (`zoo list --weights`), a run, or a .keras file.

    \b
    Example: zoo finetune efficientnet_lite0 --data photos/ --out runs/photos
    """
    from recipes.finetune import finetune

    named = (("model.input_shape", list(shape) if shape else None), ("seed", seed))
    short = [f"{key}={value}" for key, value in named if value is not None]
    _print_fitted(finetune(source, recipe=recipe, overrides=[*overrides, *short], **settings), as_json)


@commands.command()
@click.argument("model", required=False)
@click.option("--data", help="digits, tfds:NAME, a folder of class folders, or a table.csv.")
@click.option(
    "--space",
    help="What is searched: a name (lenet, vgg-small, augmentation, training) or a TOML file.  [default: by the model]",
)
@click.option("--out", type=click.Path(path_type=Path), help="The folder of the study; one that is there goes on.")
@click.option(
    "--recipe", help="What is not searched: a name from `zoo recipes` or a TOML file.  [default: by the data]"
)
@overrides("Change one setting of the recipe.")
@click.option("--folds", default=5, show_default=True, type=click.IntRange(1), help="1: the validation part alone.")
@click.option("--trials", type=click.IntRange(1), help="How many in all.")
@click.option("--time", "seconds", type=Duration(), help="How long, as in 90s, 10m, 2h.")
@click.option(
    "--trial-epochs",
    type=click.IntRange(1),
    help="Of a trial; the winner has the recipe's.  [default: all, with --time alone a quarter]",
)
@click.option("--workers", default=1, show_default=True, type=click.IntRange(1), help="Processes that share the cores.")
@click.option("--launch", type=click.Choice(["ray"]), help="Have a Ray cluster start the workers.")
@click.option("--sampler", type=click.Choice(["tpe", "random", "grid"]), default="tpe", show_default=True)
@click.option("--pruner", type=click.Choice(["median", "hyperband", "none"]), default="median", show_default=True)
@click.option(
    "--objective", "cost", type=Objective(), help="accuracy,COST for a front: parameters, macs, int8_bytes, latency_ms."
)
@click.option("--max-params", type=Amount(), help="Skip models with more parameters.")
@click.option("--max-macs", type=Amount(), help="Skip models with more multiply-adds.")
@click.option("--max-int8-bytes", type=Amount(), help="Skip models whose int8 weights take more bytes.")
@click.option("--seed", default=0, show_default=True, type=click.IntRange(0), help="Draws other trials and folds.")
@click.option("--storage", help="A journal that several machines can reach.  [default: in --out]")
@click.option("--show", "shown", type=click.Path(path_type=Path), help="Only list the trials of this study.")
@resize
@skip_bad
@split_near_duplicates
@quiet
@as_json
def tune(
    model: str | None,
    max_params: float | None,
    max_macs: float | None,
    max_int8_bytes: float | None,
    shown: Path | None,
    as_json: bool,
    **settings: Any,
) -> None:
    """Search settings for MODEL by cross-validation, train the best and score it on the test images, once.

    MODEL may also be a recipe that names its model.

    Killed and started again with the same command, it goes on. The winner is in --out as best.toml, for `zoo fit`.

    \b
    Example: zoo tune lenet5 --data digits --space lenet --folds 3 --time 10m --out studies/first
    """
    from recipes import tune as tuning

    if shown:
        rows = tuning.show(shown)
        return _answer(as_json, rows, lambda: text.trials(rows))
    if missing := [name for name in ("data", "out") if not settings[name]]:
        raise RequestError(f"--{missing[0]} is missing.")
    given = {"parameters": max_params, "macs": max_macs, "int8_bytes": max_int8_bytes}
    limits = {name: most for name, most in given.items() if most is not None}
    result = tuning.tune(model, limits=limits, **settings)
    return _answer(as_json, result.to_dict(), lambda: text.tuned(result))


@commands.command("cross-validate")
@click.argument("model", required=False)
@data
@click.option("--recipe", help="A name from `zoo recipes` or a TOML file.  [default: by the data]")
@click.option("--folds", default=10, show_default=True, type=click.IntRange(2), help="How many trainings.")
@click.option("--against", help="Another model, on the same folds.")
@click.option("--against-recipe", help="The other's recipe.  [default: the same]")
@overrides("Change one setting of both recipes.")
@click.option("--seed", default=0, show_default=True, type=click.IntRange(0), help="Draws other folds.")
@click.option("--out", type=click.Path(path_type=Path), help="The prediction for each held-out image, as CSV.")
@resize
@skip_bad
@split_near_duplicates
@quiet
@as_json
def cross_validate_(model: str | None, as_json: bool, **settings: Any) -> None:
    """Train MODEL once a fold and score every image by a model that did not see it; test images stay unseen.

    \b
    Example: zoo cross-validate lenet5 --data digits --folds 5 --against mlp
    """
    from recipes.cross_validate import cross_validate

    result = cross_validate(model, **settings)
    _answer(as_json, result.to_dict(), lambda: text.cross_validated(result))


@commands.command()
@click.argument("source")
@click.argument("data")
@click.option("--out", required=True, type=click.Path(path_type=Path), help="The file to make, .npz.")
@click.option("--input-shape", "shape", type=Shape(), help="Bring images to this size.  [default: the source's]")
@click.option("--neighbours", default=0, type=click.IntRange(0), help="Also find so many nearest images of each.")
@resize
@skip_bad
@split_near_duplicates
@quiet
@as_json
def embed(source: str, data: str, shape: tuple[int, int, int] | None, as_json: bool, **settings: Any) -> None:
    """Compute what SOURCE sees in the images of DATA: features, labels and file names in one NumPy file.

    SOURCE is a model with published weights (`zoo list --weights`), a run, or a .keras file.

    \b
    Example: zoo embed efficientnet_lite0 photos/ --out features.npz --neighbours 5
    """
    from recipes.embed import embed

    embedded = embed(source, data, input_shape=shape, **settings)
    _answer(as_json, embedded.to_dict(), lambda: text.embedded(embedded))


@commands.command()
@click.argument("run", type=click.Path(path_type=Path))
@devices
@quiet
@as_json
@launchable
def resume(run: Path, devices: str, quiet: bool, as_json: bool) -> None:
    """Go on with the training of RUN where it was stopped; it ends as if it had not been.

    \b
    Example: zoo resume runs/first
    """
    from recipes.fit import resume

    _print_fitted(resume(run, devices=devices, quiet=quiet), as_json)


def _print_fitted(fitted: "Fitted", as_json: bool) -> None:
    for warning in fitted.warnings:
        _warn(warning)
    for note in fitted.notes:
        click.echo(_line(note), err=True)
    facts = {"run": str(fitted.run.path), "best_epoch": fitted.best_epoch, **fitted.metrics}
    _answer(as_json, facts, lambda: text.fitted(fitted))


@commands.command()
@click.argument("source", type=click.Path(path_type=Path))
@click.option("--data", help="Other images, instead of the run's test images; a file needs it.")
@click.option("--invariance", is_flag=True, help="Also rotated, shifted, scaled and mirrored.")
@click.option("--plot", type=click.Path(path_type=Path), help="Draw the confusion matrix (PNG, SVG or PDF).")
@average
@skip_bad
@as_json
def evaluate(source: Path, data: str | None, plot: Path | None, as_json: bool, **options: Any) -> None:
    """Score SOURCE, a run or a .tflite, .keras or .onnx file of any origin.

    A run is scored on its test images, and metrics.json and confusion_matrix.png are left in it. With --data a run or a
    file is scored on other images, matched by the names of their classes, and nothing is left. .tflite and .onnx
    files run in a process of their own, with limits.

    With --average also what averaging brings and costs; the other metrics stay those of one pass.

    \b
    Example: zoo evaluate runs/first --invariance
             zoo evaluate model.tflite --data photos/
    """
    from recipes.evaluate.scoring import evaluate

    metrics = evaluate(source, data=data, plot=plot, **options)
    for note in metrics.get("notes", ()):
        click.echo(_line(note), err=True)
    where = f"{source} on {metrics['data']} ({metrics['scored']})" if data else source
    drawn = [plot] if plot else [source / "confusion_matrix.png"] if not data and "confusion_matrix" in metrics else []
    below = "".join(f"\n\n{_line('Drawn in', file)}" for file in drawn)
    _answer(as_json, metrics, lambda: f"{_line(where)}: {text.evaluation(metrics)}{below}")


@commands.command()
@click.argument("runs", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="SOURCE...")
@click.option("--data", help="Score all of them on these images; where there are files, they need it.")
@click.option("--plot", type=click.Path(path_type=Path), help="Draw it too (PNG or SVG).")
@skip_bad
@as_json
def compare(runs: tuple[Path, ...], data: str | None, plot: Path | None, skip_bad: bool, as_json: bool) -> None:
    """Put runs side by side: accuracy, size, cost, and what has been measured of invariance and exports.

    With --data, SOURCE may be a .tflite, .keras or .onnx file too, and all are scored anew on the same images.

    \b
    Example: zoo compare runs/* --plot runs.png
             zoo compare runs/first runs/first/lenet5-int8.tflite --data digits
    """
    from recipes.compare import compare

    rows = compare(runs, data=data, plot=plot, skip_bad=skip_bad)
    for note in dict.fromkeys(note for row in rows for note in row.get("notes", ())):
        click.echo(_line(note), err=True)
    _answer(as_json, rows, lambda: text.comparison(rows) + (f"\n\n{_line('Drawn in', plot)}" if plot else ""))


@commands.command()
@click.argument("run", type=click.Path(path_type=Path))
@as_json
def report(run: Path, as_json: bool) -> None:
    """Write RUN as one page, report.html, that opens anywhere without an internet connection.

    \b
    Example: zoo report runs/first
    """
    from recipes.report.run_page import report

    written = report(run)
    _answer(
        as_json,
        {"file": str(written.file), "sections": written.sections},
        lambda: _line(f"{written.file}: {', '.join(written.sections).lower()}"),
    )


@commands.command()
@click.argument("source", type=click.Path(path_type=Path))
@click.option(
    "--to",
    default="int8",
    show_default=True,
    help=f"{', '.join(KINDS)}.",
)
@click.option("--all", "every", is_flag=True, help="Every precision of TFLite, as one table.")
@click.option("--out", type=click.Path(path_type=Path), help="The file.  [default: RUN/MODEL-TO.tflite]")
@click.option("--budget", multiple=True, metavar="KEY=FRACTION", help="agreement=0.98 or drop=0.02: what is allowed.")
@click.option("--data", help="Of a .keras file: images to verify it on. Of a run: where its own are now.")
@click.option("--output-type", default="uint8", show_default=True, help="Scores of int8: uint8 or float32.")
@click.option("--dynamic-size", is_flag=True, help="Leave height and width open; needs a pooled head.")
@click.option("--force", is_flag=True, help="Export a model that hardly beats chance, too.")
@click.option("--author", default="", help="Written into the file.")
@click.option("--license", default="", help="Written into the file.")
@as_json
def export(source: Path, every: bool, out: Path | None, budget: tuple[str, ...], as_json: bool, **options: Any) -> int:
    """Export SOURCE, a run or a .keras file, to a file that is verified on the test images to behave like the model.

    \b
    Example: zoo export runs/first --to int8 --out digits.tflite
    """
    from recipes.export.handover import export, export_all

    limits = dict(_limit(item) for item in budget)
    if not every:
        exported = export(source, out=out, budget=limits, **options)
        _answer(as_json, exported.to_dict(), lambda: text.exported(exported))
        return 0
    single = {"--out": out, "--budget": budget, "--dynamic-size": options["dynamic_size"]}
    if given := [name for name, value in single.items() if value]:
        raise RequestError(f"{given[0]} is not possible with --all: export the kinds one by one.")
    passed, failed = export_all(source, **{key: options[key] for key in ("data", "force", "author", "license")})
    rows = [result.to_dict() for result in passed] + [{"kind": to, "error": why} for to, why in failed.items()]
    _answer(as_json, rows, lambda: text.all_exported(passed, failed))
    return int(bool(failed))


@commands.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--memory", is_flag=True, help="Also the memory over time, as TensorFlow Lite Micro plans it.")
@click.option("--plot", type=click.Path(path_type=Path), help="Draw the memory over time (PNG or SVG).")
@as_json
def inspect(file: Path, memory: bool, plot: Path | None, as_json: bool) -> None:
    """Show what is inside FILE, a .tflite classifier: inputs, outputs, labels, operators, and size by layer.

    \b
    Example: zoo inspect runs/first/lenet5-int8.tflite --memory
    """
    from recipes.tflite.inspection import inspect

    inspected = inspect(file, memory=memory or plot is not None)
    if plot is not None and inspected.memory is not None:
        from recipes.tflite.drawing import draw_memory

        draw_memory(inspected.memory, file.name, plot)
    _answer(as_json, inspected.to_dict(), lambda: text.inspected(inspected))


@commands.command()
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--run", type=click.Path(path_type=Path), help="Time this run's Keras model in turn with the files.")
@click.option("--threads", multiple=True, type=int, help="Threads of the interpreter.  [default: 1, and all cores]")
@click.option("--no-xnnpack", is_flag=True, help="Without XNNPACK, which runs what it can by default.")
@click.option("--repeats", default=200, show_default=True, help="Timed runs of each.")
@as_json
def benchmark(
    files: tuple[Path, ...],
    run: Path | None,
    threads: tuple[int, ...],
    no_xnnpack: bool,
    repeats: int,
    as_json: bool,
) -> None:
    """Time FILES (.tflite) in turn, one image at a time; ratios are to the first.

    "cold" is from the file's bytes to the first scores, "memory" what that adds at most to a process of its own; which
    operations XNNPACK ran, and which LiteRT's own kernels, stands below.

    \b
    Example: zoo benchmark runs/first/lenet5-int8.tflite runs/first/lenet5-float32.tflite --threads 1
    """
    from recipes.tflite.latency import benchmark

    timings = benchmark(files, run=run, threads=threads or None, xnnpack=not no_xnnpack, repeats=repeats)
    _answer(as_json, [timing.to_dict() for timing in timings], lambda: text.timings(timings))


@commands.command()
@click.argument("source", type=click.Path(path_type=Path))
@click.argument("images", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--top", "top_k", default=3, show_default=True, help="How many predictions for each image.")
@average
@as_json
def predict(source: Path, images: tuple[Path, ...], top_k: int, average: str | None, as_json: bool) -> None:
    """Name what is in IMAGES; SOURCE is a run folder, or a .tflite, .keras or .onnx file.

    \b
    Example: zoo predict runs/first/lenet5-int8.tflite three.png four.jpg
    """
    from recipes.predict import predict

    predictions = predict(source, images, top_k=top_k, average=average)
    if average:
        from recipes.evaluate.averaging import passes

        click.echo(f"Scores are the mean of {passes(average)} passes of each image.", err=True)
    if predictions and not predictions[0].named:
        _warn(f"{source} carries no labels: classes are numbers.")
    facts = [{"image": p.image, "guesses": [{"name": n, "score": s} for n, s in p.guesses]} for p in predictions]
    _answer(as_json, facts, lambda: text.predictions(predictions))


@commands.group("data", cls=Commands)
def data_() -> None:
    """Look at a set of images before it is trained on.

    \b
    zoo data check photos/
    """


@data_.command("check")
@click.argument("data")
@click.option("--task", help="classification, multilabel or regression: how a table's labels are meant.")
@split_near_duplicates
@quiet
@as_json
def check(data: str, task: str | None, split_near_duplicates: bool, quiet: bool, as_json: bool) -> int:
    """Open every image of DATA and tell what is wrong with it; exit code 1 if it cannot be trained on as it is.

    DATA is a folder of class folders, with or without train/, validation/ and test/; a folder of IDX files; a CSV or
    TSV table of file and label; tfds:NAME; or digits. Nothing in it is changed.

    \b
    Example: zoo data check photos/ --json
    """
    from recipes.data import check

    report = check(data, task=task, split_near_duplicates=split_near_duplicates, quiet=quiet)
    _answer(as_json, [finding.to_dict() for finding in report.findings], lambda: text.diagnosis(data, report))
    return int(report.errors > 0)


def _limit(item: str) -> tuple[str, float]:
    key, _, value = item.partition("=")
    try:
        return key, float(value)
    except ValueError:
        raise RequestError(
            f"--budget {item!r} is not possible; allowed: agreement=FRACTION or drop=FRACTION."
        ) from None


def _answer(as_json: bool, value: Any, as_text: Callable[[], str]) -> None:
    """Prints what a command came to; by then all that it writes to disk is there."""
    from recipes.support.tables import to_json

    # A DEL is all of ASCII's control characters that JSON leaves as it is.
    click.echo(to_json(value).replace("\x7f", "\\u007f") if as_json else as_text())


def _line(*parts: object) -> str:
    return escaped(" ".join(map(str, parts)))


def _warn(message: str) -> None:
    click.secho(f"Warning: {escaped(message)}", file=unescaped(sys.stderr), fg="yellow")


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line; returns the exit code. Every error is one line on stderr.

    `ZOO_TRACEBACK=1` in the environment shows where in the program an error comes from, too.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    if any("error" in option for option in sys.warnoptions):
        warnings.simplefilter("default")  # what a library deprecates is no error of a command
    for library in ("absl", "tensorflow"):  # their remarks on themselves
        logging.getLogger(library).setLevel(logging.ERROR)
    with outlets() as (out, _):
        code = _run(list(sys.argv[1:] if arguments is None else arguments))
        out.flush()
        if out.failure and not code:
            why = getattr(out.failure, "strerror", None) or first_line(out.failure)
            return _fail(f"what this command printed is lost: {why}.", 1)
    return code


def _run(arguments: list[str]) -> int:
    try:
        code: int | None = commands.main(arguments, prog_name="zoo", standalone_mode=False, obj=arguments)
        return code or 0
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message(), err=True)
        return 2
    except (click.Abort, KeyboardInterrupt):
        return _fail("interrupted.", 130)
    except Exception as error:
        if os.environ.get("ZOO_TRACEBACK"):
            traceback.print_exc()
        return _fail(*_told(error))


def _told(error: Exception) -> tuple[str, int]:
    """An error in one line, and its exit code."""
    if isinstance(error, click.ClickException):
        return " ".join(error.format_message().split()), error.exit_code
    if isinstance(error, RequestError):
        return str(error), 2
    if isinstance(error, FailureError):
        return str(error), 1
    if isinstance(error, ModuleNotFoundError) and error.name:
        return f"this needs {error.name.split('.')[0]}, which is not installed: pip install convzoo", 2
    if fault := of_machine(error):
        return str(fault), 1
    if isinstance(error, OSError) and isinstance(error.filename, str | bytes):  # a name that the system does not take
        return f"{os.fsdecode(error.filename)}: {error.strerror or first_line(error)}.", 2
    kind = type(error).__name__
    said = f"{kind}: {first_line(error)}" if str(error).strip() else kind
    return f"{said} (not foreseen; with ZOO_TRACEBACK=1 in the environment it says where).", 1


def _fail(message: str, code: int) -> int:
    click.secho(f"Error: {escaped(message)}", file=unescaped(sys.stderr), fg="red")
    return code


if __name__ == "__main__":
    sys.exit(main())
