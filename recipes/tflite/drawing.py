"""An image of a file's memory: what lies where, from the first operation to the last."""

from pathlib import Path

from recipes.support.files import write_whole
from recipes.tflite.memory import Memory
from zoo.drawing import as_matplotlib_ships, check_drawing
from zoo.terminal import escaped

_NAMED = 0.04  # of the whole memory: what takes less is drawn without its name


def draw_memory(memory: Memory, title: str, file: Path) -> None:
    """Draws a box for everything that lies in memory: from left to right the operations, upwards the bytes.

    Args:
        memory: the plan.
        title: above the drawing.
        file: where to; its ending, `.png` or `.svg`, says in which format.

    Raises:
        RequestError: another ending, or a folder that does not exist.
        FailureError: it cannot be written.
    """
    check_drawing(file)
    write_whole(file, lambda aside: _draw(memory, title, aside))


@as_matplotlib_ships()
def _draw(memory: Memory, title: str, file: Path) -> None:
    from matplotlib import colormaps
    from matplotlib.figure import Figure

    steps = len(memory.steps)
    figure = Figure(figsize=(min(3 + 0.35 * steps, 40), 5), layout="constrained")
    axes = figure.add_subplot()
    colours = colormaps["tab20"]
    for number, place in enumerate(memory.places):
        width = place.last - place.first + 1
        axes.bar(
            place.first,
            place.bytes,
            width,
            place.offset,
            align="edge",
            color=colours(number % 20),
            edgecolor="black",
            linewidth=0.5,
        )
        if place.bytes > _NAMED * memory.bytes:
            middle = (place.first + width / 2, place.offset + place.bytes / 2)
            axes.text(*middle, escaped(place.layer), ha="center", va="center", fontsize=6, rotation=90, clip_on=True)
    axes.axvspan(memory.busiest, memory.busiest + 1, color="red", alpha=0.12, zorder=0)
    axes.set_xticks(
        [step + 0.5 for step in range(steps)], [step.kind for step in memory.steps], rotation=90, fontsize=6
    )
    axes.set_xlim(0, steps)
    axes.set_ylabel("byte of the arena")
    axes.set_title(f"{escaped(title)}: {memory.bytes:,} bytes hold all values", fontsize=9)
    figure.savefig(file, dpi=150)
