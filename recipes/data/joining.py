"""Several sets of images as one."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from recipes.data.checks.doctor import Fingerprints, find_copies
from recipes.data.checks.examine import examine
from recipes.data.checks.findings import listed
from recipes.data.dataset import PARTS, Data, Split, concatenate
from recipes.data.split_table import common_root
from zoo.errors import RequestError


def join_sets(sets: Sequence[Data]) -> Data:
    """The images of all sets, part by part, held in memory. Classes of one name are one class.

    Class names keep the order that they first appear in, so those of the first set keep their labels. Each set was
    split into parts by itself: what was a test image there is one here, and `without_leaks` has to look for copies.

    Raises:
        RequestError: a set that does not have one class an image.
    """
    for one in sets:
        if not one.label_kind.single_label:
            raise RequestError(f"{one.source} is a set for {one.task}; only sets of classes can be joined.")
    names = tuple(dict.fromkeys(name for one in sets for name in one.class_names))
    number = {name: label for label, name in enumerate(names)}

    def part(kind: str) -> Split:
        splits = []
        for one in sets:
            split, numbers = one.parts[kind], np.asarray([number[name] for name in one.class_names], np.int64)
            splits.append(replace(split, labels=numbers[split.labels], groups=None))
        return concatenate(splits)

    roots = [one.root for one in sets if one.root is not None]
    shapes = {one.image_shape for one in sets}
    return Data(
        source=" + ".join(one.source for one in sets),
        class_names=names,
        image_shape=shapes.pop() if len(shapes) == 1 else None,
        train=part("train"),
        validation=part("validation"),
        test=part("test"),
        skipped=tuple(finding for one in sets for finding in one.skipped),
        root=common_root(roots) if len(roots) == len(sets) else None,
        digests={name: digest for one in sets for name, digest in one.digests.items()},
    )


def with_parts(data: Data, part_of: Mapping[str, str]) -> Data:
    """The same images, but those that `part_of` names, by whole path, in the part that it says; held in memory."""
    files, _, now = _rows(data)
    parts = np.asarray([part_of.get(os.path.abspath(file), part) for file, part in zip(files, now, strict=True)])
    every = concatenate(list(data.parts.values()))
    train, validation, test = (every[np.flatnonzero(parts == part)] for part in PARTS)
    return replace(data, train=train, validation=validation, test=test)


def without_leaks(data: Data, *, skip_bad: bool) -> Data:
    """The same images, but of copies of one file that are in several parts only those it is judged by.

    Args:
        data: of files, joined from several sets.
        skip_bad: leaves the other copies out and lists them in `Data.skipped`, instead of stopping.

    Raises:
        RequestError: there are such copies; the message names them.
    """
    files, labels, parts = _rows(data)
    examined = examine(files, quiet=True)
    for row in np.flatnonzero(~examined.usable):
        examined[int(row)].look_at(files[row])  # raises
    _, _, findings, leaked = find_copies(Fingerprints.of_files(files, examined.looks, labels, parts, data.label_kind))
    leaks = tuple(finding for finding in findings if finding.kind == "leak")
    if not leaks:
        return data
    if not skip_bad:
        raise RequestError(
            f"{data.source}: {len(leaks):,} file{'s' * (len(leaks) != 1)} to learn from would be judged by too: "
            f"{listed(leaks)}; {leaks[0].path} {leaks[0].detail} Remove them, or leave them out with --skip-bad."
        )
    train, validation, test = (split[np.flatnonzero(~leaked[parts == part])] for part, split in data.parts.items())
    return replace(data, train=train, validation=validation, test=test, skipped=data.skipped + leaks)


def _rows(data: Data) -> tuple[tuple[str, ...], np.ndarray, np.ndarray]:
    """File, label and part of every image of a set of files, part by part."""
    files = tuple(file for split in data.parts.values() for file in split.files or ())
    labels = np.concatenate([split.labels for split in data.parts.values()])
    return files, labels, np.repeat(PARTS, list(data.sizes.values()))
