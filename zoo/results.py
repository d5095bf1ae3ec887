"""What models reach on a set of images: a line for each model and recipe, the mean over seeds.

The rows behind it, one for each seed, are in `docs/results/`, written by `benchmarks/results.py`; these lines are what
`zoo list --results` reads, without Keras.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import Any

from zoo.errors import unknown

MEASURED = files("zoo") / "measured"  # one file a set, written by docs/generate.py
FAMILIES = ("rotation", "translation", "scale", "mirror", "affine")


@dataclass(frozen=True)
class Result:
    """A model and a recipe on a set of images.

    Attributes:
        model: its name.
        symmetry: the group over whose copies of the image it takes the maximum (`model.symmetry`); None without.
        recipe: how it was trained.
        image: height, width and channels.
        seeds: how many trainings the means are of.
        accuracy, int8_accuracy: fraction of the test images, of the model and of its int8 file.
        spread: the standard deviation of `accuracy` over seeds; None of one.
        interval: of `accuracy`, of the images (Wilson, 95 %), the lowest and highest end over seeds.
        agreement: fraction of the test images that the int8 file puts into the model's class.
        calibration_error: of the probabilities.
        invariance: the scores of `zoo evaluate --invariance`, by family.
        parameters, macs: of the model for this image and these classes.
        int8_bytes, arena_bytes: of the int8 file; what TensorFlow Lite Micro uses to run it.
        latency_ratio: of the int8 file to that of lenet5, one thread.
        seconds: of a training.
    """

    model: str
    symmetry: str | None
    recipe: str
    image: tuple[int, int, int]
    seeds: int
    accuracy: float
    int8_accuracy: float
    spread: float | None
    interval: tuple[float, float]
    agreement: float
    calibration_error: float
    parameters: int
    macs: int
    int8_bytes: int
    arena_bytes: int
    latency_ratio: float
    seconds: float
    invariance: Mapping[str, float] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """The model, and its copies of the image if it takes any."""
        return f"{self.model}, copies {self.symmetry}" if self.symmetry else self.model

    @property
    def accuracy_in_words(self) -> str:
        """In percent; of several seeds the mean, and the standard deviation over them."""
        spread = "" if self.spread is None else f" ± {100 * self.spread:.1f}"
        return f"{100 * self.accuracy:.1f}{spread}"

    def to_dict(self) -> dict[str, Any]:
        """As JSON types."""
        return asdict(self) | {"image": list(self.image), "interval": list(self.interval)}


def result_sets() -> list[str]:
    """Names of the sets that there are results of, sorted."""
    return sorted(file.name.removesuffix(".jsonl") for file in MEASURED.iterdir() if file.name.endswith(".jsonl"))


def read_results(name: str) -> list[Result]:
    """The results on a set, in the order of its file.

    Raises:
        RequestError: there are none.
    """
    if name not in result_sets():
        raise unknown("results", name, result_sets())
    lines = (MEASURED / f"{name}.jsonl").read_text("utf-8").splitlines()
    return [_result(json.loads(line)) for line in lines]


def of_models(results: Sequence[Result], models: Sequence[str], *, by_accuracy: bool = False) -> list[Result]:
    """Results of these models: in the order of the models, or the best accuracy first."""
    place = {name: number for number, name in enumerate(models)}
    kept = [result for result in results if result.model in place]
    return sorted(kept, key=lambda result: -result.accuracy if by_accuracy else place[result.model])


def _result(facts: dict[str, Any]) -> Result:
    return Result(**facts | {"image": tuple(facts["image"]), "interval": tuple(facts["interval"])})


def read_rows(file: Path) -> list[dict[str, Any]]:
    """The rows of a file of `docs/results/`, see `benchmarks/results.py`."""
    return [json.loads(line) for line in file.read_text("utf-8").splitlines()] if file.exists() else []


def summarize(rows: Iterable[Mapping[str, Any]]) -> list[Result]:
    """The means over seeds, best accuracy first; rows of trainings that failed are left out."""
    groups: dict[tuple[str, str | None, str], list[Mapping[str, Any]]] = {}
    for row in rows:
        if "failed" not in row:
            groups.setdefault((row["model"], row["symmetry"], row["recipe"]), []).append(row)
    results = [_mean(*key, found) for key, found in groups.items()]
    return sorted(results, key=lambda result: (-result.accuracy, result.name, result.recipe))


def _mean(model: str, symmetry: str | None, recipe: str, rows: list[Mapping[str, Any]]) -> Result:
    from statistics import mean, stdev

    def average(key: str) -> float:
        return round(float(mean(row[key] for row in rows)), 4)

    lows, highs = zip(*(row["accuracy_interval"] for row in rows), strict=True)
    return Result(
        model,
        symmetry,
        recipe,
        rows[0]["image"],
        len(rows),
        accuracy=average("accuracy"),
        int8_accuracy=average("int8_accuracy"),
        spread=round(stdev(row["accuracy"] for row in rows), 4) if len(rows) > 1 else None,
        interval=(round(min(lows), 4), round(max(highs), 4)),
        agreement=average("agreement"),
        calibration_error=average("calibration_error"),
        parameters=rows[0]["parameters"],
        macs=rows[0]["macs"],
        int8_bytes=max(row["int8_bytes"] for row in rows),
        arena_bytes=max(row["arena_bytes"] for row in rows),
        latency_ratio=round(average("latency_ratio"), 2),
        seconds=round(average("seconds"), 1),
        invariance={family: average(family) for family in FAMILIES},
    )


def to_lines(results: Iterable[Result]) -> str:
    """A file of `zoo/measured/`."""
    return "".join(f"{json.dumps(result.to_dict(), separators=(',', ':'))}\n" for result in results)
