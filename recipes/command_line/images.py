"""Images before a training: what is wrong with them, and how they are varied."""

from pathlib import Path
from typing import Any

import click

from recipes import text
from recipes.command_line.group import Commands
from recipes.command_line.names import AUGMENTATION, DATA, PART, TASK
from recipes.command_line.options import as_json, overrides, quiet, resize, skip_bad, split_near_duplicates
from recipes.command_line.printing import answer, line
from recipes.command_line.values import Shape
from zoo.errors import RequestError


@click.group(cls=Commands)
def augment() -> None:
    """What is done to training images: look at it before you train with it, or keep a set that it was done to.

    \b
    Example: zoo augment preview digits --recipe digits --out grid.png
    """


@augment.command("preview")
@click.argument("data", type=DATA)
@click.option(
    "--recipe",
    type=AUGMENTATION,
    default="natural",
    show_default=True,
    help="An augmentation of `zoo recipes`, or a TOML file.",
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
    answer(
        as_json,
        {"file": str(drawn.file), "captions": drawn.captions},
        lambda: line(f"{drawn.file}: {len(images)} images, {columns} draws of each with {recipe}"),
    )


@augment.command("write")
@click.argument("data", type=DATA)
@click.option(
    "--recipe",
    type=AUGMENTATION,
    default="natural",
    show_default=True,
    help="An augmentation of `zoo recipes`, or a TOML file.",
)
@click.option("--out", required=True, type=click.Path(path_type=Path), help="The folder to make.")
@overrides("Change one setting, as in rotation=180.")
@click.option(
    "--part", "parts", type=PART, multiple=True, help="Only train, validation or test; give it again for two."
)
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
    answer(
        as_json,
        written.to_dict(),
        lambda: line(
            f"{written.folder}: {sizes} images, varied once with {recipe}; --data {written.source} takes them"
        ),
    )


@click.group("data", cls=Commands)
def data_() -> None:
    """Look at a set of images before it is trained on, and pack one that is too large.

    \b
    zoo data check photos/
    """


@data_.command("pack")
@click.argument("data", type=DATA)
@click.option("--out", required=True, type=click.Path(path_type=Path), help="The folder to make.")
@click.option(
    "--input-shape",
    "shape",
    type=Shape(),
    help="Pack pixels of this size, which need no decoding.  [default: the files as they are]",
)
@resize
@click.option(
    "--split-seed", default=0, show_default=True, type=click.IntRange(0, 2**32 - 1), help="Another seed splits anew."
)
@click.option("--task", type=TASK, help="classification, multilabel or regression: how a table's labels are meant.")
@skip_bad
@split_near_duplicates
@click.option("--overwrite", is_flag=True, help="Replace the set in --out that this command wrote.")
@quiet
@as_json
def pack_(data: str, out: Path, shape: tuple[int, int, int] | None, as_json: bool, **settings: Any) -> None:
    """Check and split DATA once, and pack it into few large files that --data takes.

    For sets that no memory and no cache folder holds: each image is read by itself when it is needed, and every one of
    several workers reads its own share only.

    \b
    Example: zoo data pack photos/ --out shards
    """
    from recipes.data import pack

    packed = pack(data, out, image_shape=shape, **settings)
    sizes = ", ".join(f"{part} {count:,}" for part, count in packed.sizes.items())
    shards = f"{packed.shards:,} shard{'s' * (packed.shards != 1)}"
    answer(
        as_json,
        packed.to_dict(),
        lambda: line(f"{packed.folder}: {sizes} images, {packed.bytes:,} bytes in {shards}; --data {out} takes them"),
    )


@data_.command("check")
@click.argument("data", type=DATA)
@click.option("--task", type=TASK, help="classification, multilabel or regression: how a table's labels are meant.")
@split_near_duplicates
@click.option(
    "--labels",
    metavar="RUN|FILE",
    help="Look for wrong labels instead, by the scores of a run, of a model file, or of what zoo cross-validate --out "
    "wrote, which finds most.",
)
@click.option("--out", type=click.Path(path_type=Path), help="With --labels: an HTML page to decide on, one by one.")
@quiet
@as_json
def check(
    data: str,
    task: str | None,
    split_near_duplicates: bool,
    labels: str | None,
    out: Path | None,
    quiet: bool,
    as_json: bool,
) -> int:
    """Open every image of DATA and tell what is wrong with it; exit code 1 if it cannot be trained on as it is.

    DATA is a folder of class folders, with or without train/, validation/ and test/; a folder of IDX files; a CSV or
    TSV table of file and label; tfds:NAME; or digits. Nothing in it is changed.

    \b
    Example: zoo data check photos/ --json
    Example: zoo data check photos/ --labels runs/first --out labels.html
    """
    if labels is not None:
        from recipes.check_labels import check_labels
        from recipes.data import open_reader

        checked = check_labels(open_reader(data, task), labels, out=out)
        answer(as_json, checked.to_dict(), lambda: text.labels(checked))
        return 0
    if out is not None:
        raise RequestError("--out goes with --labels: zoo data check DATA --labels RUN --out labels.html.")
    from recipes.data import check

    report = check(data, task=task, split_near_duplicates=split_near_duplicates, quiet=quiet)
    answer(as_json, [finding.to_dict() for finding in report.findings], lambda: text.diagnosis(data, report))
    return int(report.errors > 0)
