"""From a name, a folder or a table to `Data`."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from recipes.data.checks.findings import BAD_FILE, listed, shown
from recipes.data.dataset import Data, Split, Task, relative
from recipes.data.decoding import Resize, channels, check_shape
from recipes.data.labels import ONE_CLASS
from recipes.data.listing import Listing
from recipes.data.readers.sources import check_source, kind_of, list_source
from recipes.support.quiet import import_keras
from zoo.errors import RequestError


def load(
    source: str,
    *,
    also: Sequence[str] | None = None,
    image_shape: tuple[int, int, int] | None = None,
    resize: Resize = "fill",
    split_seed: int = 0,
    skip_bad: bool = False,
    split_table: str | Path | None = None,
    task: Task | None = None,
    quiet: bool = False,
) -> Data:
    """Loads, checks, resizes and splits a set of labelled images.

    Of files, every one is opened and checked first; what was found and the resized images are kept in the user's
    cache folder, so that a second start is immediate. The files themselves are never changed.

    Args:
        source: `digits` (embedded, needs no network); `tfds:NAME[/CONFIG][:VERSION]` or `tfds:FOLDER`; a folder of
            class folders, with or without `train/`, `validation/` and `test/` above them; a folder of IDX files; a CSV
            or TSV table, see `recipes.data.readers.table.list_table`.
        also: further sources, whose images are added part by part; see `recipes.data.joining.joined`.
        image_shape: (H, W, C) of the arrays; as the images are if None, where they are all of one size by their
            source; files need it.
        resize: what is done to images of another size, see `recipes.data.decoding.to_array`.
        split_seed: draws test (a fifth) and validation (a tenth of the rest), stratified, where the source does not
            bring its own. Copies of one image and files of one group come into one part.
        skip_bad: leaves files out that cannot be used, instead of stopping; `Data.skipped` lists them.
        split_table: a CSV file with the rows of `Data.split_table`: exactly these files, in these parts.
        task: how a table's labels are meant, if not as they look.
        quiet: no progress and no remarks on stderr.

    Raises:
        RequestError: no such source, a bad file or an empty class in it, too few images to split, or images of
            different sizes without `image_shape`; the message names the file and the ways on.
        FailureError: the source exists but could not be prepared (no network, no space, no permission).
    """
    sources = (source, *(also or ()))
    for one in sources:
        check_source(one)
    tables = _tables(split_table, sources) if split_table is not None else [None] * len(sources)
    how = {"image_shape": image_shape, "resize": resize, "seed": split_seed, "task": task}
    how |= {"skip_bad": skip_bad, "quiet": quiet}
    sets = [_load_one(one, table, **how) for one, table in zip(sources, tables, strict=True)]
    if not also:
        return sets[0]
    from recipes.data.joining import joined

    return joined(sets)


def _load_one(
    source: str,
    table: "_Table | None",
    *,
    image_shape: tuple[int, int, int] | None,
    resize: Resize,
    seed: int,
    task: Task | None,
    skip_bad: bool,
    quiet: bool,
) -> Data:
    import_keras()  # before TensorFlow, which would find the name taken by what loads it lazily
    if image_shape is not None:
        check_shape(image_shape, resize)
        image_shape = tuple(int(n) for n in image_shape)
    kind = kind_of(source)
    if kind in ("folder", "table"):
        if image_shape is None:
            raise RequestError(f"{shown(source)}: say which size to bring the images to (image_shape).")
        listing = list_source(source, task)
        if table is not None:
            listing = _as_in(table, listing)
        return _load_files(listing, image_shape, resize, seed, skip_bad=skip_bad, quiet=quiet)
    if not ONE_CLASS.is_meant(task):
        raise RequestError(f"{source} is a set of classes: task={task!r} is not possible.")
    from recipes.data.arrays import load_arrays

    return load_arrays(source, image_shape, resize, seed, quiet=quiet)


def _load_files(
    listing: Listing,
    shape: tuple[int, int, int],
    resize: Resize,
    seed: int,
    *,
    skip_bad: bool,
    quiet: bool,
) -> Data:
    from recipes.data import pixels, splits
    from recipes.data.checks import doctor

    diagnosis = doctor.diagnose(listing, quiet=quiet)
    skipped = tuple(finding for finding in diagnosis.findings if finding.kind in BAD_FILE)
    source = shown(listing.source)
    if skipped and not skip_bad:
        raise RequestError(
            f"{source}: {len(skipped):,} file{'s' * (len(skipped) != 1)} cannot be used: {listed(skipped)}. "
            f"`zoo data check {source}` lists them; mend or remove them, or leave them out with --skip-bad."
        )
    if errors := [finding for finding in diagnosis.findings if finding.is_error and finding not in skipped]:
        raise RequestError(" ".join(f"{finding.path} {finding.detail}" for finding in errors[:3]))
    kept = diagnosis.listing
    given = {part: np.flatnonzero(kept.parts == part) for part in kept.given_parts}
    given = given or {"train": np.arange(len(kept))}
    if "train" not in given:
        raise RequestError(f"{source} has no part `train`; it has {', '.join(given)}.")
    parts = splits.cut(
        given,
        kept.label_kind.strata(kept.labels),
        seed=seed,
        together=diagnosis.together,
        groups=kept.groups,
    )
    if kept.label_kind.single_label:
        _check_classes(parts, kept)
    paths = kept.paths
    digests = [found.look.digest for found in diagnosis.looks]
    images = pixels.load_files(parts, paths, digests, shape, resize, quiet=quiet)
    files = np.asarray(paths, object)
    units = splits.joined(kept.groups, diagnosis.together) if kept.groups is not None else diagnosis.together
    shapes = {(found.look.height, found.look.width, channels(found.look.mode)) for found in diagnosis.looks}
    return Data(
        source=listing.source,
        class_names=kept.class_names,
        image_shape=shapes.pop() if len(shapes) == 1 else None,
        **{
            part: Split(images[part], kept.labels[rows], tuple(files[rows]), units[rows])
            for part, rows in parts.items()
        },
        task=kept.task,
        skipped=skipped,
        root=kept.root,
    )


def _check_classes(parts: dict[str, np.ndarray], kept: Listing) -> None:
    """Every class in training and, where the parts were cut here, in all of them."""
    for part, rows in parts.items():
        if part in kept.given_parts and part != "train":
            continue
        absent = np.setdiff1d(np.arange(len(kept.class_names)), kept.labels[rows])
        if len(absent):
            raise RequestError(
                f"{shown(kept.source)}: no image of class {kept.class_names[absent[0]]} is left for the part {part}: "
                "its images are too few, copies of each other, or of too few groups."
            )


@dataclass(frozen=True)
class _Table:
    """Rows of a split table that are of one source; their files are relative to `root`, or else to the source's own."""

    path: str | Path
    rows: list[dict[str, str]]
    root: Path | None = None


