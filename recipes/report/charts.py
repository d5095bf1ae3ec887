"""Charts and images as pieces of HTML that need nothing but themselves.

Colours are CSS variables of the page (`--series-0`, ...), so that a chart follows light and dark.
"""

import base64
import io
from collections.abc import Iterable, Mapping, Sequence
from html import escape

import numpy as np
from PIL import Image

WIDTH, HEIGHT = 360, 230  # of a chart, in units of its own
LEFT, RIGHT, TOP, BOTTOM = 46, 10, 10, 36
DASHES = ("", "6 3", "2 3", "8 3 2 3")  # lines differ without their colours too
LARGE = 64  # pixels; larger images are photographs and travel as JPEG
LARGEST = 192

Points = Sequence[tuple[float, float]]


def line_chart(title: str, series: Mapping[str, Points], *, x: str, percent: bool = False) -> str:
    """An SVG of lines over a common axis, with a legend.

    Args:
        title: what is shown; also read out to those who do not see the chart.
        series: for each name its (x, y); what is not finite is left out.
        x: what the horizontal axis means.
        percent: values are fractions and the axis goes from 0 to 100 %.
    """
    series = {name: [p for p in points if np.isfinite(p).all()] for name, points in series.items()}
    every = [point for points in series.values() for point in points]
    if not every:
        return ""
    across = _ticks([p[0] for p in every], inside=True)
    up = [0.0, 0.25, 0.5, 0.75, 1.0] if percent else _ticks([0.0, *(p[1] for p in every)])
    left, right = min(p[0] for p in every), max(p[0] for p in every)
    low, high = min(up), max([*up, *(p[1] for p in every)])

    def at(point: tuple[float, float]) -> tuple[float, float]:
        along = (point[0] - left) / ((right - left) or 1)
        above = (point[1] - low) / ((high - low) or 1)
        return LEFT + along * (WIDTH - LEFT - RIGHT), HEIGHT - BOTTOM - above * (HEIGHT - TOP - BOTTOM)

    parts = []
    for tick in up:
        y = at((left, tick))[1]
        label = f"{tick:.0%}" if percent else f"{tick:g}"
        parts.append(f'<path class="grid" d="M{LEFT} {y:.1f}H{WIDTH - RIGHT}"/>')
        parts.append(f'<text x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{label}</text>')
    for tick in across:
        parts.append(
            f'<text x="{at((tick, low))[0]:.1f}" y="{HEIGHT - BOTTOM + 15}" text-anchor="middle">{tick:g}</text>'
        )
    parts.append(f'<text x="{(LEFT + WIDTH - RIGHT) / 2}" y="{HEIGHT - 4}" text-anchor="middle">{escape(x)}</text>')
    for number, (name, points) in enumerate(series.items()):
        path = "M" + "L".join(f"{px:.1f} {py:.1f}" for px, py in map(at, points))
        parts.append(f'<path class="line s{number}" stroke-dasharray="{DASHES[number % len(DASHES)]}" d="{path}"/>')
        for point in points if len(points) <= 40 else ():
            px, py = at(point)
            value = f"{point[1]:.1%}" if percent else f"{point[1]:.4g}"
            hint = f"<title>{escape(name)}, {point[0]:g}: {value}</title>"
            parts.append(f'<circle class="dot s{number}" cx="{px:.1f}" cy="{py:.1f}" r="2.5">{hint}</circle>')
    spoken = "; ".join(_in_words(name, points, percent) for name, points in series.items() if points)
    legend = "".join(
        f'<span class="key s{number}"><svg viewBox="0 0 24 6" aria-hidden="true"><path class="line s{number}" '
        f'stroke-dasharray="{DASHES[number % len(DASHES)]}" d="M0 3H24"/></svg>{escape(name)}</span>'
        for number, name in enumerate(series)
    )
    return (
        f'<figure class="chart"><svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(title)}: '
        f'{escape(spoken)}">{"".join(parts)}</svg><figcaption>{escape(title)} {legend}</figcaption></figure>'
    )


def _in_words(name: str, points: Points, percent: bool) -> str:
    first, last = (f"{p[1]:.1%}" if percent else f"{p[1]:.4g}" for p in (points[0], points[-1]))
    return f"{name} from {first} at {points[0][0]:g} to {last} at {points[-1][0]:g}"


