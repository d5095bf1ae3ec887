"""Accuracy against what it costs, and the models that no other beats in both, as SVG."""

import math
from collections.abc import Callable
from html import escape

from recipes.support.tables import short
from zoo.results import Result, read_results, result_sets

MARK = "<!-- plots -->"
WIDTH, HEIGHT, LEFT, BELOW, ABOVE, RIGHT = 420, 280, 44, 34, 24, 14
COSTS: dict[str, Callable[[Result], int]] = {
    "multiply-adds": lambda result: result.macs,
    "bytes of the int8 file": lambda result: result.int8_bytes,
    "bytes of arena": lambda result: result.arena_bytes,
}


def extended(path: str, markdown: str) -> str:
    """The page on results with its plots."""
    if path != "results.md":
        return markdown
    figures = [_plot(read_results(name), name, cost) for name in result_sets() for cost in COSTS]
    return markdown.replace(MARK, '<div class="plots">\n' + "\n".join(figures) + "\n</div>")


def front(points: list[tuple[float, float]]) -> list[int]:
    """Numbers of the points (cost, accuracy) that no cheaper one reaches, from the cheapest on."""
    found: list[int] = []
    for number in sorted(range(len(points)), key=lambda one: (points[one][0], -points[one][1])):
        if not found or points[number][1] > points[found[-1]][1]:
            found.append(number)
    return found


def _plot(results: list[Result], name: str, cost: str) -> str:
    points = [(float(COSTS[cost](result)), 100 * result.accuracy) for result in results]
    if not points:
        return ""
    low, high = (math.log10(edge(point[0] for point in points)) for edge in (min, max))
    least, most = math.floor(min(point[1] for point in points)), 100
    high = max(high, low + 0.1)

    def place(point: tuple[float, float]) -> tuple[float, float]:
        across = (math.log10(point[0]) - low) / (high - low)
        up = (point[1] - least) / max(most - least, 1)
        return LEFT + 8 + across * (WIDTH - LEFT - RIGHT - 16), HEIGHT - BELOW - up * (HEIGHT - BELOW - ABOVE)

    best = front(points)
    title = f"{name}: accuracy in % against {cost}"
    lines = [f'<figure><svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(title)}">']
    lines.append(f'<text x="4" y="14">{escape(title)}</text>')
    lines.append(f'<path class="axis" fill="none" d="M{LEFT} {ABOVE}V{HEIGHT - BELOW}H{WIDTH - RIGHT}"/>')
    for height in sorted({least, (least + most) // 2, most}):
        y = place((10**low, height))[1]
        lines.append(f'<text x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{height}</text>')
    for power in range(math.ceil(low), math.floor(high) + 1):
        x = place((10**power, least))[0]
        lines.append(f'<text x="{x:.1f}" y="{HEIGHT - BELOW + 16}" text-anchor="middle">{short(10**power)}</text>')
    steps = "".join(
        f"{'L' if step else 'M'}{x:.1f} {y:.1f}" for step, (x, y) in enumerate(place(points[n]) for n in best)
    )
    lines.append(f'<path class="front" d="{steps}"/>')
    for number, (result, point) in enumerate(zip(results, points, strict=True)):
        x, y = place(point)
        kind = ' class="best"' if number in best else ""
        about = f"{result.name}, {result.recipe}: {point[1]:.1f} %, {point[0]:,.0f} {cost}"
        lines.append(f'<circle{kind} cx="{x:.1f}" cy="{y:.1f}" r="4"><title>{escape(about)}</title></circle>')
    names = ", ".join(dict.fromkeys(results[number].name for number in best))
    return "".join([*lines, "</svg>", f"<figcaption>Beaten by none: {escape(names)}</figcaption></figure>"])
