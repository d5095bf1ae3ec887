"""Cross-validation and searches as text."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from recipes.search.table import TRIAL_COLUMNS, trial_cells
from recipes.support.tables import lines, table
from recipes.tasks import summary

if TYPE_CHECKING:
    from recipes.cross_validate import CrossValidated
    from recipes.search.results import Tuned


def cross_validated(result: "CrossValidated") -> str:
    other, (low, high) = result.against, result.interval
    names = [result.model, other["model"]] if other else [result.model]
    columns = [result.folds, other["folds"]] if other else [result.folds]
    rows = [(str(i + 1), *(f"{score:.4f}" for score in row)) for i, row in enumerate(zip(*columns, strict=True))]
    parts = [
        table(["fold", *names], rows, right=range(1, 1 + len(names))),
        f"{result.model}: {result.score} {result.mean:.4f} +- {result.spread:.4f}, 95 % interval "
        f"{low:.4f} to {high:.4f}",
    ]
    if other:
        parts.append(
            f"{other['model']}: {other['mean']:.4f} +- {other['spread']:.4f}; {result.model} is "
            f"{other['difference']:+.4f} from it, p {other['p']:.3g} "
            f"(corrected resampled t {other['t']:.2f})"
        )
    return "\n\n".join(parts)


def trials(rows: Sequence[Mapping[str, Any]]) -> str:
    """The trials of a study, best first."""
    ordered = sorted(rows, key=lambda row: (row["state"] != "complete", -(row["score"] or 0)))
    return table(TRIAL_COLUMNS, [trial_cells(row) for row in ordered], right=range(2, 7))


def tuned(result: "Tuned") -> str:
    best, study = result.best, result.study
    front = [f"front: trials {', '.join(map(str, result.front))}"] if len(result.front) > 1 else []
    spread = "" if best["spread"] is None else f" +- {best['spread']:.4f}"
    told = lines(
        *front,
        f"best: trial {best['number']}, {best['score']:.4f}{spread} by cross-validation; trained again on all of it: "
        f"{summary(result.metrics)} on {result.metrics['examples']:,} test images.",
        f"Next: zoo fit {study}/best.toml --data ...",
        f"      zoo export {study}/best --to int8",
        f"Drawn in {study}/report.html",
    )
    return f"{trials(result.trials)}\n\n{told}"
