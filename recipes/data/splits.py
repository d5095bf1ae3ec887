"""Which image goes into which part."""

import warnings
from collections.abc import Mapping

import numpy as np

from recipes.data.dataset import PARTS
from zoo.errors import RequestError


class SplitError(RequestError):
    """A set that cannot be split as it must be."""


FRACTIONS = (("test", 0.2), ("validation", 0.1))  # of what is left when it is split off


def draw_parts(
    given: Mapping[str, np.ndarray],
    kinds: np.ndarray,
    *,
    seed: int,
    together: np.ndarray | None = None,
    groups: np.ndarray | None = None,
) -> dict[str, np.ndarray]:
    """Splits the parts that are missing off the training part: a fifth to test, a tenth of the rest to validate.

    Args:
        given: row numbers of the parts that there are; `train` at least.
        kinds: see `recipes.data.labels.LabelKind.strata`; every kind with enough images is in every part.
        seed: draws the split.
        together: (N,) numbers; rows of one number (copies of one image) are never parted.
        groups: (N,) names of groups, as `together`; scikit-learn balances large groups over the parts.

    Returns:
        Sorted row numbers of `train`, `validation` and `test`.

    Raises:
        SplitError: too few images, or groups, for each part to have one.
    """
    if not 0 <= seed < 2**32:
        raise RequestError(f"split_seed={seed} is not possible; allowed: whole numbers from 0 to 2**32 - 1.")
    rows = {part: np.sort(given[part]) for part in PARTS if part in given}
    for number, (part, fraction) in enumerate(FRACTIONS):
        if part in rows:
            continue
        train = rows["train"]
        random = np.random.RandomState([seed, number])  # its stream is promised never to change
        if groups is None:
            chosen = _drawn(train, kinds, together, fraction, random)
        else:
            chosen = _drawn_by_group(train, kinds, together, groups, fraction, random)
        if not 0 < chosen.sum() < len(train):
            raise SplitError(f"too few images ({len(train)}) to split off a {part} part.")
        rows["train"], rows[part] = train[~chosen], train[chosen]
    return {part: rows[part] for part in PARTS}


def _drawn(
    train: np.ndarray, kinds: np.ndarray, together: np.ndarray | None, fraction: float, random: np.random.RandomState
) -> np.ndarray:
    """A mask over `train`. Each kind by itself, at least one: rounding over all of them would leave small ones out."""
    units = train if together is None else together[train]
    _, first, unit = np.unique(units, return_index=True, return_inverse=True)
    kind_of_unit = kinds[train[first]]
    chosen = np.zeros(len(first), bool)
    for kind in np.unique(kind_of_unit):
        members = random.permutation(np.flatnonzero(kind_of_unit == kind))
        if len(members) > 1:
            chosen[members[: max(1, round(fraction * len(members)))]] = True
    return chosen[unit]


def _drawn_by_group(
    train: np.ndarray,
    kinds: np.ndarray,
    together: np.ndarray | None,
    groups: np.ndarray,
    fraction: float,
    random: np.random.RandomState,
) -> np.ndarray:
    from sklearn.model_selection import StratifiedGroupKFold

    units = connected(groups[train], together[train] if together is not None else np.arange(len(train)))
    most = min(round(1 / fraction), len(np.unique(units)))
    if most < 2:
        raise SplitError("all images are of one group: they cannot be parted.")
    kinds = kinds[train]
    best, fewest_absent = np.zeros(len(train), bool), np.inf
    with warnings.catch_warnings(action="ignore"):  # that a class is small: it is seen here whether it is too small
        for folds in range(most, 1, -1):  # a larger fraction where groups are too few to hold out every class
            splitter = StratifiedGroupKFold(folds, shuffle=True, random_state=random)
            try:
                held_out = [held for _, held in splitter.split(train, kinds, units)]
            except ValueError:  # more folds than images of any class
                continue
            for held in held_out:
                chosen = np.zeros(len(train), bool)
                chosen[held] = True
                absent = sum(len(np.setdiff1d(kinds, kinds[side])) for side in (chosen, ~chosen))
                if absent < fewest_absent:
                    best, fewest_absent = chosen, absent
                if not absent:
                    return best
    return best


def connected(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Numbers that are equal where rows hang together by either of the two, directly or through others."""
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    if not len(one):
        return np.empty(0, np.int64)
    _, first = np.unique(one.astype("S21" if one.dtype.kind in "iu" else str), return_inverse=True)
    _, second = np.unique(other, return_inverse=True)
    second = second + first.max() + 1
    size = int(second.max()) + 1
    links = coo_matrix((np.ones(len(first)), (first, second)), shape=(size, size))
    numbers: np.ndarray = connected_components(links, directed=False)[1]
    return numbers[first]
