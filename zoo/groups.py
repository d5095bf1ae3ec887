"""Groups of rotations and mirror images of the plane, by which layers share their kernels.

An element is a number: `m * rotations + k` mirrors left and right first if m is 1, and then rotates counterclockwise by
k steps. Arrays are rotated by `numpy.rot90`, so that what quarter turns and mirrors do to pixels is exact.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, get_args

import numpy as np

from zoo.errors import RequestError, unknown
from zoo.keras_internals import all_layers

if TYPE_CHECKING:
    from zoo.backend import keras

GroupName: TypeAlias = Literal["mirror", "c4", "d4", "c8", "d8", "c16"]
Exact: TypeAlias = Literal["mirror", "c4", "d4"]  # those of them that map the pixels of a square onto its pixels


@dataclass(frozen=True)
class Group:
    """Rotations by 360 / `rotations` degrees, and if `mirrored` the mirror image of each.

    >>> d4 = find_group("d4")
    >>> d4.order, d4.exact, find_group("c8").exact
    (8, 'd4', 'c4')
    >>> d4.product(d4.inverse(5), 5)
    0
    """

    name: str
    rotations: int
    mirrored: bool = False

    @property
    def order(self) -> int:
        """How many elements it has."""
        return self.rotations * (1 + self.mirrored)

    @property
    def quarter_turns(self) -> bool:
        """Whether rotations by 90 degrees are among its elements."""
        return self.rotations % 4 == 0

    @property
    def exact(self) -> str:
        """The largest of its subgroups that maps pixels onto pixels."""
        if not self.quarter_turns:
            return "mirror"
        return "d4" if self.mirrored else "c4"

    @property
    def fine_steps(self) -> int:
        """How many of its rotations are below 90 degrees: the others are quarter turns and mirror images of them."""
        return max(self.rotations // 4, 1)

    def product(self, one: int, other: int) -> int:
        """The element that does `other` first and then `one`."""
        (mirror_1, turn_1), (mirror_2, turn_2) = divmod(one, self.rotations), divmod(other, self.rotations)
        turn = (turn_1 - turn_2 if mirror_1 else turn_1 + turn_2) % self.rotations
        return (mirror_1 ^ mirror_2) * self.rotations + turn

    def inverse(self, element: int) -> int:
        """The element that undoes `element`; a mirror image undoes itself."""
        mirror, turn = divmod(element, self.rotations)
        return element if mirror else -turn % self.rotations

    def motion(self, element: int) -> tuple[int, int, bool]:
        """An element as three things done in turn: fine steps, then quarter turns, then left and right exchanged."""
        mirror, turn = divmod(element, self.rotations)
        quarters, fine = divmod(-turn % self.rotations if mirror else turn, self.fine_steps)
        return fine, quarters, bool(mirror)

    def applied(self, element: int, arrays: np.ndarray, axes: tuple[int, int] = (1, 2)) -> np.ndarray:
        """Arrays under an element of an exact group: images (B, H, W, C), or others with rows and columns at `axes`."""
        fine, quarters, mirror = self.motion(element)
        assert not fine, f"{self.name} is not exact"
        rotated = np.rot90(arrays, quarters, axes)
        return np.flip(rotated, axes[1]) if mirror else rotated

    def label(self, element: int) -> str:
        """An element in words.

        >>> [find_group("d4").label(element) for element in (0, 1, 4, 6)]
        ['0 degrees', '90 degrees', 'mirrored', 'mirrored, 180 degrees']
        """
        mirror, turn = divmod(element, self.rotations)
        angle = f"{turn * 360 / self.rotations:g} degrees"
        return (f"mirrored, {angle}" if turn else "mirrored") if mirror else angle


GROUPS = {
    group.name: group
    for group in (
        Group("mirror", 1, mirrored=True),
        Group("c4", 4),
        Group("d4", 4, mirrored=True),
        Group("c8", 8),
        Group("d8", 8, mirrored=True),
        Group("c16", 16),
    )
}
EXACT: tuple[str, ...] = get_args(Exact)
SHIFT = "shift"  # circular, by whole pixels: no group of the above, as it depends on the image's size


def find_group(name: str) -> Group:
    """A group by its name; raises a `RequestError` with the nearest one where there is none."""
    if name not in GROUPS:
        raise unknown("group", name, GROUPS)
    return GROUPS[name]


def check_group(asked: str | None) -> str:
    """The exact group that is asked for; empty for None and `none`.

    Raises:
        RequestError: an unknown group, or one that does not map pixels onto pixels, with the nearest that does.
    """
    if asked in (None, "none"):
        return ""
    if asked in EXACT:
        return str(asked)
    if asked in GROUPS:
        raise RequestError(
            f"symmetry={asked!r} is not possible: only quarter turns and mirrors bring pixels onto pixels; nearest: "
            f"{GROUPS[asked].exact}."
        )
    raise unknown("symmetry", str(asked), (*EXACT, "none"))


def check_square(group: str, shape: Sequence[int | None], what: str) -> None:
    """Raises a `RequestError` where a group has quarter turns and images are not square; `what` asks for it.

    Height and width come first in `shape`.
    """
    height, width = shape[0], shape[1]
    if not find_group(group).quarter_turns or (height == width and height is not None):
        return
    if height is None or width is None:
        raise RequestError(f"{what} needs square images of one size: give input_shape, or choose 'mirror'.")
    low, high = sorted((height, width))
    raise RequestError(
        f"{what} needs square images: received {height}x{width}, nearest: {low}x{low} or {high}x{high}; 'mirror' takes "
        "any size."
    )


def check_copies(asked: str | None, shape: Sequence[int | None], own: str, name: str) -> str:
    """The group under whose elements a model is to see every image; empty where none is asked for.

    Args:
        asked: `mirror`, `c4`, `d4`; None or `none` for none.
        shape: of the images, height and width first.
        own: the group that the model has built in, empty for none.
        name: of the model.

    Raises:
        RequestError: an unknown group, quarter turns of what is not square, or a symmetry that is built in already.
    """
    group = check_group(asked)
    if not group:
        return ""
    check_square(group, shape, f"symmetry={group!r}")
    if own and together(own, group) == own:
        left = [other for other in EXACT if together(own, other) != own]
        raise RequestError(
            f"{name} has {own} built in: symmetry={group!r} would cost {GROUPS[group].order} times as much for "
            f"nothing; allowed: {', '.join([*left, 'none'])}."
        )
    return group


def output_group(model: "keras.Model") -> str:
    """The group whose copies lie side by side in the channels of a model's output; empty where there are none.

    Layers say so of their output by an attribute `output_group`; those without one leave it as it is.
    """
    groups = [layer.output_group for layer in model.layers if hasattr(layer, "output_group")]
    return groups[-1] if groups else ""


def symmetry_of(model: Any) -> str:
    """What a model's scores are meant to be exactly the same under: a group's name, or `shift`; empty where nothing is.

    Layers on fields have a group; what `zoo.layers.PolyphaseSampling2D` samples follows circular shifts. Copies of the
    image bring the group that they are made under; shifts are no more told of then, though they hold.
    """
    layers, copies = all_layers(model), copies_group(model)
    groups: list[str] = [layer.group.exact for layer in layers if hasattr(layer, "output_group")]
    own = min(groups, key=lambda name: GROUPS[name].order) if groups else ""
    if own or copies:
        return together(own, copies)
    return SHIFT if any(hasattr(layer, "taken_apart") for layer in layers) else ""


def copies_group(model: Any) -> str:
    """The group under whose elements a model sees every image; empty where it sees the image alone."""
    groups: list[str] = [layer.group.name for layer in all_layers(model) if hasattr(layer, "copies_of_image")]
    return groups[0] if groups else ""


def together(one: str, other: str) -> str:
    """The smallest exact group that holds two others; what is no exact group does not count.

    >>> together("c4", "mirror"), together("mirror", "mirror"), together("", "c4")
    ('d4', 'mirror', 'c4')
    """
    names = {name for name in (one, other) if name in EXACT}
    return "d4" if len(names) > 1 else "".join(names)


def copies_in(model: Any) -> int:
    """How many copies of an image a model sees, 1 where it sees the image alone: so many times are its costs."""
    name = copies_group(model)
    return GROUPS[name].order if name else 1
