"""Several sets of pictures as one."""

from collections.abc import Sequence

import numpy as np

from recipes.data.dataset import PARTS, Data, Split
from zoo.errors import RequestError


def joined(sets: Sequence[Data]) -> Data:
    """The pictures of all sets, part by part, held in memory. Classes of one name are one class.

    Class names keep the order that they first appear in, so those of the first set keep their labels. Each set was cut
    into parts by itself: what was a test picture there is one here.

    Raises:
        RequestError: a set that does not have one class a picture.
    """
    for one in sets:
        if one.task != "classification":
            raise RequestError(f"{one.source} is a set for {one.task}; only sets of classes can be joined.")
    names = tuple(dict.fromkeys(name for one in sets for name in one.class_names))
    number = {name: label for label, name in enumerate(names)}

    def part(kind: str) -> Split:
        splits = [getattr(one, kind) for one in sets]
        labels = [
            np.asarray([number[name] for name in one.class_names], np.int64)[split.labels]
            for one, split in zip(sets, splits, strict=True)
        ]
        return Split(np.concatenate([split.images for split in splits]), np.concatenate(labels))

    shapes = {one.picture_shape for one in sets}
    source = " + ".join(one.source for one in sets)
    shape = shapes.pop() if len(shapes) == 1 else None
    return Data(source, names, shape, **{kind: part(kind) for kind in PARTS})