def _ticks(values: Sequence[float], *, inside: bool = False) -> list[float]:
    """Round numbers that cover the values, or lie among them."""
    from matplotlib.ticker import MaxNLocator

    low, high = min(values), max(values)
    ticks = MaxNLocator(nbins=5, steps=[1, 2, 2.5, 5, 10]).tick_values(low, high if high > low else low + 1)
    return [float(f"{tick:.10g}") for tick in ticks if not inside or low <= tick <= high]


def table(header: Sequence[str], rows: Iterable[Sequence[str]], caption: str) -> str:
    """Rows of plain text; the first cell of each is its heading. Scrolls by itself where it is too wide."""
    head = "".join(f'<th scope="col">{escape(cell)}</th>' for cell in header)
    body = "".join(
        f'<tr><th scope="row">{escape(row[0])}</th>' + "".join(f"<td>{escape(cell)}</td>" for cell in row[1:]) + "</tr>"
        for row in rows
    )
    return _scrolling(caption, f"<table><caption>{escape(caption)}</caption><tr>{head}</tr>{body}</table>")


def matrix(counts: Sequence[Sequence[int]], names: Sequence[str], caption: str) -> str:
    """A confusion matrix as a table whose cells are shaded by their fraction of the row."""
    head = "".join(f'<th scope="col">{escape(name)}</th>' for name in names)
    body = []
    for name, row, right in zip(names, counts, range(len(names)), strict=True):
        cells = "".join(
            f'<td class="{"right" if column == right else "wrong"}" style="--share:{count / max(sum(row), 1):.3f}">'
            f"{count or ''}</td>"
            for column, count in enumerate(row)
        )
        body.append(f'<tr><th scope="row">{escape(name)}</th>{cells}</tr>')
    inner = f'<table class="matrix"><caption>{escape(caption)}</caption><tr><td></td>{head}</tr>{"".join(body)}</table>'
    return _scrolling(caption, inner)


def _scrolling(label: str, inner: str) -> str:
    return f'<div class="scroll" tabindex="0" role="region" aria-label="{escape(label)}">{inner}</div>'


def folded(summary: str, content: str) -> str:
    """Content that is shown when its summary, plain text, is opened."""
    return f"<details><summary>{escape(summary)}</summary>{content}</details>"


def image(pixels: np.ndarray, alt: str, caption: str = "") -> str:
    """An image uint8 (H, W), (H, W, 1) or (H, W, 3) with what stands under it."""
    below = f"<figcaption>{escape(caption)}</figcaption>" if caption else ""
    return f'<figure class="image"><img src="{data_uri(pixels)}" alt="{escape(alt)}">{below}</figure>'


def side_by_side(drawings: Iterable[str]) -> str:
    """Charts of one size, as many in a row as there is room for; a single one too."""
    return f'<div class="charts">{"".join(drawings)}</div>'


def gallery(images: Iterable[str], *, kind: str = "") -> str:
    """Images side by side, as many in a row as there is room for."""
    return f'<div class="gallery {kind}">{"".join(images)}</div>'


def data_uri(pixels: np.ndarray) -> str:
    """The image inside its own address; one larger than 192 pixels is made smaller."""
    image = Image.fromarray(pixels[..., 0] if pixels.ndim == 3 and pixels.shape[-1] == 1 else pixels)
    large = max(image.size) > LARGE
    if large:
        image.thumbnail((LARGEST, LARGEST))
    kept = io.BytesIO()
    if large:
        image.save(kept, "JPEG", quality=85)
    else:
        image.save(kept, "PNG", optimize=True)
    return f"data:image/{'jpeg' if large else 'png'};base64,{base64.b64encode(kept.getvalue()).decode()}"


def heat(pixels: np.ndarray, strength: np.ndarray) -> np.ndarray:
    """An image uint8 (H, W, C) under a map (h, w) from 0 to 1: uint8 (H, W, 3)."""
    from matplotlib import colormaps

    height, width = pixels.shape[:2]
    spread = np.asarray(Image.fromarray(strength.astype(np.float32)).resize((width, height), Image.Resampling.BILINEAR))
    grey = pixels.astype(np.float32).mean(-1, keepdims=True)
    mixed = 0.45 * grey + 0.55 * 255 * colormaps["inferno"](spread)[..., :3]
    return np.asarray(np.clip(mixed, 0, 255), np.uint8)
