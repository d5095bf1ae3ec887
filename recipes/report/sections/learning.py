"""How the training went."""

from recipes.report import charts
from recipes.report.sections.contents import Page
from recipes.tasks import TASKS


def learning_curves(page: Page) -> str:
    """Metric, loss and learning rate by epoch."""
    history = page.run.history
    if not history:
        return ""

    def curve(key: str) -> list[tuple[float, float]]:
        return [(row.get("epoch", i + 1), row[key]) for i, row in enumerate(history) if key in row]

    task = TASKS[page.data.task]
    drawn = [
        charts.line_chart(
            task.monitor.capitalize().replace("_", " "),
            {"training": curve(task.monitor), "validation": curve(f"val_{task.monitor}")},
            x="epoch",
            percent=task.monitor_is_share,
        ),
        charts.line_chart("Loss", {"training": curve("loss"), "validation": curve("val_loss")}, x="epoch"),
        charts.line_chart("Learning rate", {"learning rate": curve("learning_rate")}, x="epoch"),
    ]
    varied = not page.recipe.augment.is_identity
    note = "<p>Training metrics are of augmented images, which are harder.</p>" if varied else ""
    return note + charts.side_by_side(drawn)
