"""A set of images, varied once and kept: rotated test sets and the like, to score models on and to share.

The layout is one that `recipes.data.load` reads: PNG files in a folder for each part, in them one for each class; a
table `labels.csv` where a label is not one class, or where the names of classes can be no folders on some system.
"""

import csv
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tomli_w

from recipes.augment.pipeline import Affine, Augment
from recipes.data.checks.findings import shown
from recipes.data.dataset import EVALUATION_BATCH, PARTS, Data, relative
from recipes.data.decoded import Images
from recipes.data.decoding import Resize, from_array
from recipes.data.labels import SEVERAL_CLASSES
from recipes.data.loading import load
from recipes.data.names import alike, fault_of_name, quoted
from recipes.data.readers import FileReader, Reader, open_reader
from recipes.data.readers.folder import FolderReader
from recipes.data.readers.table import list_table
from recipes.data.system_folders import is_left_by_system
from recipes.support.files import check_free, write_folder
from zoo.backend import as_keras_ships, tf
from zoo.errors import RequestError, unknown

SETTINGS, DRAWN, LABELS = "augmentation.toml", "augmented.csv", "labels.csv"
_ODD = re.compile(r'[<>:"/\\|?*]|[ .]$|(con|prn|aux|nul|com\d|lpt\d)(\.|$)', re.IGNORECASE)  # no folder on Windows
_LONGEST = 255  # bytes of a name


@dataclass(frozen=True)
class Written:
    """What was written.

    Attributes:
        folder: where.
        source: what `--data` takes to read it again.
        sizes: how many images each part has.
    """

    folder: Path
    source: Path
    sizes: dict[str, int]

    def to_dict(self) -> dict[str, Any]:
        """In JSON types."""
        return asdict(self) | {"folder": str(self.folder), "source": str(self.source)}


@as_keras_ships
def write(
    source: str | Reader,
    augment: Augment,
    out: str | Path,
    *,
    parts: Sequence[str] = (),
    seed: int = 0,
    image_shape: tuple[int, int, int] | None = None,
    resize: Resize = "fill",
    skip_bad: bool = False,
    split_near_duplicates: bool = False,
    overwrite: bool = False,
    quiet: bool = False,
) -> Written:
    """Varies every image of a source of `recipes.data` once, and writes a set that has the same labels and parts.

    What happens to an image is a function of (seed, part, its place in the part), whichever parts are written.

    Args:
        source: as `recipes.data.load` takes it; where it brings no parts of its own, they are drawn as for a training.
        out: the folder to make.
        parts: only these of train, validation and test; those that there are if empty.
        seed: another one draws others.
        image_shape: what to bring images to before they are varied; arrays keep their shape without it.
        resize, skip_bad, split_near_duplicates: see `recipes.data.load`.
        overwrite: replace a set that this wrote.

    Returns:
        What `--data` takes, and the sizes. `augmented.csv` has what was drawn for each image, `augmentation.toml`
        all settings; both lie beside the parts.

    Raises:
        RequestError: no such source or part, `out` is taken, an augmentation that mixes labels, or labels that a table
            would not give back.
        FailureError: no space, or no permission; nothing is left.
    """
    out, reader = Path(out), open_reader(source)
    check_free(out, DRAWN, "zoo augment write", overwrite=overwrite)
    if augment.mixes:
        raise RequestError(
            "mixup and cutmix give an image fractions of two classes, which no folder holds: take an augmentation "
            "without them (`zoo recipes augment/NAME > mine.toml`, and delete these tables)."
        )
    for part in parts:
        if part not in PARTS:
            raise unknown("part", part, PARTS)
    if isinstance(reader, FileReader) and image_shape is None:
        raise RequestError(
            f"{shown(reader.source)} is made of files: say which size to bring them to, as in --input-shape 128x128x3."
        )
    if isinstance(reader, FolderReader) and out.resolve().is_relative_to(reader.path.resolve()):
        raise RequestError(
            f"{out} lies in {shown(reader.source)}, where it would be a class of it; choose another folder."
        )
    data = load(
        reader,
        image_shape=image_shape,
        resize=resize,
        skip_bad=skip_bad,
        split_near_duplicates=split_near_duplicates,
        purpose="score" if reader.parts and "train" not in reader.parts else "train",
        quiet=quiet,
    )
    there = [part for part in PARTS if data.sizes[part]]
    if lacking := [part for part in parts if part not in there]:
        raise RequestError(f"{shown(reader.source)} has no image in its part {lacking[0]}; it has {', '.join(there)}.")
    chosen = [part for part in there if part in (parts or there)]
    in_folders = isinstance(reader, FolderReader) or (data.label_kind.single_label and _are_folders(data.class_names))
    write_folder(out, lambda aside: _fill(aside, data, chosen, augment, seed, in_folders))
    return Written(out, out if in_folders else out / LABELS, {part: data.sizes[part] for part in chosen})


