"""An image of a model: its feature maps in proportion, and what one unit of each sees."""

import contextlib
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from zoo.anatomy import Anatomy, Layer
from zoo.errors import RequestError
from zoo.terminal import escaped

if TYPE_CHECKING:
    from matplotlib.axes import Axes

ENDINGS = (".png", ".svg")
SHOWN = 14  # feature maps at most; of more, those whose size or kind changes


@contextlib.contextmanager
def as_matplotlib_ships() -> Iterator[None]:
    """In the block Matplotlib has the settings that it is shipped with, and takes no text for a formula.

    Names may hold `$`; a character that the font lacks is drawn as a box.
    """
    from matplotlib import style

    with style.context(["default", {"text.parse_math": False}]), warnings.catch_warnings():
        warnings.filterwarnings("ignore", r"Glyph \d+ .*missing from")
        yield


def check_drawing(file: Path, endings: Sequence[str] = ENDINGS) -> None:
    """Raises a `RequestError` for a file to draw to that has another ending, or whose folder does not exist."""
    if file.suffix not in endings:
        raise RequestError(f"{file} cannot be drawn; allowed endings: {', '.join(endings)}.")
    if not file.absolute().parent.is_dir():
        raise RequestError(f"{file.parent} is not a folder; make it first.")


@as_matplotlib_ships()
def draw(anatomy: Anatomy, title: str, file: Path, image: np.ndarray | None = None) -> None:
    """Draws feature maps as stacked sheets, and the receptive fields of a middle unit on an image.

    Args:
        anatomy: of the model.
        title: above the drawing.
        file: where to; its ending, `.png` or `.svg`, says in which format.
        image: uint8 (H, W, C) of the anatomy's size to draw the receptive fields on; rings if None.

    Raises:
        RequestError: another ending, or a folder that does not exist.
    """
    check_drawing(file)
    import matplotlib
    from matplotlib.figure import Figure

    maps = _shown([found for layer in anatomy.layers if (found := _map(layer))])
    figure = Figure(figsize=(2.6 + 1.1 * len(maps), 3.6), layout="constrained")
    view, chain = figure.subplots(1, 2, width_ratios=[2.4, max(1.1 * len(maps), 1)])
    _draw_fields(view, anatomy, maps, image)
    _draw_maps(chain, anatomy, maps)
    figure.suptitle(f"{escaped(title)}: {anatomy.parameters:,} parameters, {anatomy.macs:,} multiply-adds", fontsize=9)
    # Without a date and with fixed ids the same model gives the same file.
    with matplotlib.rc_context({"svg.hashsalt": "convzoo"}):
        figure.savefig(file, dpi=150, metadata={"Date": None} if file.suffix == ".svg" else None)


@dataclass(frozen=True)
class _Map:
    """A feature map (H, W, C) whose units each see a window of the image; the rest as in `Layer`."""

    name: str
    shape: tuple[int, int, int]
    receptive_field: tuple[int, int]
    stride: tuple[int, int]
    offset: tuple[float, float]
    macs: int


def _map(layer: Layer) -> _Map | None:
    shape, field, stride, offset = layer.output_shape, layer.receptive_field, layer.stride, layer.offset
    if field is None or stride is None or offset is None or len(shape) != 3:
        return None
    return _Map(layer.name, shape, field, stride, offset, layer.macs)


def _shown(maps: list[_Map]) -> list[_Map]:
    working = [one for one in maps if one.macs or one.stride != (1, 1)] or maps
    changes = [
        one
        for before, one in zip([None, *working], working, strict=False)
        if before is None or (one.shape, one.receptive_field) != (before.shape, before.receptive_field)
    ]
    if len(changes) <= SHOWN:
        return changes
    sizes = {one.shape[:2]: one for one in changes}  # the last of every size
    return list(sizes.values())[:SHOWN]


def _draw_fields(axes: "Axes", anatomy: Anatomy, maps: list[_Map], image: np.ndarray | None) -> None:
    from matplotlib import colormaps
    from matplotlib.patches import Rectangle

    height, width, _ = anatomy.input_shape
    axes.imshow(_rings(height, width) if image is None else image.squeeze(), cmap="gray", vmin=0, vmax=255)
    for number, one in enumerate(maps):
        middle = [size // 2 for size in one.shape[:2]]
        centre = [o + unit * s for o, unit, s in zip(one.offset, middle, one.stride, strict=True)]
        high, wide = one.receptive_field
        corner = (centre[1] - wide / 2, centre[0] - high / 2)
        colour = colormaps["viridis"](number / max(len(maps) - 1, 1))
        axes.add_patch(Rectangle(corner, wide, high, fill=False, edgecolor=colour, linewidth=1.5, clip_on=True))
    axes.set_title("what a middle unit sees", fontsize=7)
    axes.set_xticks([])
    axes.set_yticks([])


def _draw_maps(axes: "Axes", anatomy: Anatomy, maps: list[_Map]) -> None:
    from matplotlib import colormaps
    from matplotlib.patches import Rectangle

    largest = max(anatomy.input_shape[:2])
    for number, one in enumerate(maps):
        height, width, channels = one.shape
        colour = colormaps["viridis"](number / max(len(maps) - 1, 1))
        sheets = min(1 + int(np.log2(channels)), 8)
        for sheet in range(sheets):
            corner = (number + 0.02 * sheet - 0.35 * width / largest, 0.02 * sheet - 0.35 * height / largest)
            size = (0.7 * width / largest, 0.7 * height / largest)
            axes.add_patch(Rectangle(corner, *size, facecolor=colour, edgecolor="white", linewidth=0.5))
        seen = "x".join(str(n) for n in one.receptive_field)
        text = f"{one.name}\n{height}x{width}x{channels}\nsees {seen}"
        axes.text(number, -0.48, text, ha="center", va="top", fontsize=6)
    axes.set_xlim(-0.6, len(maps) - 0.3)
    axes.set_ylim(-0.9, 0.6)
    axes.set_aspect("equal")
    axes.axis("off")


def _rings(height: int, width: int) -> np.ndarray:
    """A test image with detail at every scale: rings that narrow outwards."""
    y, x = np.mgrid[:height, :width]
    distance = ((y - (height - 1) / 2) / height) ** 2 + ((x - (width - 1) / 2) / width) ** 2
    rings: np.ndarray = (150 + 60 * np.cos(60 * distance)).astype(np.uint8)
    return rings
