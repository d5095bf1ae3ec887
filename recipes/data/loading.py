"""From a source to `Data`: reader, listing or arrays, diagnosis, parts, pixels."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from recipes.data import pixels
from recipes.data.checks.doctor import diagnose, judge_arrays
from recipes.data.checks.findings import BAD_FILE, shown
from recipes.data.checks.verdict import Purpose, refusal
from recipes.data.dataset import PARTS, Data, Split, TaskName
from recipes.data.decoded import Images
from recipes.data.decoding import Resize, channels, check_shape
from recipes.data.joining import join_sets
from recipes.data.listing import Listing
from recipes.data.readers import ArrayReader, FileReader, Reader, open_reader
from recipes.data.split_table import SplitTable, split_tables
from recipes.data.splits import connected
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
    split_near_duplicates: bool | None = False,
    split_table: str | Path | None = None,
    task: TaskName | None = None,
    purpose: Purpose = "train",
    on_demand: bool = False,
    quiet: bool = False,
) -> Data:
    """Loads, checks, resizes and splits a set of labelled images.

    Of files, every one is opened and checked first; what was found and the resized images are kept in the user's
    cache folder, so that a second start is immediate. The files themselves are never changed.

    Args:
        source: `digits` (embedded, never downloaded); `tfds:NAME[/CONFIG][:VERSION]` or `tfds:FOLDER`; a folder of
            class folders, with or without `train/`, `validation/` and `test/` above them; a folder of IDX files; a CSV
            or TSV table, see `recipes.data.readers.table.TableReader`; a folder that `pack` wrote. Or what
            `recipes.data.open_reader` made of it.
        also: further sources, whose images are added part by part; see `recipes.data.joining.join_sets`.
        image_shape: (H, W, C) of the arrays; as the images are if None, where they are all of one size by their
            source; files need it.
        resize: what is done to images of another size, see `recipes.data.decoding.to_array`.
        split_seed: draws test (a fifth) and validation (a tenth of the rest), stratified, where the source does not
            bring its own. Copies of one image and files of one group come into one part.
        skip_bad: leaves files out that cannot be used, instead of stopping; `Data.skipped` lists them.
        split_near_duplicates: only exact copies are kept together: for a fixed camera, where all images are alike.
        split_table: a CSV file with the rows of `Data.split_table`: exactly these files, in these parts.
        task: how a table's labels are meant, if not as they look.
        purpose: `score`: nothing is split, parts may be missing and then are empty, classes may have no image.
            `join`: one class is enough. See `recipes.data.checks.verdict.Purpose`.
        on_demand: reads an image only when it is used, and each time anew, where the source can: for a worker that
            sees only its share of a packed set.
        quiet: no progress and no remarks on stderr.

    Raises:
        RequestError: no such source, images of different sizes without `image_shape`, or any of what
            `recipes.data.check` tells as an error: a bad file, an empty class, one class only, too few images to split;
            the message names the file and the ways on.
        FailureError: the source exists but could not be prepared (no internet connection, no space, no permission).
    """
    readers = [open_reader(one, task) for one in (source, *(also or ()))]
    tables = split_tables(split_table, readers) if split_table is not None else None
    if image_shape is not None:
        check_shape(image_shape, resize)
        height, width, depth = image_shape
        image_shape = int(height), int(width), int(depth)
    sets = []
    if also and purpose == "train":
        purpose = "join"
    for number, reader in enumerate(readers):
        if isinstance(reader, FileReader):
            if image_shape is None:
                raise RequestError(f"{shown(reader.source)}: say which size to bring the images to (image_shape).")
            table = tables[number] if tables else None
            sets.append(
                _load_files(
                    table.reduce(reader.listing) if table else reader.listing,
                    table,
                    image_shape,
                    resize,
                    split_seed,
                    purpose,
                    bool(split_near_duplicates),
                    skip_bad=skip_bad,
                    quiet=quiet,
                )
            )
        else:
            assert isinstance(reader, ArrayReader)
            sets.append(
                _load_arrays(reader, image_shape, resize, split_seed, purpose, on_demand=on_demand, quiet=quiet)
            )
    return join_sets(sets) if also else sets[0]


def _load_files(
    listing: Listing,
    table: SplitTable | None,
    shape: Shape,
    resize: Resize,
    seed: int,
    purpose: Purpose,
    split_near_duplicates: bool,
    *,
    skip_bad: bool,
    quiet: bool,
) -> Data:
    diagnosis = diagnose(listing, seed=seed, purpose=purpose, split_near_duplicates=split_near_duplicates, quiet=quiet)
    usable = zip(diagnosis.listing.paths, diagnosis.looks, strict=True)
    contents = {path: look.digest.hex() for path, look in usable}
    if table is not None:
        table.check_content(contents)
    if why := refusal(diagnosis.findings, shown(listing.source), skip_bad=skip_bad):
        raise RequestError(why)
    kept, together, parts = diagnosis.listing, diagnosis.together, diagnosis.parts
    digests = [look.digest for look in diagnosis.looks]
    images = pixels.load_files(parts, kept.paths, digests, shape, resize, quiet=quiet)
    files = np.asarray(list(kept.paths), object)
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
        skipped=tuple(finding for finding in diagnosis.findings if finding.kind in BAD_FILE),
        root=kept.root,
        digests=contents,
    )


def _load_arrays(
    reader: ArrayReader,
    shape: Shape | None,
    resize: Resize,
    seed: int,
    purpose: Purpose,
    *,
    on_demand: bool,
    quiet: bool,
) -> Data:
    shape = shape or reader.image_shape
    if shape is None:
        raise RequestError(
            f"{reader.source} has images of different sizes; say which size to bring them to (image_shape)."
        )
    verdict = judge_arrays(reader, seed=seed, purpose=purpose)
    if why := refusal(verdict.findings, shown(reader.source)):
        raise RequestError(why)
    given = {}
    for part, labels in reader.labels.items():
        images: Images | None = reader.decoded(part, shape, resize) if on_demand else None
        if images is None:
            images = reader.images(part, shape, resize, quiet=quiet)
        given[part] = Split(images, labels, groups=reader.groups[part] if reader.groups else None)
    if purpose != "score" and len(given) < len(PARTS):
        before = list(given)[: list(given).index("train")]  # rows are numbered through all parts, in their order
        first = sum(len(given[part]) for part in before)
        train = given["train"]
        given |= {part: train[verdict.parts[part] - first] for part in PARTS if part == "train" or part not in given}
    nothing = next(iter(given.values()))[:0]
    return Data(
        source=reader.source,
        class_names=reader.class_names,
        image_shape=reader.image_shape,
        train=given.get("train", nothing),
        validation=given.get("validation", nothing),
        test=given.get("test", nothing),
        task=reader.label_task,
        digests={reader.source: reader.digest},
    )
