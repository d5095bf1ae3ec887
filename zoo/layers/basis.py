"""Fixed bases of kernels: one that can be rotated by any angle, and one that can be scaled by any factor."""

import math
from collections.abc import Sequence

import numpy as np

from zoo.groups import Group

RING_WIDTH = 0.5  # standard deviation of a ring, in pixels
REACH = 2.5  # of a kernel, in standard deviations of its Gaussian
WITHIN_A_PIXEL = 16  # samples along each axis, of which a pixel has the mean


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


def scaled_basis(scales: Sequence[float], order: int) -> list[np.ndarray]:
    """The basis at each scale, float32 (size, size, functions); sizes are odd and grow with the scale.

    A function is the product of two derivatives of a Gaussian, along rows and along columns, of order 0, 1, ...,
    `order` each: Hermite polynomials times the Gaussian. At scale s it is f(x / s, y / s) / s^2, so that what is
    larger by a factor has the same answer at a scale larger by it; of length 1 at the middle one (Sosnovik, Szmaja and
    Smeulders 2020, https://arxiv.org/abs/1910.11093, whose steerable basis this is). A pixel has the mean over its
    area: the narrowest Gaussians change much within one.

    >>> [basis.shape for basis in scaled_basis((0.6, 1.2), order=2)]
    [(5, 5, 9), (7, 7, 9)]
    """
    found = []
    for scale in scales:
        radius = math.ceil(REACH * scale - 0.25)
        x = (np.arange((2 * radius + 1) * WITHIN_A_PIXEL) + 0.5) / WITHIN_A_PIXEL - radius - 0.5
        along = [_hermite(x / scale, n).reshape(-1, WITHIN_A_PIXEL).mean(axis=1) / scale for n in range(order + 1)]
        found.append(np.stack([np.outer(down, across) for down in along for across in along], axis=-1))
    lengths = np.linalg.norm(found[(len(found) - 1) // 2], axis=(0, 1))
    return [(basis / lengths).astype("float32") for basis in found]


def _hermite(x: np.ndarray, order: int) -> np.ndarray:
    """A Hermite polynomial (He) times a Gaussian: up to the sign, its derivative of that order."""
    polynomial: np.ndarray = np.polynomial.hermite_e.hermeval(x, [0] * order + [1])
    return polynomial * np.exp(-(x**2) / 2)