def varied(images: Images, augment: Augment, part: str, seed: int = 0) -> Iterable[tuple[np.ndarray, np.ndarray]]:
    """Images uint8 (N, H, W, C) of a part as they are written, in batches, each with its draws (B, columns)."""
    draws = augment.draw(len(images), tf.constant([seed, PARTS.index(part)], tf.int32)).numpy()
    for start in range(0, len(images), EVALUATION_BATCH):
        rows = slice(start, start + EVALUATION_BATCH)
        yield augment(tf.constant(images[rows]), tf.constant(draws[rows])).numpy(), draws[rows]


def _fill(folder: Path, data: Data, parts: Sequence[str], augment: Augment, seed: int, in_folders: bool) -> None:
    rows: list[dict[str, str]] = []
    moved = _moved(augment)
    for part in parts:
        split, number = data.parts[part], 0
        for name in data.class_names if in_folders else ("",):  # of a class without images, too
            (folder / part / name).mkdir(parents=True, exist_ok=True)
        digits = len(str(len(split) - 1))
        for images, draws in varied(split.images, augment, part, seed):
            drawn = {name: value.numpy() for name, value in augment.parameters(tf.constant(draws)).items()}
            for row, image in enumerate(images):
                label = data.label_kind.text(split.labels[number], data.class_names)
                file = "/".join((part, *([label] if in_folders else []), f"{number:0{digits}}.png"))
                from_array(image).save(folder / file)
                came = relative(split.files[number], data.root or Path()) if split.files else str(number)
                values = {name: f"{drawn[name][row]:.6g}" for name in moved}
                words = ", ".join(augment.describe(draws[row], image.shape[:2]))
                rows.append({"file": file, "split": part, "label": label, "from": came, **values, "words": words})
                number += 1
    _write_table(folder / DRAWN, rows)
    if not in_folders:
        _write_table(folder / LABELS, _labelled(data, parts, rows))
        _check_table(folder / LABELS, data, rows)
    about = f"# zoo augment write {shown(data.source)} --recipe {SETTINGS} --seed {seed}\n"
    settings = tomli_w.dumps(augment.model_dump(mode="json", exclude_none=True))
    (folder / SETTINGS).write_text(about + settings, "utf-8")


def _moved(augment: Augment) -> list[str]:
    """The numbers of `Affine.parameters` that its settings change; what they always leave as it is has no column."""
    probe = tf.constant([[0.25] * len(augment.draws), [0.75] * len(augment.draws)])
    varied, still = augment.parameters(probe), Affine().parameters(probe)
    return [name for name in still if not np.array_equal(varied[name], still[name])]


def _labelled(data: Data, parts: Sequence[str], rows: Sequence[Mapping[str, str]]) -> list[dict[str, str]]:
    """The table that `--data` takes; of several classes with a column for each, so that none is lost."""
    if data.label_kind is not SEVERAL_CLASSES:
        return [{key: row[key] for key in ("file", "split", "label")} for row in rows]
    labels = np.concatenate([data.parts[part].labels for part in parts])
    return [
        {key: row[key] for key in ("file", "split")}
        | {name: str(int(there)) for name, there in zip(data.class_names, label, strict=True)}
        for row, label in zip(rows, labels, strict=True)
    ]


def _write_table(file: Path, rows: Sequence[Mapping[str, str]]) -> None:
    with open(file, "w", encoding="utf-8", newline="") as lines:
        writer = csv.DictWriter(lines, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def _are_folders(names: Sequence[str]) -> bool:
    """Whether classes can be folders on every system: no two of one name, none that a system keeps for itself."""
    different = len({alike(name) for name in names}) == len(names)
    return different and not any(
        fault_of_name(name) or _ODD.search(name) or is_left_by_system(name) or len(name.encode()) > _LONGEST
        for name in names
    )


def _check_table(table: Path, data: Data, rows: Sequence[Mapping[str, str]]) -> None:
    """Raises a `RequestError` where a table, with its images beside it, would not give the labels back."""
    try:
        back = list_table(LABELS, table)
        labels = [back.label_kind.text(label, back.class_names) for label in back.labels]
        why = "" if back.task == data.task else f"they would be taken for {back.task}"
    except RequestError as error:
        labels, why = [], str(error).replace(str(table), LABELS)
    lost = next((row["label"] for row, label in zip(rows, labels, strict=False) if row["label"] != label), None)
    if why or lost is not None:
        raise RequestError(
            f"{shown(data.source)} has labels that a table would not give back: {why or quoted(str(lost))}."
        )
