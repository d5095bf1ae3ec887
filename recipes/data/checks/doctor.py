"""What is wrong, or worth knowing, about a set of images, before anything is trained on it."""

import hashlib
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from recipes.data.checks import duplicates
from recipes.data.checks.examine import Examined, examine
from recipes.data.checks.findings import Finding, errors_first, shown
from recipes.data.checks.looks import Looks
from recipes.data.checks.verdict import Purpose, Verdict, judge, refusal
from recipes.data.dataset import PARTS, TaskName
from recipes.data.decoding import from_array, thumbnail
from recipes.data.labels import LABEL_KINDS, LabelKind
from recipes.data.listing import Listing
from recipes.data.readers import ArrayReader, FileReader, Reader, open_reader
from recipes.data.splits import connected
from zoo.cache import expanded

SPREAD = 4.0  # times as long a side in the largest image as in the smallest
_MODES = {"CMYK": "CMYK", "YCbCr": "YCbCr", "LAB": "LAB", "HSV": "HSV", "1": "black and white only"}


@dataclass(frozen=True, eq=False)
class Diagnosis:
    """What `diagnose` found.

    Attributes:
        listing: the files that can be used; without the bad ones.
        looks: what a look at each of them told.
        together: int64 (N,), equal for copies of one image, exact or near, that the split does not part.
        parts: row numbers of train, validation and test; where there are errors, of the parts that the source brings.
        findings: errors first.
    """

    listing: Listing
    looks: Looks
    together: np.ndarray
    parts: dict[str, np.ndarray]
    findings: tuple[Finding, ...]


@dataclass(frozen=True, eq=False)
class Fingerprints:
    """What copies are looked for in.

    Attributes:
        paths: N images, as findings name them.
        digests: (N,), equal for equal images.
        thumbnails: uint8 (N, 16, 18), see `recipes.data.decoding.THUMBNAIL`.
        labels, parts: (N, ...) and (N,), as in `Listing`.
        classes: int64 (N,), see `recipes.data.labels.LabelKind.numbered`: only images of one number may be near copies.
    """

    paths: Sequence[str]
    digests: np.ndarray
    thumbnails: np.ndarray
    labels: np.ndarray
    parts: np.ndarray
    classes: np.ndarray

    @classmethod
    def of_files(
        cls, paths: Sequence[str], looks: Looks, labels: np.ndarray, parts: np.ndarray, kind: LabelKind
    ) -> "Fingerprints":
        """Of files that can be used."""
        return cls(paths, looks.digests, looks.thumbnails, labels, parts, kind.numbered(labels))

    @classmethod
    def of_arrays(cls, reader: ArrayReader, *, quiet: bool) -> "Fingerprints":
        """Of the images of a source that is not made of files; at 64x64 where they are of different sizes."""
        shape = reader.image_shape or (64, 64, 3)
        digests, thumbnails = [], []
        for part in reader.parts:
            for image in reader.images(part, shape, reader.resize, quiet=quiet):  # one by one: they may be many
                digests.append(hashlib.sha1(image.tobytes()).digest())
                thumbnails.append(thumbnail(from_array(image)))
        sizes = {part: len(labels) for part, labels in reader.labels.items()}
        every = np.concatenate(list(reader.labels.values()))
        return cls(
            paths=[f"{shown(reader.source)}: {part} {row}" for part, size in sizes.items() for row in range(size)],
            digests=np.asarray(digests, "V20"),
            thumbnails=duplicates.stacked(thumbnails),
            labels=every,
            parts=np.repeat(np.asarray(list(sizes), "U10"), list(sizes.values())),
            classes=LABEL_KINDS[reader.label_task].numbered(every),
        )


@dataclass(frozen=True)
class CheckResult:
    """What `zoo data check` tells.

    Attributes:
        findings: errors first.
        images: how many can be used.
        task: what the labels are.
        class_names: position is the label.
        refusal: what a training on it would be refused with, None if it can be trained on.
        sizes: how many images each part has; empty if it cannot be trained on.
    """

    findings: tuple[Finding, ...]
    images: int
    task: TaskName
    class_names: tuple[str, ...]
    refusal: str | None
    sizes: dict[str, int]

    @property
    def errors(self) -> int:
        """How many findings are errors."""
        return sum(finding.is_error for finding in self.findings)


