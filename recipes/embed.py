"""Features of images, for those who go on with scikit-learn, and the images nearest to each."""

import functools
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import recipes.data
from recipes.data.dataset import PARTS, digest_of
from recipes.data.decoding import Resize
from recipes.distributed.team import join
from recipes.support.files import check_output, write_whole
from recipes.transfer.backbone import build
from recipes.transfer.source import open_source
from zoo.backend import as_keras_ships, keras

__all__ = ["Embedded", "embed"]


@dataclass(frozen=True, eq=False)
class Embedded:
    """What was computed and kept.

    Attributes:
        file: where it is kept, by NumPy's `savez`.
        features: float32 (N, D).
        arrays: the names of everything in the file.
        same_class: fraction of the nearest images that are of the image's own class, None where none were looked for.
    """

    file: str
    features: np.ndarray
    arrays: tuple[str, ...]
    same_class: float | None = None

    def to_dict(self) -> dict[str, Any]:
        """The facts as JSON types; the number of images is there as `pictures`, too, as it was once called."""
        images, features = self.features.shape
        facts = {"file": self.file, "images": images, "pictures": images, "features": features}
        return facts | {"arrays": list(self.arrays), "same_class": self.same_class}


@as_keras_ships
def embed(
    source: str | Path,
    data: str,
    *,
    out: str | Path,
    input_shape: tuple[int, int, int] | None = None,
    neighbours: int = 0,
    resize: Resize | None = None,
    skip_bad: bool = False,
    split_near_duplicates: bool = False,
    devices: str = "1",
    quiet: bool = False,
) -> Embedded:
    """Computes what a backbone makes of all images, and keeps it in one `.npz` file.

    The file holds `features` float32 (N, D), `labels`, `class_names`, `parts` (train, validation or test), `files`
    where images are files, and for neighbours `neighbours` int64 (N, K), rows of the nearest other images by the
    cosine of their features, nearest first, with `similarity` float32 (N, K).

    Args:
        source: as `recipes.finetune.finetune`.
        data: a source of images, see `recipes.data.load`.
        out: the file; its name ends in `.npz`.
        input_shape: the size that images are brought to; the source's own if None.
        neighbours: K, how many nearest images of each to find; at most all others.
        resize: how they are brought to it, `fill`, `fit` or `stretch`; if None, as a run's own were, or `fill`.
        skip_bad, split_near_duplicates, quiet: as `recipes.fit.fit`.
        devices: of this machine, share the images, as in `recipes.fit.fit`.

    Raises:
        RequestError: a source, data or file that is not possible.
        FailureError: as `recipes.finetune.finetune`.
    """
    team, out = join(devices), Path(out)
    with team.together():
        opened = open_source(source)
        reader = recipes.data.open_reader(data)
        if team.is_chief:
            check_output(out, (".npz",))
    model = opened.model.model_copy(update={"input_shape": input_shape or opened.model.input_shape})
    with team.together():
        loaded = recipes.data.load(
            reader,
            image_shape=model.input_shape,
            resize=resize or (opened.run.recipe.data.resize if opened.run else "fill"),
            skip_bad=skip_bad,
            split_near_duplicates=split_near_duplicates,
            purpose="join",
            quiet=quiet,
        )
    splits = list(loaded.parts.values())
    parts = np.repeat(np.asarray(PARTS), [len(split) for split in splits])

    backbone = _embedding(build(opened, model.model_copy(update={"pooling": "average", "hidden": ()}), classes=1))
    from recipes.transfer.features import Frozen

    frozen = Frozen(backbone, np.dtype(np.uint8))
    if team.size > 1:
        team.check_same("set of images", digest_of(loaded.class_names, splits))
        team.check_same("model", functools.reduce(_digest, backbone.get_weights(), 0) >> 1)
    features = np.concatenate([frozen(split, team=team).images for split in splits])
    arrays: dict[str, Any] = {
        "features": features,
        "labels": np.concatenate([split.labels for split in splits]),
        "parts": parts,
    }
    arrays["class_names"] = np.asarray(loaded.class_names)
    if files := [file for split in splits for file in split.files or ()]:
        arrays["files"] = np.asarray(files)
    same_class = None
    if neighbours:
        rows, similarity = nearest(features, min(neighbours, len(features) - 1))
        arrays |= {"neighbours": rows, "similarity": similarity}
        same_class = loaded.label_kind.same_class(arrays["labels"], rows)

    def write(aside: Path) -> None:
        with open(aside, "wb") as file:  # to a name that ends otherwise than in `.npz`, NumPy adds that
            np.savez(file, **arrays)

    if team.is_chief:
        write_whole(out, write)
    return Embedded(str(out), features, tuple(arrays), same_class)


def _digest(before: int, weights: np.ndarray) -> int:
    return zlib.crc32(np.ascontiguousarray(weights).data, before)


def nearest(features: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """For each row the `count` others with the largest cosine: rows int64 (N, count), cosines float32 (N, count)."""
    from sklearn.neighbors import NearestNeighbors

    lengths = np.linalg.norm(features, axis=1, keepdims=True)
    directions = features / np.maximum(lengths, 1e-12)
    search = NearestNeighbors(n_neighbors=count, metric="cosine", algorithm="brute").fit(directions)
    distances, rows = search.kneighbors()  # without rows of its own to ask for, a row is not its own neighbour
    return rows.astype(np.int64), (1 - distances).astype(np.float32)


def _embedding(model: "keras.Model") -> "keras.Model":
    """The model below its classifier: from images to one vector each."""
    from zoo.stages import chained, take_apart

    parts = take_apart(model)
    return chained(parts.scaling, parts.backbone, parts.pooling)
