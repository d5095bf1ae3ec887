"""Equal and nearly equal images, found by digests and by a 64-bit difference hash of grey thumbnails."""

from collections.abc import Iterator, Sequence

import numpy as np

from recipes.data.decoding import THUMBNAIL

MOST_BITS = 3  # hashes that differ in more bits are of different images; four bands of 16 bits find all others
LEAST_CORRELATION = 0.99  # of two thumbnails: images may differ in brightness and contrast, not in content
LEAST_CONTRAST = 4.0  # grey levels, standard deviation; a flatter image has no content to compare
_BLOCK = 1_000


def stacked(thumbnails: Sequence[bytes]) -> np.ndarray:
    """uint8 (N, 16, 18) of thumbnails as `recipes.data.decoding.thumbnail` gives them."""
    width, height = THUMBNAIL
    return np.frombuffer(b"".join(thumbnails), np.uint8).reshape(-1, height, width)


def groups(numbers: np.ndarray) -> Iterator[np.ndarray]:
    """Rows of the same number (N,), where there are several."""
    order = np.argsort(numbers, kind="stable")
    yield from _runs(order, np.diff(numbers[order]) != 0)


def _runs(order: np.ndarray, borders: np.ndarray) -> Iterator[np.ndarray]:
    """The parts of `order` (N,) of more than one row, where `borders` (N - 1,) tells behind which rows one ends."""
    ends = np.concatenate([np.flatnonzero(borders) + 1, [len(order)]])
    starts = np.concatenate([[0], ends[:-1]])
    for run in np.flatnonzero(ends - starts > 1):
        yield order[starts[run] : ends[run]]


def difference_hashes(thumbnails: np.ndarray) -> np.ndarray:
    """uint64 (N,) of uint8 (N, 16, 18): one bit for each of 8 x 8 neighbours, whether the right one is darker."""
    width, height = THUMBNAIL
    hashes = np.empty(len(thumbnails), np.uint64)
    for rows in _blocks(len(thumbnails)):
        sums = thumbnails[rows].reshape(-1, height // 2, 2, width // 2, 2).sum((2, 4), dtype=np.int32)
        bits = np.packbits((sums[:, :, :-1] > sums[:, :, 1:]).reshape(len(sums), 64), axis=1)
        hashes[rows] = np.ascontiguousarray(bits).view(np.uint64).reshape(-1)
    return hashes


def equal(digests: np.ndarray) -> np.ndarray:
    """int64 (N,): the same number where digests (N,) are the same."""
    return np.unique(digests, return_inverse=True)[1].reshape(-1)


def near(thumbnails: np.ndarray, classes: np.ndarray | None = None) -> np.ndarray:
    """int64 (N,): the same number where images look the same, directly or through others between them.

    Two images look the same if their hashes differ in at most three bits and their thumbnails correlate.

    Args:
        thumbnails: uint8 (N, 16, 18).
        classes: int64 (N,); images of different classes are no copies, however alike a fixed camera makes them.
    """
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    if not len(thumbnails):
        return np.empty(0, np.int64)
    classes = np.zeros(len(thumbnails), np.int64) if classes is None else classes.astype(np.int64)
    first, kind = _kinds(thumbnails, classes)  # a thousand copies of one image are one to compare
    classes, count = classes[first], len(first)
    contrast = np.concatenate([_directions(thumbnails[first[rows]])[1] for rows in _blocks(count)])
    textured = np.flatnonzero(contrast / thumbnails[0].size ** 0.5 >= LEAST_CONTRAST)
    hashes = difference_hashes(thumbnails)[first]
    links = []
    bands = hashes.view(np.uint16).reshape(count, 4)
    for band in range(4):
        order = textured[np.lexsort((bands[textured, band], classes[textured]))]
        borders = (np.diff(bands[order, band]) != 0) | (np.diff(classes[order]) != 0)
        for bucket in _runs(order, borders):
            links += _pairs(bucket, hashes, thumbnails, first)
    pairs = np.concatenate(links) if links else np.empty((0, 2), np.int64)
    graph = coo_matrix((np.ones(len(pairs), bool), (pairs[:, 0], pairs[:, 1])), shape=(count, count))
    together = connected_components(graph, directed=False)[1].astype(np.int64)[kind]
    flat = ~np.isin(kind, textured)
    together[flat] = count + np.arange(flat.sum())  # these cannot be compared
    return np.unique(together, return_inverse=True)[1].reshape(-1)


def _kinds(thumbnails: np.ndarray, classes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The first row of each kind of thumbnail and class, and the kind of each row (N,).

    What `np.unique` gives of class and thumbnail side by side, by the same order, without copies of them.
    """
    pixels = np.ascontiguousarray(thumbnails).reshape(len(thumbnails), -1)
    order = np.argsort(pixels.view(f"V{pixels.shape[1]}").reshape(-1), kind="stable")
    order = order[np.argsort(classes[order].astype("<u8").view(">u8"), kind="stable")]
    is_new = np.ones(len(order), bool)
    for rows in _blocks(len(order) - 1):
        one, next_one = order[:-1][rows], order[1:][rows]
        is_new[1:][rows] = (classes[one] != classes[next_one]) | (pixels[one] != pixels[next_one]).any(1)
    kind = np.empty(len(order), np.int64)
    kind[order] = np.cumsum(is_new) - 1
    return order[is_new], kind


def _blocks(count: int) -> Iterator[slice]:
    return (slice(start, start + _BLOCK) for start in range(0, count, _BLOCK))


def _directions(thumbnails: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rows float32 (N, pixels) whose products are the correlations of thumbnails, and the contrast (N,) of each."""
    pixels = thumbnails.reshape(len(thumbnails), -1).astype(np.float32)
    pixels -= pixels.mean(1, keepdims=True)
    contrast = np.sqrt((pixels**2).sum(1, keepdims=True))
    pixels /= np.maximum(contrast, 1e-6)
    return pixels, contrast[:, 0]


def _pairs(bucket: np.ndarray, hashes: np.ndarray, thumbnails: np.ndarray, rows: np.ndarray) -> list[np.ndarray]:
    """Numbers (M, 2) of those of a bucket that look the same, a block of the bucket at a time.

    Args:
        rows: of the thumbnails, by the numbers in the bucket.
    """
    found = []
    for start in range(0, len(bucket), _BLOCK):
        block = bucket[start : start + _BLOCK]
        for other in range(start, len(bucket), _BLOCK):
            against = bucket[other : other + _BLOCK]
            differ = np.bitwise_count(hashes[block][:, None] ^ hashes[against][None])
            one, two = np.nonzero(differ <= MOST_BITS)
            compared = block[one] != against[two]
            one, two = one[compared], two[compared]
            if not len(one):
                continue
            ours, _ = _directions(thumbnails[rows[block]])
            theirs = ours if other == start else _directions(thumbnails[rows[against]])[0]
            for some in range(0, len(one), 100 * _BLOCK):  # bounded, however many look alike
                part = slice(some, some + 100 * _BLOCK)
                alike = np.einsum("ij,ij->i", ours[one[part]], theirs[two[part]]) >= LEAST_CORRELATION
                found.append(np.stack([block[one[part]][alike], against[two[part]][alike]], axis=1))
    return found
