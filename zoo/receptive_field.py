"""What a unit of a feature map sees of the image: a window of it, and by which layers all of it."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias


def in_words(receptive_field: Sequence[int] | None, whole_image: str | None) -> str:
    """What a unit sees, as text.

    >>> in_words((851, 851), "squeeze-and-excitation")
    '851x851, and the whole image through squeeze-and-excitation'
    >>> in_words(None, "Flatten")
    'the whole image'
    """
    if not receptive_field:
        return "the whole image"
    more = f", and the whole image through {whole_image}" if whole_image else ""
    return "x".join(map(str, receptive_field)) + more


Shape: TypeAlias = tuple[int, ...]  # of a tensor, without the batch


@dataclass(frozen=True)
class View:
    """What unit i of a feature map sees along one axis: the pixels i * jump + first .. i * jump + last."""

    jump: int = 1
    first: int = 0
    last: int = 0

    @property
    def extent(self) -> int:
        """Pixels from the first that a unit sees to the last."""
        return self.last - self.first + 1

    @property
    def centre(self) -> float:
        """The middle of what unit 0 sees."""
        return (self.first + self.last) / 2

    def through(self, window: int, stride: int, before: int) -> "View":
        """The view of a layer whose unit o covers units o * stride - before .. + window - 1 of this one."""
        first = self.first - self.jump * before
        return View(self.jump * stride, first, self.last + self.jump * (window - 1 - before))


@dataclass(frozen=True)
class Seen:
    """What a unit of a tensor sees: a window (rows and columns; None without one), and by what the whole image."""

    window: tuple[View, View] | None
    whole: str | None = None

    @property
    def receptive_field(self) -> tuple[int, int] | None:
        """Height and width of the window."""
        return self.window and (self.window[0].extent, self.window[1].extent)

    @property
    def stride(self) -> tuple[int, int] | None:
        """Rows and columns between neighbouring units' windows."""
        return self.window and (self.window[0].jump, self.window[1].jump)

    @property
    def offset(self) -> tuple[float, float] | None:
        """Row and column at the centre of the first unit's window."""
        return self.window and (self.window[0].centre, self.window[1].centre)


def merge(layer: Any, shapes: Sequence[Shape], seen: Sequence[Seen]) -> Seen:
    """What a layer with several inputs sees: all that any of them sees.

    A map of one unit that is spread over a larger one has no places of its own, whatever window it was made by: it
    brings the whole image. Multiplied onto the larger map it is a gate, as in squeeze-and-excitation.
    """
    largest = max(places(shape) for shape in shapes)
    windows, gates = [], []
    for shape, one in zip(shapes, seen, strict=True):
        if one.window and places(shape) == largest:
            windows.append(one.window)
        else:
            gates.append(one.whole or "a window over the whole map")
    wholes = [one.whole for one in seen if one.whole]
    if not windows:
        return Seen(None, _joined(wholes))
    if gates and type(layer).__name__ == "Multiply":
        wholes = [whole for whole in wholes if whole not in gates] + ["squeeze-and-excitation"]
    elif gates:
        wholes += gates
    rows, columns = (
        replace(axis[0], first=min(view.first for view in axis), last=max(view.last for view in axis))
        for axis in zip(*windows, strict=True)
    )
    return Seen((rows, columns), _joined(wholes))


def places(shape: Shape) -> int:
    """How many units side by side a map (h, w, C) has; none where it is no map."""
    return math.prod(shape[:2]) if len(shape) == 3 else 0


def _joined(wholes: Sequence[str]) -> str | None:
    return " and ".join(dict.fromkeys(wholes)) or None


def look(layer: Any, input_shape: Shape, output_shape: Shape, seen: Seen) -> Seen:
    """What a layer sees through its window, if it has one, and whether it mixes all positions."""
    kind = type(layer).__name__
    window, whole = seen.window, seen.whole
    if window is None:
        return seen if whole else Seen(None, kind)
    if kind.startswith("Global"):
        return Seen(None, "global pooling")
    if len(output_shape) != 3 or _mixes(layer):
        return Seen(None, kind)
    if _takes_statistics(layer):
        whole = _joined([*filter(None, [whole]), kind])
    margins = _margins(layer)
    if margins is not None:
        rows, columns = (view.through(1, 1, before) for view, before in zip(window, margins, strict=True))
        return Seen((rows, columns), whole)
    windows = _windows(layer)
    if not windows:
        return Seen(window, whole) if output_shape[:2] == input_shape[:2] else Seen(None, kind)
    rows, columns = window
    sizes = list(input_shape[:2])
    for extents, strides, same in windows:
        # TensorFlow's rule for "same": as much as the last window needs, the smaller half of it before.
        missing = [
            max((math.ceil(size / stride) - 1) * stride + extent - size, 0) if same else 0
            for size, extent, stride in zip(sizes, extents, strides, strict=True)
        ]
        rows, columns = (
            view.through(extent, stride, short // 2)
            for view, extent, stride, short in zip((rows, columns), extents, strides, missing, strict=True)
        )
        sizes = [
            (size + short - extent) // stride + 1
            for size, short, extent, stride in zip(sizes, missing, extents, strides, strict=True)
        ]
    return Seen((rows, columns), whole)


def _mixes(layer: Any) -> bool:
    """Whether a layer brings every position to every other, or to another place, though it may keep the map's size."""
    kind = type(layer).__name__
    moves = kind == "Permute" and tuple(layer.dims[:2]) != (1, 2)
    return moves or "Attention" in kind or "Transpose" in kind


def _takes_statistics(layer: Any) -> bool:
    """Whether a layer normalises a unit by what is at all positions of the same image."""
    kind = type(layer).__name__
    if kind == "GroupNormalization":
        return True
    axes = getattr(layer, "axis", -1) if kind in ("LayerNormalization", "UnitNormalization", "Softmax") else -1
    return any(axis in (1, 2, -2, -3) for axis in (axes if isinstance(axes, list | tuple) else [axes]))


def _margins(layer: Any) -> tuple[int, int] | None:
    """Rows above and columns to the left that a layer adds, fewer than none if it takes them away; None if neither."""
    kind = type(layer).__name__
    if kind == "ZeroPadding2D":
        (above, _), (left, _) = layer.padding
    elif kind == "Cropping2D":
        (above, _), (left, _) = ((-before, -after) for before, after in layer.cropping)
    elif kind == "Pad":
        widths = layer.pad_width if len(layer.pad_width) > 1 else 4 * layer.pad_width
        (above, _), (left, _) = widths[1:3]
    elif hasattr(layer, "margins"):
        above, left = layer.margins
    else:
        return None
    return above, left


def _windows(layer: Any) -> list[tuple[tuple[int, int], tuple[int, int], bool]]:
    """A layer's windows, one inside the other: extents and strides along both axes, and whether padding is "same"."""
    if hasattr(layer, "windows_in_turn"):
        return [(extent, stride, padding == "same") for extent, stride, padding in layer.windows_in_turn]
    window = getattr(layer, "kernel_size", None) or getattr(layer, "pool_size", None)
    if window is None:
        return []
    units, strides, rates = (
        _pair(value) for value in (window, getattr(layer, "strides", 1), getattr(layer, "dilation_rate", 1))
    )
    extent = ((units[0] - 1) * rates[0] + 1, (units[1] - 1) * rates[1] + 1)
    return [(extent, strides, getattr(layer, "padding", "valid") == "same")]


def _pair(value: int | tuple[int, int]) -> tuple[int, int]:
    return value if isinstance(value, tuple) else (value, value)
