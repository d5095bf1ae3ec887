"""What the files of a run hold, as far as anything reads it: what is not so was not written by this package.

Keys that are not listed are allowed: metrics of one's own, and what later versions write.
"""

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self, get_args

from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag, TypeAdapter, model_validator

from recipes.data.labels import task_name

Count = Annotated[int, Field(ge=0)]
Fractions = list[float]
FEW = 40  # classes whose confusion matrix is always written, see `recipes.tasks.confusion`


class _Facts(BaseModel):
    model_config = ConfigDict(extra="allow")


class _OfClass(_Facts):
    precision: float
    recall: float
    f1: float
    support: Count


class _OfLabel(_Facts):
    average_precision: float | None
    f1: float
    support: Count


class _TopK(_Facts):
    k: Count
    accuracy: float


class _Mistake(_Facts):
    index: Count
    file: str | None
    true: str
    guess: str
    score: float


class _Pair(_Facts):
    true: str
    predicted: str
    images: Count


class _Family(_Facts):
    """One family of transformations, see `recipes.evaluate.invariance.measure_invariance`."""

    values: Annotated[list[float] | list[str], Field(min_length=1)]
    accuracy: Fractions
    consistency: Fractions
    score_drop: list[float]
    score: float

    @model_validator(mode="after")
    def _one_each(self) -> Self:
        if len({len(values) for values in (self.values, self.accuracy, self.consistency, self.score_drop)}) > 1:
            raise ValueError("its lists have different lengths")
        return self


class _Invariance(_Facts):
    """The families by name, and what is said of all of them."""

    __pydantic_extra__: dict[str, _Family | float]
    overall: float


class _Stride(_Facts):
    layer: str
    stride: Annotated[int, Field(ge=1)] | list[Annotated[int, Field(ge=1)]]
    error: float


class _Apart(_Facts):
    auroc: float
    fpr_at_95: float


class _OfNone(_Facts):
    images: Count
    unknown_images: Count
    by: dict[str, _Apart]


class _Metrics(_Facts):
    examples: Count
    equivariance: list[_Stride] = []


class _Classification(_Metrics):
    accuracy: float
    accuracy_interval: Annotated[list[float], Field(min_length=2, max_length=2)]
    loss: float
    calibration_error: float
    top_k: _TopK
    per_class: Annotated[dict[str, _OfClass], Field(min_length=1)]
    confusion_matrix: list[list[Count]] = []
    most_confused: list[_Pair] = []
    class_names: Annotated[list[str], Field(min_length=1)]
    worst_mistakes: list[_Mistake]
    wrong: list[Count] = []
    examples_digest: str = ""
    unknown: _OfNone | None = None
    invariance: _Invariance = _Invariance.model_validate({"overall": 0.0})

    @model_validator(mode="after")
    def _square(self) -> Self:
        """The matrix may be left out where there are so many classes that their pairs alone are told."""
        sizes = {len(row) for row in self.confusion_matrix} | {len(self.confusion_matrix), len(self.class_names)}
        is_left_out = "most_confused" in self.model_fields_set and "confusion_matrix" not in self.model_fields_set
        if len(sizes) > 1 and not (is_left_out and len(self.class_names) > FEW):
            raise ValueError("its confusion matrix has not a row and a column for each class")
        return self


class _Multilabel(_Metrics):
    map: float
    f1: float
    f1_macro: float
    exact: float
    per_class: Annotated[dict[str, _OfLabel], Field(min_length=1)]
    class_names: list[str]


class _Regression(_Metrics):
    mae: float
    mse: float
    r2: float | None


class _Unknown(_Facts):
    task: Literal["classification", "multilabel", "regression"]


_NAMED = get_args(_Unknown.model_fields["task"].annotation)


class _None(BaseModel):
    """Of a training that is not finished."""

    model_config = ConfigDict(extra="forbid")


def _kind(metrics: object) -> str:
    if not isinstance(metrics, Mapping) or not metrics:
        return "of[none]"
    name = task_name(metrics)
    return f"of[{name if name in _NAMED else 'unknown'}]"


METRICS: TypeAdapter[Any] = TypeAdapter(
    Annotated[
        Annotated[_None, Tag("of[none]")]
        | Annotated[_Classification, Tag("of[classification]")]
        | Annotated[_Multilabel, Tag("of[multilabel]")]
        | Annotated[_Regression, Tag("of[regression]")]
        | Annotated[_Unknown, Tag("of[unknown]")],
        Discriminator(_kind),
    ]
)


class _Export(_Facts):
    file: str = ""
    bytes: Count = 0
    agreement: float = 0.0
    accuracy_keras: float = 0.0
    accuracy_file: float = 0.0
    max_difference: float = 0.0


EXPORTS: TypeAdapter[Any] = TypeAdapter(dict[str, _Export])


class _Data(_Facts):
    digests: dict[str, str] = {}
    unknown: str | None = None


KEPT_OF_DATA: TypeAdapter[Any] = TypeAdapter(_Data)


Probability = Annotated[float, Field(ge=0, le=1)]


class _Threshold(_Facts):
    value: Probability
    precision: Probability


class _ClassThresholds(_Facts):
    strength: float
    added: list[float]


class _Calibration(_Facts):
    temperature: Annotated[float, Field(gt=0)] | None = None
    images: Count = 0
    class_thresholds: _ClassThresholds | None = None
    threshold: _Threshold | None = None


CALIBRATION: TypeAdapter[Any] = TypeAdapter(_Calibration)

_FROM_COPY = "put a copy of it back; without it the model has to be trained again"
WAYS_ON = {  # where a file cannot be read
    "recipe.toml": _FROM_COPY,
    "labels.txt": _FROM_COPY,
    "history.csv": "remove it; what is known of the epochs is lost then, and nothing else",
    "metrics.json": "remove it, and `zoo evaluate {run}` writes it anew",
    "export.json": "remove it; the next `zoo export {run}` writes it anew",
    "calibration.json": "remove it; the temperature in the model, and the threshold, are not known then",
    "data.json": "put a copy of it back; it says what the images were that the model was trained on",
}
