"""Training, searching for settings, and features of trained models."""

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from recipes import text
from recipes.command_line.names import DATA, FINETUNING, HEAD, MODEL, MODEL_OR_FILE, RECIPE, SPACE, WEIGHTS
from recipes.command_line.options import (
    as_json,
    data,
    devices,
    finetuning_options,
    launchable,
    overrides,
    quiet,
    resize_if_asked,
    skip_bad,
    split_near_duplicates,
    training_options,
)
from recipes.command_line.printing import answer, line, warn
from recipes.command_line.values import Amount, Choice, Duration, Objective, Shape
from zoo.errors import RequestError

if TYPE_CHECKING:
    from recipes.fit import Fitted


def _resuming(settings: Mapping[str, Any]) -> list[str]:
    """The command line that goes on with what `zoo fit` or `zoo finetune` began."""
    flags = ["--quiet"] * settings["quiet"] + ["--json"] * settings["as_json"]
    return ["resume", str(settings["out"]), "--devices", settings["devices"], *flags]


@click.command()
@click.argument("model", type=MODEL, required=False)
@click.option("--recipe", type=RECIPE, help="A name from `zoo recipes` or a TOML file.  [default: by the data]")
@click.option("--pooling", type=HEAD, help="Another head: average, max, gem, adaptive_average, convolutional, ...")
@click.option("--hidden", multiple=True, type=int, help="Units of a hidden layer of the head; give it again for more.")
@click.option(
    "--weights", type=WEIGHTS, help="Start from these: imagenet, a run, a .keras or .weights.h5 file.  [default: none]"
)
@click.option("--epochs", type=int, help="Short for --set epochs=N.")
@click.option("--time", "seconds", type=Duration(), help="As many epochs as 90s, 10m or 2h are enough for.")
@click.option("--until", type=float, help="Short for --set until=ACCURACY: stop when validation is so good, 0 to 1.")
@click.option("--dry-run", is_flag=True, help="Only say what it will take: time, memory, disk, device.")
@click.option("--unknown", type=DATA, help="Learn to be unsure of these images, which show none of the classes.")
@click.option(
    "--teacher",
    "teachers",
    multiple=True,
    metavar="RUN",
    help="Learn from what this run makes of the images too; give it again for the mean of several.",
)
@devices
@training_options
@launchable(_resuming)
def fit(
    model: str | None,
    recipe: str | None,
    pooling: str | None,
    hidden: tuple[int, ...],
    weights: str | None,
    epochs: int | None,
    seconds: float | None,
    until: float | None,
    dry_run: bool,
    unknown: str | None,
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
    from recipes.fit import estimate, fit

    if seconds is not None and (epochs is not None or dry_run):
        raise RequestError(
            f"--time and {'--dry-run' if dry_run else '--epochs'} exclude each other: a time decides the epochs."
        )

    named = {
        "model.input_shape": list(shape) if shape else None,
        "model.pooling": pooling,
        "model.hidden": list(hidden) or None,
        "model.weights": weights,
        "epochs": epochs,
        "until": until,
        "unknown.source": unknown,
        "seed": seed,
    }
    short = [f"{key}={value}" for key, value in named.items() if value is not None]
    given = {"recipe": recipe, "overrides": [*overrides, *short], **settings}
    if dry_run:
        for written in ("out", "overwrite", "tensorboard"):
            del given[written]
        found = estimate(model, **given)
        return answer(as_json, asdict(found) | {"seconds": found.seconds}, lambda: text.estimate(found))
    _print_fitted(fit(model, seconds=seconds, **given), as_json)
    return None


@click.command()
@click.argument("source", type=MODEL_OR_FILE)
@click.option(
    "--recipe",
    type=FINETUNING,
    help="head, last-layers, last-stage, full, full-llrd, qat or a TOML file.  [default: by the number of images]",
)
@click.option("--weights", type=WEIGHTS, help="Of a model: imagenet, a file, or none.  [default: imagenet]")
@click.option(
    "--keep-classes",
    "keep_old_classes",
    is_flag=True,
    help="SOURCE is a run whose classes stay: add those of --data to them.",
)
@devices
@finetuning_options
@launchable(_resuming)
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

    SOURCE is a model with published weights (`zoo list --weights`), a run, or a .keras file. With `--recipe qat` it is
    a run that goes on with its own classes and images, as its int8 file computes it.

    \b
    Example: zoo finetune efficientnet_lite0 --data photos/ --out runs/photos
             zoo finetune runs/photos --recipe qat --out runs/photos-int8
    """
    from recipes.finetune import finetune

    named = (("model.input_shape", list(shape) if shape else None), ("seed", seed))
    short = [f"{key}={value}" for key, value in named if value is not None]
    _print_fitted(finetune(source, recipe=recipe, overrides=[*overrides, *short], **settings), as_json)


@click.command()
@click.argument("model", type=MODEL, required=False)
@click.option("--data", type=DATA, help="digits, tfds:NAME, a folder of class folders, or a table.csv.")
@click.option(
    "--space",
    type=SPACE,
    help="What is searched: a name (lenet, vgg-small, augmentation, training) or a TOML file.  [default: by the model]",
)
@click.option("--out", type=click.Path(path_type=Path), help="The folder of the study; one that is there goes on.")
@click.option(
    "--recipe",
    type=RECIPE,
    help="What is not searched: a name from `zoo recipes` or a TOML file.  [default: by the data]",
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
@click.option("--launch", type=Choice(["ray"]), help="Have a Ray cluster start the workers.")
@click.option("--sampler", type=Choice(["tpe", "random", "grid"]), default="tpe", show_default=True)
@click.option("--pruner", type=Choice(["median", "hyperband", "none"]), default="median", show_default=True)
@click.option(
    "--objective", "cost", type=Objective(), help="accuracy,COST for a front: parameters, macs, int8_bytes, latency_ms."
)
@click.option("--max-params", type=Amount(), help="Skip models with more parameters.")
@click.option("--max-macs", type=Amount(), help="Skip models with more multiply-adds.")
@click.option("--max-int8-bytes", type=Amount(), help="Skip models whose int8 weights take more bytes.")
@click.option("--seed", default=0, show_default=True, type=click.IntRange(0), help="Draws other trials and folds.")
@click.option("--storage", help="A journal that several machines can reach.  [default: in --out]")
@click.option("--show", "shown", type=click.Path(path_type=Path), help="Only list the trials of this study.")
@resize_if_asked
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
        return answer(as_json, rows, lambda: text.trials(rows))
    if missing := [name for name in ("data", "out") if not settings[name]]:
        raise RequestError(f"--{missing[0]} is missing.")
    given = {"parameters": max_params, "macs": max_macs, "int8_bytes": max_int8_bytes}
    limits = {name: most for name, most in given.items() if most is not None}
    result = tuning.tune(model, limits=limits, **settings)
    return answer(as_json, result.to_dict(), lambda: text.tuned(result))


@click.command("cross-validate")
@click.argument("model", type=MODEL, required=False)
@data
@click.option("--recipe", type=RECIPE, help="A name from `zoo recipes` or a TOML file.  [default: by the data]")
@click.option("--folds", default=10, show_default=True, type=click.IntRange(2), help="How many trainings.")
@click.option("--against", type=MODEL, help="Another model, on the same folds.")
@click.option("--against-recipe", type=RECIPE, help="The other's recipe.  [default: the same]")
@overrides("Change one setting of both recipes.")
@click.option("--seed", default=0, show_default=True, type=click.IntRange(0), help="Draws other folds.")
@click.option("--out", type=click.Path(path_type=Path), help="The prediction for each held-out image, as CSV.")
@resize_if_asked
@skip_bad
@split_near_duplicates
@devices
@quiet
@as_json
@launchable()
def cross_validate_(model: str | None, as_json: bool, **settings: Any) -> None:
    """Train MODEL once a fold and score every image by a model that did not see it; test images stay unseen.

    Devices, or workers, share the folds. Killed and started again with the same command, it goes on.

    \b
    Example: zoo cross-validate lenet5 --data digits --folds 5 --against mlp
    """
    from recipes.cross_validate import cross_validate

    result = cross_validate(model, **settings)
    answer(as_json, result.to_dict(), lambda: text.cross_validated(result))


@click.command()
@click.argument("source", type=MODEL_OR_FILE)
@click.argument("data", type=DATA)
@click.option("--out", required=True, type=click.Path(path_type=Path), help="The file to make, .npz.")
@click.option("--input-shape", "shape", type=Shape(), help="Bring images to this size.  [default: the source's]")
@click.option("--neighbours", default=0, type=click.IntRange(0), help="Also find so many nearest images of each.")
@resize_if_asked
@skip_bad
@split_near_duplicates
@devices
@quiet
@as_json
@launchable()
def embed(source: str, data: str, shape: tuple[int, int, int] | None, as_json: bool, **settings: Any) -> None:
    """Compute what SOURCE sees in the images of DATA: features, labels and file names in one NumPy file.

    SOURCE is a model with published weights (`zoo list --weights`), a run, or a .keras file.

    \b
    Example: zoo embed efficientnet_lite0 photos/ --out features.npz --neighbours 5
    """
    from recipes.embed import embed

    embedded = embed(source, data, input_shape=shape, **settings)
    answer(as_json, embedded.to_dict(), lambda: text.embedded(embedded))


@click.command()
@click.argument("run", type=click.Path(path_type=Path))
@devices
@quiet
@as_json
@launchable()
def resume(run: Path, devices: str, quiet: bool, as_json: bool) -> None:
    """Go on with the training of RUN where it was stopped; it ends as if it had not been.

    \b
    Example: zoo resume runs/first
    """
    from recipes.fit import resume

    _print_fitted(resume(run, devices=devices, quiet=quiet), as_json)


def _print_fitted(fitted: "Fitted", as_json: bool) -> None:
    for warning in fitted.warnings:
        warn(warning)
    for note in fitted.notes:
        click.echo(line(note), err=True)
    facts = {"run": str(fitted.run.path), "best_epoch": fitted.best_epoch, **fitted.metrics}
    answer(as_json, facts, lambda: text.fitted(fitted))
