"""Accuracy against what it costs, and the models that no other beats in both, as SVG."""

import math
import re
from collections.abc import Callable
from html import escape
from statistics import median

from recipes.support.tables import short
from zoo.results import Result, read_results

MARK = re.compile(r"<!-- plots: (.+) -->")
WIDTH, HEIGHT, LEFT, BELOW, ABOVE, RIGHT = 300, 220, 34, 22, 28, 8
FEWEST = 3  # results that are worth a plot
COSTS: dict[str, Callable[[Result], int]] = {
    "multiply-adds": lambda result: result.macs,
    "bytes of the int8 file": lambda result: result.int8_bytes,
    "bytes of arena": lambda result: result.arena_bytes,
}


def extended(path: str, markdown: str) -> str:
    """The page on results with its plots."""
    if path != "results.md":
        return markdown
    return MARK.sub(lambda found: plots_of(found[1], read_results(found[1])), markdown)


def plots_of(name: str, results: list[Result]) -> str:
    if len(results) < FEWEST:
        return ""
    figures = "\n".join(_plot(results, name, cost) for cost in COSTS)
    return f'<div class="plots">\n{figures}\n</div>'


def front(points: list[tuple[float, float]]) -> list[int]:
    """Numbers of the points (cost, accuracy) that no cheaper one reaches, from the cheapest on."""
    found: list[int] = []
    for number in sorted(range(len(points)), key=lambda one: (points[one][0], -points[one][1])):
        if not found or points[number][1] > points[found[-1]][1]:
            found.append(number)
    return found


def _plot(results: list[Result], name: str, cost: str) -> str:
    points = [(float(COSTS[cost](result)), 100 * result.accuracy) for result in results]
    low, high = (math.log10(edge(point[0] for point in points)) for edge in (min, max))
    high = max(high, low + 0.1)
    least = lowest([point[1] for point in points])

    def place(point: tuple[float, float]) -> tuple[float, float]:
        across, up = (math.log10(point[0]) - low) / (high - low), (max(point[1], least) - least) / (100 - least)
        return LEFT + 8 + across * (WIDTH - LEFT - RIGHT - 16), HEIGHT - BELOW - up * (HEIGHT - BELOW - ABOVE)

    best = front(points)
    title = f"accuracy in % against {cost}"
    lines = [f'<figure><svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(f"{name}: {title}")}">']
    lines.append(f'<text x="4" y="14">{escape(title)}</text>')
    lines.append(f'<path class="axis" fill="none" d="M{LEFT} {ABOVE}V{HEIGHT - BELOW}H{WIDTH - RIGHT}"/>')
    for height in (least, (least + 100) // 2, 100):
        y = place((10**low, height))[1]
        lines.append(f'<text x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{height}</text>')
    for value in ticks(low, high):
        x = place((value, least))[0]
        lines.append(f'<text x="{x:.1f}" y="{HEIGHT - BELOW + 16}" text-anchor="middle">{short(value)}</text>')
    steps = "".join(
        f"{'L' if step else 'M'}{x:.1f} {y:.1f}" for step, (x, y) in enumerate(place(points[n]) for n in best)
    )
    lines.append(f'<path class="front" d="{steps}"/>')
    for number in sorted(range(len(points)), key=best.__contains__):  # the best lie on top
        result, (x, y) = results[number], place(points[number])
        about = f"{result.name}, {result.recipe}: {result.accuracy_in_words} %, {points[number][0]:,.0f} {cost}"
        kinds = ["best"] * (number in best) + ["below"] * (points[number][1] < least)
        shape = "M-4 -4H4V4H-4Z" if result.symmetry else "M-4 0a4 4 0 1 0 8 0a4 4 0 1 0 -8 0Z"
        mark = f'<path class="{" ".join(["mark", *kinds])}" transform="translate({x:.1f} {y:.1f})" d="{shape}">'
        lines.append(f"{mark}<title>{escape(about)}</title></path>")
    names = ", ".join(dict.fromkeys(results[number].name for number in best))
    notes = [f"Beaten by none, from the cheapest on: {names}."]
    if any(result.symmetry for result in results):
        notes.append("Squares: with copies of the image.")
    if any(point[1] < least for point in points):
        notes.append("Hollow, on the axis: lower than it shows.")
    return "".join([*lines, "</svg>", f"<figcaption>{escape(' '.join(notes))}</figcaption></figure>"])


def lowest(accuracies: list[float]) -> int:
    """Where the axis begins: at twice the median error, so that models which learnt nothing leave room for others."""
    return max(0, math.floor(max(min(accuracies), 2 * median(accuracies) - 100)))


def ticks(low: float, high: float) -> list[int]:
    """Round numbers between two powers of ten: 1, 10, 100; or 1, 2, 5, 10 where those would be few."""
    digits = (1,) if high - low > 2 else (1, 2, 5)
    found = [digit * 10**power for power in range(math.floor(low), math.floor(high) + 1) for digit in digits]
    return [value for value in found if low <= math.log10(value) <= high]
