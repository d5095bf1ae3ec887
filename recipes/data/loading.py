"""From a source to `Data`: reader, listing or arrays, diagnosis, parts, pixels."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from recipes.data import pixels
from recipes.data.checks.classes import about_classes
from recipes.data.checks.doctor import Diagnosis, diagnose
from recipes.data.checks.findings import BAD_FILE, Finding, listed, shown
from recipes.data.dataset import PARTS, Data, Split, TaskName
from recipes.data.decoding import Resize, channels, check_shape
from recipes.data.joining import join_sets
from recipes.data.labels import ONE_CLASS
from recipes.data.listing import Listing
from recipes.data.readers import ArrayReader, FileReader, Reader, open_reader
from recipes.data.split_table import split_tables
from recipes.data.splits import connected, draw_parts
from zoo.errors import RequestError

Shape = tuple[int, int, int]


def load(
    source: str | Reader,
    *,
    also: Sequence[str | Reader] | None = None,
    image_shape: Shape | None = None,
    resize: Resize = "fill",
    split_seed: int = 0,
    skip_bad: bool = False,
    split_table: str | Path | None = None,
    task: TaskName | None = None,
    quiet: bool = False,
) -> Data:
    """Loads, checks, resizes and splits a set of labelled images.

    Of files, every one is opened and checked first; what was found and the resized images are kept in the user's
    cache folder, so that a second start is immediate. The files themselves are never changed.

    Args:
        source: `digits` (embedded, never downloaded); `tfds:NAME[/CONFIG][:VERSION]` or `tfds:FOLDER`; a folder of
            class folders, with or without `train/`, `validation/` and `test/` above them; a folder of IDX files; a CSV
            or TSV table, see `recipes.data.readers.table.TableReader`. Or what `recipes.data.open_reader` made of it.
        also: further sources, whose images are added part by part; see `recipes.data.joining.join_sets`.
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
        FailureError: the source exists but could not be prepared (no internet connection, no space, no permission).
    """
    readers = [open_reader(one, task) for one in (source, *(also or ()))]
    tables = split_tables(split_table, readers) if split_table is not None else None
    if image_shape is not None:
        check_shape(image_shape, resize)
        height, width, depth = image_shape
        image_shape = int(height), int(width), int(depth)
    sets = []
    for number, reader in enumerate(readers):
        if isinstance(reader, FileReader):
            if image_shape is None:
                raise RequestError(f"{shown(reader.source)}: say which size to bring the images to (image_shape).")
            listing = tables[number].reduce(reader.listing) if tables else reader.listing
            sets.append(_load_files(listing, image_shape, resize, split_seed, skip_bad=skip_bad, quiet=quiet))
        else:
            assert isinstance(reader, ArrayReader)
            sets.append(_load_arrays(reader, image_shape, resize, split_seed, quiet=quiet))
    return join_sets(sets) if also else sets[0]


def _load_files(listing: Listing, shape: Shape, resize: Resize, seed: int, *, skip_bad: bool, quiet: bool) -> Data:
    diagnosis = diagnose(listing, quiet=quiet)
    skipped = _bad_files(diagnosis, skip_bad=skip_bad)
    kept, together = diagnosis.listing, diagnosis.together
    parts = _parts_of_files(kept, together, seed)
    digests = [look.digest for look in diagnosis.looks]
    images = pixels.load_files(parts, kept.paths, digests, shape, resize, quiet=quiet)
    files = np.asarray(kept.paths, object)
    units = together if kept.groups is None else connected(kept.groups, together)
    shapes = {(look.height, look.width, channels(look.mode)) for look in diagnosis.looks}
    splits = {
        part: Split(images[part], kept.labels[rows], tuple(files[rows]), units[rows]) for part, rows in parts.items()
    }
    return Data(
        source=listing.source,
        class_names=kept.class_names,
        image_shape=shapes.pop() if len(shapes) == 1 else None,
        train=splits["train"],
        validation=splits["validation"],
        test=splits["test"],
        task=kept.task,
        skipped=skipped,
        root=kept.root,
    )


def _bad_files(diagnosis: Diagnosis, *, skip_bad: bool) -> tuple[Finding, ...]:
    """The findings of files that are left out.

    Raises:
        RequestError: there are such files, and they are not to be left out; or what leaving files out does not fix.
    """
    bad = tuple(finding for finding in diagnosis.findings if finding.kind in BAD_FILE)
    if bad and not skip_bad:
        source = shown(diagnosis.listing.source)
        raise RequestError(
            f"{source}: {len(bad):,} file{'s' * (len(bad) != 1)} cannot be used: {listed(bad)}. "
            f"`zoo data check {source}` lists them; fix or remove them, or leave them out with --skip-bad."
        )
    if errors := [finding for finding in diagnosis.findings if finding.is_error and finding not in bad]:
        raise RequestError(" ".join(f"{finding.path} {finding.detail}" for finding in errors[:3]))
    return bad


def _parts_of_files(kept: Listing, together: np.ndarray, seed: int) -> dict[str, np.ndarray]:
    """Row numbers of each part: those that the source brings, and what is drawn from its training part.

    Raises:
        RequestError: there is no training part, or a class is missing in a part that needs it.
    """
    given = {part: np.flatnonzero(kept.parts == part) for part in kept.given_parts}
    given = given or {"train": np.arange(len(kept))}
    if "train" not in given:
        raise RequestError(f"{shown(kept.source)} has no part `train`; it has {', '.join(given)}.")
    strata = kept.label_kind.strata(kept.labels)
    parts = draw_parts(given, strata, seed=seed, together=together, groups=kept.groups)
    if kept.label_kind.single_label:
        _check_classes(parts, kept)
    return parts


def _check_classes(parts: dict[str, np.ndarray], kept: Listing) -> None:
    """Every class in training and, where the parts were drawn here, in all of them."""
    for part, rows in parts.items():
        if part in kept.given_parts and part != "train":
            continue
        absent = np.setdiff1d(np.arange(len(kept.class_names)), kept.labels[rows])
        if len(absent):
            raise RequestError(
                f"{shown(kept.source)}: no image of class {kept.class_names[absent[0]]} is left for the part {part}: "
                "its images are too few, copies of each other, or of too few groups."
            )


def _load_arrays(reader: ArrayReader, shape: Shape | None, resize: Resize, seed: int, *, quiet: bool) -> Data:
    shape = shape or reader.image_shape
    if shape is None:
        raise RequestError(
            f"{reader.source} has images of different sizes; say which size to bring them to (image_shape)."
        )
    given = {
        part: Split(reader.images(part, shape, resize, quiet=quiet), labels) for part, labels in reader.labels.items()
    }
    train = given["train"]
    if len(given) < len(PARTS):
        _check_counts(reader)
        rows = draw_parts({part: np.arange(len(split)) for part, split in given.items()}, train.labels, seed=seed)
        drawn = {part: train[rows[part]] for part in PARTS if part == "train" or part not in given}
        given |= drawn
    return Data(
        source=reader.source,
        class_names=reader.class_names,
        image_shape=reader.image_shape,
        train=given["train"],
        validation=given["validation"],
        test=given["test"],
    )


def _check_counts(reader: ArrayReader) -> None:
    """Raises a `RequestError` where a class has too few images to draw the parts that the source lacks."""
    labels = np.concatenate(list(reader.labels.values()))
    parts = np.repeat(np.asarray(reader.parts, "U10"), [len(labels) for labels in reader.labels.values()])
    for finding in about_classes(labels, parts, reader.class_names, ONE_CLASS.task, reader.source):
        if finding.kind == "too_few":
            raise RequestError(f"{finding.path} {finding.detail}")