def _tables(path: str | Path, sources: Sequence[str]) -> list[_Table]:
    """What a split table says of each source. A file that no source has any more counts with the first."""
    from recipes.data.joining import common_root
    from recipes.data.splits import read_split_table

    for source in sources:
        if kind_of(source) not in ("folder", "table"):
            raise RequestError(f"{source} is not made of files: it has no split table, its parts follow from the seed.")
    rows = read_split_table(path)
    if len(sources) == 1:
        return [_Table(path, rows)]
    listings = [list_source(source) for source in sources]
    root = common_root(listing.root for listing in listings)
    own = [{relative(file, root) for file in listing.paths} for listing in listings]
    owners = [next((number for number, files in enumerate(own) if row["file"] in files), 0) for row in rows]
    return [
        _Table(path, [row for row, owner in zip(rows, owners, strict=True) if owner == number], root)
        for number in range(len(sources))
    ]


def _as_in(table: _Table, listing: Listing) -> Listing:
    """The listing reduced to the files of a split table, in its parts."""
    root, rows = table.root or listing.root, table.rows
    position = {relative(path, root): row for row, path in enumerate(listing.paths)}
    missing = [row["file"] for row in rows if row["file"] not in position]
    if missing:
        first = shown(root / missing[0])
        raise RequestError(
            f"{first}, which {shown(table.path)} names, is not there any more"
            + (f", nor are {len(missing) - 1:,} others." if len(missing) > 1 else ".")
        )
    chosen = np.asarray([position[row["file"]] for row in rows])
    for row, where in zip(rows, chosen, strict=True):
        if not listing.label_kind.is_same(row["label"], listing.labels[where], listing.class_names):
            raise RequestError(
                f"{shown(root / row['file'])} has the label {listing.of_class(where)!r} now; "
                f"{shown(table.path)} has it as {row['label']!r}."
            )
    kept = listing.only(chosen)
    parts = np.asarray([row["split"] for row in rows], "U10")
    # A class that came later must not move the numbers of the others.
    labels, class_names = kept.label_kind.used_only(kept.labels, kept.class_names)
    return replace(kept, labels=labels, class_names=class_names, parts=parts, groups=None, findings=())