def check(
    source: str | Reader, *, task: TaskName | None = None, split_near_duplicates: bool = False, quiet: bool = False
) -> CheckResult:
    """Looks at every image of a source; TensorFlow is not imported for folders and tables.

    It has errors where `recipes.data.load` would refuse to train on the source, and only there.

    Args:
        source: as for `recipes.data.load`.
        task: how a table's labels are meant, if not as they look.
        split_near_duplicates: as for `recipes.data.load`.
        quiet: no progress bar on stderr.

    Raises:
        RequestError: there is no such source, or nothing in it that could be looked at.
        FailureError: it could not be prepared.
    """
    reader = open_reader(source, task)
    if isinstance(reader, FileReader):
        diagnosis = diagnose(reader.listing, split_near_duplicates=split_near_duplicates, quiet=quiet)
        listing, parts, findings = diagnosis.listing, diagnosis.parts, diagnosis.findings
        images, task, class_names = len(listing), listing.task, listing.class_names
    else:
        assert isinstance(reader, ArrayReader)
        fingerprints = Fingerprints.of_arrays(reader, quiet=quiet)
        verdict = judge_arrays(reader)
        parts, images = verdict.parts, len(fingerprints.paths)
        task, class_names = reader.label_task, reader.class_names
        findings = tuple(errors_first([*_copies_of_arrays(fingerprints), *verdict.findings]))
    why = refusal(findings, shown(reader.source))
    sizes = {} if why else {part: len(rows) for part, rows in parts.items()}
    return CheckResult(findings, images, task, class_names, why, sizes)


def judge_arrays(reader: ArrayReader, *, seed: int = 0, purpose: Purpose = "train") -> Verdict:
    """The verdict on a source that is not made of files. Copies in it are not looked for: it brings its parts itself,
    or is split by the seed alone."""
    labels = np.concatenate(list(reader.labels.values()))
    parts = np.repeat(np.asarray(reader.parts, "U10"), [len(labels) for labels in reader.labels.values()])
    source = shown(reader.source)
    return judge(
        labels,
        parts,
        reader.class_names,
        reader.label_task,
        source,
        seed=seed,
        purpose=purpose,
        lacking=reader.training_files,
    )


def _copies_of_arrays(images: Fingerprints) -> list[Finding]:
    """What `find_copies` finds; nobody can take an image out of such a source, so that a leak in it is a remark."""
    findings = find_copies(images)[2]
    return [replace(finding, kind="shared") if finding.kind == "leak" else finding for finding in findings]


def diagnose(
    listing: Listing,
    *,
    seed: int = 0,
    purpose: Purpose = "train",
    split_near_duplicates: bool = False,
    quiet: bool = False,
) -> Diagnosis:
    """Looks at every file of a listing, and splits it.

    Args:
        listing: the files.
        seed: draws the split.
        purpose: what the images are for.
        split_near_duplicates: near duplicates may come into different parts.
        quiet: no progress bar.
    """
    findings = list(listing.findings)
    paths = listing.paths
    examined = examine(paths, quiet=quiet)
    for path, meant, found in zip(paths, listing.meant, examined, strict=True):
        findings += _about(path, found, bool(meant))
    kept, looks = listing.only(examined.usable), examined.looks.only(examined.usable)
    del examined
    exact, together, copies, leaked = find_copies(
        Fingerprints.of_files(kept.paths, looks, kept.labels, kept.parts, kept.label_kind)
    )
    findings += copies
    clean = ~leaked
    kept, exact, together = kept.only(clean), exact[clean], together[clean]
    together = exact if split_near_duplicates else together
    looks = looks.only(clean)
    verdict = judge(
        kept.labels,
        kept.parts,
        kept.class_names,
        kept.task,
        shown(listing.source),
        seed=seed,
        purpose=purpose,
        exact=exact,
        together=together,
        groups=kept.groups,
        where={name: _class_folder(listing, name) for name in listing.class_names},
    )
    findings += [*verdict.findings, *_about_sizes_and_depths(kept, looks)]
    return Diagnosis(kept, looks, together, verdict.parts, tuple(errors_first(findings)))


