"""What the trials of a study came to."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

if TYPE_CHECKING:
    import optuna

ENDED = ("complete", "pruned", "failed")  # states of trials that count; those that are skipped or stopped do not
Cost = Literal["parameters", "macs", "int8_bytes", "latency_ms"]
COSTS: tuple[Cost, ...] = get_args(Cost)


@dataclass(frozen=True)
class Tuned:
    """What a search came to.

    Attributes:
        study: its folder, with `best.toml`, the run `best` and `report.html`.
        trials: rows, see `recipes.search.study.rows_of`.
        best: the winner's row; by cross-validation, of all on the front.
        front: numbers of the trials that none beats in both score and cost; the best one's if there is no cost.
        metrics: of the winner, trained again on all training images, on the test images.
    """

    study: str
    trials: list[dict[str, Any]]
    best: dict[str, Any]
    front: list[int]
    metrics: dict[str, Any]

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def rows_of(trials: "Sequence[optuna.trial.FrozenTrial]") -> list[dict[str, Any]]:
    """A row for every trial, as JSON types: number, state, score (mean of the folds), what it measures,
    spread, costs, settings."""
    return [
        {
            "number": trial.number,
            "state": state_of(trial),
            "score": trial.values[0] if trial.values else trial.user_attrs.get("so_far"),
            "measure": trial.user_attrs.get("measure"),
            "spread": trial.user_attrs.get("spread"),
            "folds": trial.user_attrs.get("folds", []),
            **{cost: trial.user_attrs.get(cost) for cost in COSTS},
            "seconds": trial.duration.total_seconds() if trial.duration else None,
            "seconds_training": trial.user_attrs.get("seconds_training"),
            "seed": trial.user_attrs.get("seed"),
            "why": trial.user_attrs.get("why"),
            "settings": trial.user_attrs.get("settings", []),
        }
        for trial in trials
    ]


class _Row(BaseModel):
    """A trial as `rows_of` has it."""

    model_config = ConfigDict(strict=True)

    state: str
    score: float | None
    measure: str | None
    spread: float | None
    folds: list[float]
    parameters: Annotated[float, Field(ge=0)] | None
    macs: Annotated[float, Field(ge=0)] | None
    int8_bytes: Annotated[float, Field(ge=0)] | None
    latency_ms: float | None
    seconds_training: float | None
    seed: int | None
    why: str | None
    settings: list[str]


_ROWS = TypeAdapter(list[_Row])


def check_rows(trials: "Sequence[optuna.trial.FrozenTrial]") -> None:
    """Raises a `ValueError` for a trial with what no trial of this package has."""
    _ROWS.validate_python(rows_of(trials))
    for trial in trials:
        again = trial.user_attrs.get("again")
        if again is not None and not (isinstance(again, int) and 0 <= again < trial.number):
            raise ValueError(f"trial {trial.number} is said to be done again as {again!r}")


def state_of(trial: "optuna.trial.FrozenTrial") -> str:
    """complete, pruned, running, waiting; skipped (it would cost too much), failed, or stopped (done again later)."""
    state = trial.state
    return trial.user_attrs.get("ended", state.name.lower()) if state.is_finished() else state.name.lower()
