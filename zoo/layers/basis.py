"""A fixed basis of kernels that can be rotated by any angle: rings, times waves around them."""

import math

import numpy as np

from zoo.groups import Group

RING_WIDTH = 0.5  # standard deviation of a ring, in pixels


def steerable_basis(size: int, group: Group) -> np.ndarray:
    """The basis at every rotation of a group below 90 degrees, float32 (rotations, size * size, functions).

    A function is a Gaussian ring of radius r = 0, 1, ... around the middle, times cos(f * angle) or sin(f * angle), for
    frequencies f that so few pixels still tell apart; of length 1 where it is not rotated. It is sampled at the
    pixels after it was rotated, not resampled: as smooth kernels as these change little between the pixels (Weiler,
    Hamprecht, Storath 2018, https://arxiv.org/abs/1711.07289, section 3).

    >>> from zoo.groups import find_group
    >>> steerable_basis(3, find_group("c8")).shape, steerable_basis(5, find_group("c16")).shape
    ((2, 9, 6), (4, 25, 15))
    """
    middle = (size - 1) / 2
    rows, columns = np.mgrid[:size, :size]
    radius, angle = np.hypot(rows - middle, columns - middle), np.arctan2(middle - rows, columns - middle)
    at = []
    for step in range(group.fine_steps):
        turned, functions = angle - step * 2 * math.pi / group.rotations, []
        for ring in np.arange(middle % 1, middle + 0.5):
            profile = np.exp(-((radius - ring) ** 2) / (2 * RING_WIDTH**2))
            functions.append(profile)
            around = profile * (radius > 0)  # in the very middle there is no angle
            for frequency in range(1, math.floor(2 * ring) + 1):
                functions += [around * np.cos(frequency * turned), around * np.sin(frequency * turned)]
        at.append([function.ravel() for function in functions])
    basis = np.array(at)
    basis /= np.linalg.norm(basis[0], axis=-1)[:, None]
    return basis.transpose(0, 2, 1).astype("float32")
