"""A set written into shards: checked and split once, then read by random access, by any number of machines."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from recipes.data.checks.doctor import diagnose, judge_arrays
from recipes.data.checks.findings import shown
from recipes.data.checks.verdict import refusal
from recipes.data.dataset import TaskName
from recipes.data.decoding import ImageError, Resize, channels, check_shape, decode_to
from recipes.data.readers import ArrayReader, FileReader, Reader, open_reader
from recipes.data.readers.folder import FolderReader
from recipes.data.shards import HEADER, VERSION, Header, Packed, ShardWriter, digest_of_record, write_index, write_names
from recipes.data.splits import connected
from recipes.support.files import check_free, write_folder
from recipes.support.threads import in_threads, progress
from zoo.errors import RequestError

Shape = tuple[int, int, int]


@dataclass(frozen=True, eq=False)
class _Content:
    """What is packed: a record an image in `records`, and what is known of each; the rest as in `Header`."""

    task: TaskName
    class_names: tuple[str, ...]
    image_shape: Shape | None
    pixels: Shape | None
    names: tuple[str, ...]
    labels: np.ndarray
    parts: dict[str, np.ndarray]
    groups: np.ndarray | None
    records: Iterator[bytes]


def pack(
    source: str | Reader,
    out: str | Path,
    *,
    image_shape: Shape | None = None,
    resize: Resize = "fill",
    split_seed: int = 0,
    task: TaskName | None = None,
    skip_bad: bool = False,
    split_near_duplicates: bool = False,
    overwrite: bool = False,
    quiet: bool = False,
) -> Packed:
    """Packs a set into shards that `load` reads by random access, see `recipes.data.shards`.

    It is checked and split as `load` does it; images, their order, labels, parts and groups are those that `load`
    gives of the source itself, so that a training on either is the same, to the last bit.

    Args:
        source: as `load` takes it.
        out: the folder to make.
        image_shape: packs pixels uint8 of this (H, W, C), which need no decoding; files are packed as they are without.
        resize: how images are brought to `image_shape`, see `recipes.data.decoding.to_array`.
        split_seed, task, skip_bad, split_near_duplicates: as for `load`.
        overwrite: replace a set that this wrote.
        quiet: no progress and no remarks on stderr.

    Raises:
        RequestError: as `load`; `out` is taken; images of different sizes that are not files, without `image_shape`.
        FailureError: no space, or no permission; nothing is left.
    """
    out, reader = Path(out), open_reader(source, task)
    check_free(out, HEADER, "zoo data pack", overwrite=overwrite)
    if image_shape is not None:
        check_shape(image_shape, resize)
    if isinstance(reader, FolderReader) and out.resolve().is_relative_to(reader.path.resolve()):
        raise RequestError(
            f"{out} lies in {shown(reader.source)}, where it would be a class of it; choose another folder."
        )
    if isinstance(reader, FileReader):
        content = _files(
            reader,
            image_shape,
            resize,
            split_seed,
            skip_bad=skip_bad,
            split_near_duplicates=split_near_duplicates,
            quiet=quiet,
        )
    else:
        assert isinstance(reader, ArrayReader)
        content = _arrays(reader, image_shape, resize, split_seed, quiet=quiet)
    packed: list[Packed] = []
    write_folder(out, lambda folder: packed.append(_fill(folder, content, reader.source, resize, out, quiet=quiet)))
    return packed[0]


def _files(
    reader: FileReader,
    shape: Shape | None,
    resize: Resize,
    seed: int,
    *,
    skip_bad: bool,
    split_near_duplicates: bool,
    quiet: bool,
) -> _Content:
    found = diagnose(reader.listing, seed=seed, split_near_duplicates=split_near_duplicates, quiet=quiet)
    if why := refusal(found.findings, shown(reader.source), skip_bad=skip_bad):
        raise RequestError(why)
    kept, paths = found.listing, found.listing.paths

    def record(row: int) -> bytes:
        path, digest = paths[row], found.looks[row].digest
        if shape is not None:
            return decode_to(path, shape, resize, digest=digest).tobytes()
        content = Path(path).read_bytes()
        if digest_of_record(content) != digest:
            raise ImageError(path, "changed", "was changed after it had been looked at; begin again.")
        return content

    shapes = {(look.height, look.width, channels(look.mode)) for look in found.looks}
    return _Content(
        task=kept.task,
        class_names=kept.class_names,
        image_shape=shapes.pop() if len(shapes) == 1 else None,
        pixels=shape,
        names=kept.names,
        labels=kept.labels,
        parts=found.parts,
        groups=found.together if kept.groups is None else connected(kept.groups, found.together),
        records=in_threads(record, range(len(paths))),
    )


def _arrays(reader: ArrayReader, shape: Shape | None, resize: Resize, seed: int, *, quiet: bool) -> _Content:
    shape = shape or reader.image_shape
    if shape is None:
        raise RequestError(
            f"{shown(reader.source)} has images of different sizes; say which size to bring them to (--input-shape)."
        )
    verdict = judge_arrays(reader, seed=seed)
    if why := refusal(verdict.findings, shown(reader.source)):
        raise RequestError(why)

    def records() -> Iterator[bytes]:
        for part in reader.parts:
            for image in reader.images(part, shape, resize, quiet=quiet):
                yield image.tobytes()

    return _Content(
        task=reader.label_task,
        class_names=reader.class_names,
        image_shape=reader.image_shape,
        pixels=shape,
        names=tuple(f"{part}/{row}" for part, labels in reader.labels.items() for row in range(len(labels))),
        labels=np.concatenate(list(reader.labels.values())),
        parts=verdict.parts,
        groups=np.concatenate(list(reader.groups.values())) if reader.groups else None,
        records=records(),
    )


def _fill(folder: Path, content: _Content, source: str, resize: Resize, out: Path, *, quiet: bool) -> Packed:
    writer = ShardWriter(folder)
    digests = []
    for record in progress(content.records, len(content.labels), "packing images", quiet=quiet):
        writer.write(record)
        digests.append(digest_of_record(record))
    writer.close()
    index = write_index(folder, content.parts, content.groups, digests, content.labels, content.task)
    write_names(folder, content.names)
    header = Header(
        version=VERSION,
        source=source,
        task=content.task,
        class_names=content.class_names,
        image_shape=content.image_shape,
        pixels=content.pixels,
        resize=resize,
        counts=tuple(writer.counts),
        index=index,
    )
    (folder / HEADER).write_text(f"{header.model_dump_json(indent=1)}\n", "utf-8")
    sizes = {part: len(rows) for part, rows in content.parts.items()}
    return Packed(out, sizes, len(writer.counts), writer.bytes)
