"""Split tables: which file was in which part, kept so that the same images can be had again."""

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from recipes.data.checks.findings import shown
from recipes.data.dataset import PARTS, relative
from recipes.data.listing import Listing
from recipes.data.readers import FileReader, Reader, open_reader
from recipes.support.reading import Document
from zoo.errors import RequestError

LARGEST = 10_000_000  # rows
_COLUMNS = ("file", "split", "label")


@dataclass(frozen=True)
class SplitTable:
    """What a split table says of one source.

    Attributes:
        path: the table.
        rows: of the source: `file`, `split`, `label` and perhaps `digest`, see `recipes.data.Data.split_table`.
        root: the folder that files in `rows` are relative to.
    """

    path: str | Path
    rows: list[dict[str, str]]
    root: Path

    def reduce(self, listing: Listing) -> Listing:
        """The listing with exactly the files of the table, in its parts.

        Raises:
            RequestError: a file that is not there any more, or has another label.
        """
        position = {relative(path, self.root): row for row, path in enumerate(listing.paths)}
        missing = [row["file"] for row in self.rows if row["file"] not in position]
        if missing:
            first = shown(self.root / missing[0])
            raise RequestError(
                f"{first}, which {shown(self.path)} names, is not there any more"
                + (f", nor are {len(missing) - 1:,} others." if len(missing) > 1 else ".")
            )
        chosen = np.asarray([position[row["file"]] for row in self.rows])
        for row, where in zip(self.rows, chosen, strict=True):
            if not listing.label_kind.is_same(row["label"], listing.labels[where], listing.class_names):
                raise RequestError(
                    f"{shown(self.root / row['file'])} has the label {listing.of_class(where)!r} now; "
                    f"{shown(self.path)} has it as {row['label']!r}."
                )
        kept = listing.only(chosen)
        parts = np.asarray([row["split"] for row in self.rows], "U10")
        # A class that came later must not move the numbers of the others.
        labels, class_names = kept.label_kind.used_only(kept.labels, kept.class_names)
        return replace(kept, labels=labels, class_names=class_names, parts=parts, groups=None, findings=())

    def check_content(self, digests: Mapping[str, str]) -> None:
        """Compares what files hold now with what they held when the table was made.

        Args:
            digests: of those files that can be used, by path.

        Raises:
            RequestError: the first file that cannot be used any more, or holds something else. Tables of earlier
                versions have no digests, and are not compared.
        """
        now = {relative(path, self.root): digest for path, digest in digests.items()}
        changed = [row["file"] for row in self.rows if row.get("digest") and now.get(row["file"]) != row["digest"]]
        if changed:
            others = f", and so are {len(changed) - 1:,} others" if len(changed) > 1 else ""
            raise RequestError(
                f"{shown(self.root / changed[0])} is not the image that it was when {shown(self.path)} was written"
                f"{others}: bring the old content back, or train a new run."
            )


def split_tables(path: str | Path, readers: Sequence[Reader]) -> list[SplitTable]:
    """What a split table says of each source. A file that no source has any more counts with the first.

    Raises:
        RequestError: a source that is not made of files; no such table.
    """
    sources = _of_files(readers)
    rows = read_split_table(path)
    root = sources[0].root if len(sources) == 1 else common_root(source.root for source in sources)
    if len(sources) == 1:
        return [SplitTable(path, rows, root)]
    own = [{relative(file, root) for file in source.listing.paths} for source in sources]
    owners = [next((number for number, files in enumerate(own) if row["file"] in files), 0) for row in rows]
    return [
        SplitTable(path, [row for row, owner in zip(rows, owners, strict=True) if owner == number], root)
        for number in range(len(sources))
    ]


def parts_of_files(path: str | Path, sources: Sequence[str | Reader]) -> dict[str, str]:
    """The part that a split table of `sources` puts each file in, by the whole path of the file.

    Raises:
        RequestError: as `split_tables`.
    """
    root = common_root(source.root for source in _of_files([open_reader(source) for source in sources]))
    return {str(root / row["file"]): row["split"] for row in read_split_table(path)}


def read_split_table(path: str | Path) -> list[dict[str, str]]:
    """The rows of `Data.split_table`, from the CSV file that they were kept in.

    Raises:
        RequestError: no such file, or not such a table.
    """
    table = Document(Path(path), "put a copy of it back; it says which images the model was tested on")
    rows = table.rows(LARGEST, *_COLUMNS)
    if not rows or any(row.keys() - {"digest"} != set(_COLUMNS) or row["split"] not in PARTS for row in rows):
        raise table.refused("is not a table of file, split and label")
    return rows


def common_root(roots: Iterable[Path]) -> Path:
    """The folder that names in a split table of several sets are relative to."""
    return Path(os.path.commonpath([os.path.abspath(root) for root in roots]))


def _of_files(readers: Sequence[Reader]) -> list[FileReader]:
    files = []
    for reader in readers:
        if not isinstance(reader, FileReader):
            raise RequestError(
                f"{reader.source} is not made of files: it has no split table, its parts follow from the seed."
            )
        files.append(reader)
    return files