def _about(path: str, found: Examined, meant: bool) -> Iterator[Finding]:
    """Findings of one file by itself."""
    path = shown(path)
    if found.look is None:
        if not meant and found.kind in ("undecodable", "empty"):
            yield Finding(path, "ignored", "is not an image.")
        else:
            yield Finding(path, found.kind, found.detail)
        return
    image = found.look
    if image.depth:
        yield Finding(path, "mode", image.depth)
    elif image.mode in _MODES:
        yield Finding(path, "mode", f"is {_MODES[image.mode]}: converted.")
    elif image.transparent:
        yield Finding(path, "mode", "has transparency (alpha): blended onto white.")
    elif image.mode in ("P", "PA"):
        yield Finding(path, "mode", "has a palette: converted.")
    if image.animated:
        yield Finding(path, "animated", "has more than one frame: the first is used.")


def find_copies(images: Fingerprints) -> tuple[np.ndarray, np.ndarray, list[Finding], np.ndarray]:
    """Which images are copies of another, what that means, and which of them leak.

    Returns:
        int64 (N,), equal for exact copies; the same for copies, exact or near; the findings; bool (N,): training
        images (or validation images) that are also among those that the training is judged by.
    """
    exact = duplicates.equal(images.digests)
    alike = duplicates.near(images.thumbnails, images.classes)
    leaked = np.zeros(len(exact), bool)
    told = np.zeros(len(exact), bool)
    findings = []
    for numbers, prefix in ((exact, ""), (alike, "near_")):
        for members in duplicates.groups(numbers):
            first = _most_held_out(members, images.parts)
            for row in members:
                if row == first or told[row] or (prefix and exact[row] == exact[first]):
                    continue
                told[row] = True
                kind, detail = _copy(images, row, first, prefix)
                leaked[row] |= kind == "leak"
                findings.append(Finding(shown(images.paths[row]), kind, detail))
    return exact, connected(exact, alike), findings, leaked


def _most_held_out(members: np.ndarray, parts: np.ndarray) -> int:
    return int(max(members, key=lambda row: (("", *PARTS).index(str(parts[row])), -row)))


def _copy(images: Fingerprints, row: int, first: int, prefix: str) -> tuple[str, str]:
    other, near = shown(images.paths[first]), "looks like" if prefix else "is the same file as"
    if images.parts[row] != images.parts[first]:
        return f"{prefix}leak", f"{near} {other}, which is in another part ({images.parts[first]})."
    if not np.array_equal(images.labels[row], images.labels[first]):
        kind = "near_duplicate" if prefix else "conflict"  # near ones have one class; numbers may differ
        return kind, f"{near} {other}, which has another label."
    return f"{prefix}duplicate", f"{near} {other}."


def _about_sizes_and_depths(listing: Listing, looks: Looks) -> Iterator[Finding]:
    sides = looks.sides.astype(np.int64)  # products of them are more than 32 bits
    if len(sides) and sides.max(1).max() > SPREAD * sides.max(1).min():
        small, large = (sides[pick(sides.prod(1))] for pick in (np.argmin, np.argmax))
        detail = f"has images from {small[0]}x{small[1]} to {large[0]}x{large[1]} pixels."
        yield Finding(shown(listing.source), "sizes", detail)
    tops = Counter(look.top for look in looks if look.top)
    if len(tops) > 1:
        ranges = ", ".join(f"0 to {top:,} ({count:,})" for top, count in sorted(tops.items()))
        detail = f"has images of more than 8 bits that are read by different ranges: {ranges}."
        yield Finding(shown(listing.source), "depths", detail)


def _class_folder(listing: Listing, name: str) -> str:
    """Where a class lies, for people: its folder, if it has one."""
    folders = [listing.root / name, listing.root / "train" / name] if listing.root == expanded(listing.source) else []
    return shown(next((folder for folder in folders if folder.is_dir()), f"{listing.source}: {name}"))
