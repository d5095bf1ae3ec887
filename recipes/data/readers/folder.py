"""A folder with one sub-folder a class, with or without `train/`, `validation/` and `test/` above them."""

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from recipes.data.checks.findings import Finding, shown
from recipes.data.labels import ONE_CLASS
from recipes.data.listing import Listing
from recipes.data.names import fault_of_name
from recipes.data.readers.reader import FileReader
from recipes.data.system_folders import is_left_by_system
from zoo.errors import RequestError

PART_NAMES = {
    "train": "train",
    "training": "train",
    "val": "validation",
    "valid": "validation",
    "validation": "validation",
    "test": "test",
}
_ENDINGS = ".png .jpg .jpeg .jpe .jfif .webp .gif .bmp .dib .tif .tiff .ppm .pgm .pbm .pnm .ico .avif .jp2 .tga .heic"
IMAGE_ENDINGS = frozenset(_ENDINGS.split())


class FolderReader(FileReader):
    """A folder of class folders; class names are the sorted folder names.

    Files may lie in folders of their own below a class folder. Links are followed while they stay inside.
    """

    called = "FOLDER"
    what = "a folder of classes"

    def is_there(self) -> bool:
        return self.path.is_dir()

    @property
    def root(self) -> Path:
        return self.path

    def list_files(self) -> Listing:
        return list_folder(self.source, self.root)


def list_folder(source: str, root: Path) -> Listing:
    """Lists the image files below the class folders of `root`.

    Raises:
        RequestError: there are no class folders, or it cannot be told parts from classes.
    """
    found: list[Finding] = []
    parts = _parts(root, found)
    entries = [
        (part, name, folder) for part, folder_of_part in parts for name, folder in _classes(folder_of_part, found)
    ]
    training = [name for part, name, _ in entries if part in ("", "train")]
    class_names = tuple(sorted(set(training or [name for _, name, _ in entries])))
    for name in class_names:
        if fault := fault_of_name(name):
            raise RequestError(
                f"{shown(root / name)}: the name of a class must be plain text in UTF-8, in one line; this one {fault}."
            )
    if not class_names:
        raise RequestError(f"{shown(root)} has no class folders: it needs one folder for each class.")
    number = {name: label for label, name in enumerate(class_names)}
    names, labels, of_part, meant = [], [], [], []
    for part, name, folder in entries:
        if name not in number:
            detail = f"is a class that the training part does not have; it has {', '.join(class_names[:10])}."
            found.append(Finding(shown(folder), "unknown_class", detail))
            continue
        for file in _files(folder, root, found):
            names.append(file)
            labels.append(number[name])
            of_part.append(part)
            meant.append(os.path.splitext(file)[1].lower() in IMAGE_ENDINGS)
    return Listing(
        source=source,
        root=root,
        names=tuple(names),
        labels=np.asarray(labels, np.int64),
        class_names=class_names,
        task=ONE_CLASS.task,
        parts=np.asarray(of_part, "U10"),
        meant=np.asarray(meant, bool),
        findings=tuple(found),
    )


def _parts(root: Path, found: list[Finding]) -> list[tuple[str, Path]]:
    """The folders that hold the class folders, and which part each is; `root` itself if it has no parts."""
    folders = _folders(root)
    named = [folder for folder in folders if folder.name.lower() in PART_NAMES]
    training = [folder for folder in named if PART_NAMES[folder.name.lower()] == "train" and _folders(folder)]
    scored = bool(named) and len(named) == len(folders) and all(_folders(folder) for folder in named)
    if not training and not scored:  # parts without one to train with can be scored
        return [("", root)]
    if others := [folder.name for folder in folders if folder not in named]:
        if len(named) == 1:
            return [("", root)]  # a class called train
        raise RequestError(
            f"{shown(root)} has {', '.join(folder.name for folder in named)} and also {shown(others[0])}: "
            "it holds either parts (train, validation, test) or classes, not both."
        )
    parts = [(PART_NAMES[folder.name.lower()], folder) for folder in named]
    if len({part for part, _ in parts}) < len(parts):
        raise RequestError(f"{shown(root)} names a part twice: {', '.join(folder.name for folder in named)}.")
    for part, folder in parts:
        if not _folders(folder):
            raise RequestError(f"{shown(folder)} has no class folders: the part {part} needs one for each class.")
    found.extend(_strays(root))
    return parts


def _classes(folder: Path, found: list[Finding]) -> list[tuple[str, Path]]:
    found.extend(_strays(folder))
    return [(below.name, below) for below in _folders(folder)]


def _strays(folder: Path) -> Iterator[Finding]:
    for entry in sorted(folder.iterdir()):
        if not entry.is_dir() and not is_left_by_system(entry.name) and entry.suffix.lower() in IMAGE_ENDINGS:
            yield Finding(shown(entry), "ignored", "is in no class folder.")


def _folders(folder: Path) -> list[Path]:
    try:
        return sorted(entry for entry in folder.iterdir() if entry.is_dir() and not is_left_by_system(entry.name))
    except PermissionError:
        raise RequestError(f"{shown(folder)} may not be read: permission denied.") from None


def _files(folder: Path, root: Path, found: list[Finding]) -> Iterator[str]:
    """Names of all files below, relative to `root`, in order, without going in circles or out of it by links."""
    inside = root.resolve()
    if folder.is_symlink() and not folder.resolve().is_relative_to(inside):
        found.append(Finding(shown(folder), "outside", f"is a link that leads out of {shown(root)}."))
        return
    start = len(str(root / "x")) - 1
    for path in _walk(folder, inside, (folder.resolve(),), found):
        yield path[start:].replace(os.sep, "/")


def _walk(folder: Path, inside: Path, above: tuple[Path, ...], found: list[Finding]) -> Iterator[str]:
    try:
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except PermissionError:
        found.append(Finding(shown(folder), "unreadable", "may not be read: permission denied."))
        return
    for entry in entries:
        if is_left_by_system(entry.name):
            continue
        if entry.is_file(follow_symlinks=False) and shown(entry.name) == entry.name:
            yield entry.path  # nearly all there is
            continue
        path = Path(entry.path)
        if entry.is_symlink():
            target = path.resolve()
            if not path.exists():
                found.append(Finding(shown(path), "broken_link", "is a link to something that does not exist."))
                continue
            if not target.is_relative_to(inside):
                found.append(Finding(shown(path), "outside", f"is a link that leads out of {shown(inside)}."))
                continue
            if target in above:
                found.append(Finding(shown(path), "ignored", "is a link to a folder that it lies in."))
                continue
        if entry.is_dir():
            yield from _walk(path, inside, (*above, path.resolve()), found)
        elif not entry.is_file():
            found.append(Finding(shown(path), "ignored", "is not a file."))
        elif shown(entry.name) != entry.name:
            found.append(Finding(shown(path), "name", "has a name that is not UTF-8."))
        else:
            yield entry.path
