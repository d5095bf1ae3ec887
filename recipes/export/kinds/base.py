"""What a kind of export is: facts that are read without TensorFlow, a writer, and a runner."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from recipes.support.extras import require
from recipes.support.files import check_writable
from zoo.errors import RequestError, unknown

if TYPE_CHECKING:
    import numpy as np

    from recipes.export.source import ExportSource

OUTPUT_TYPES = ("uint8", "float32")


@dataclass(frozen=True)
class Budget:
    """How far a file may be from its model before it is refused.

    Attributes:
        agreement: least `Exported.agreement`.
        drop: largest loss of accuracy on the test images, as a fraction.
    """

    agreement: float = 0.0
    drop: float = 1.0

    def with_changes(self, changes: Mapping[str, float]) -> "Budget":
        """This budget with some of its limits replaced; raises a `RequestError` for what is not one of them."""
        values = asdict(self)
        for name, value in changes.items():
            if name not in values:
                raise unknown("budget", name, values)
            if not 0 <= value <= 1:
                raise RequestError(f"budget {name}={value} is not possible; allowed: a fraction, 0 to 1.")
            values[name] = value
        return Budget(**values)


# A float file computes the same function; a quantised one may decide differently where it was a near thing.
FLOAT_BUDGET = Budget(agreement=0.995)
QUANTISED_BUDGET = Budget(agreement=0.97, drop=0.01)


@dataclass(frozen=True)
class ExportOptions:
    """What may be chosen of a file.

    Attributes:
        output_type: of the scores of an int8 file: `uint8` or `float32`.
        dynamic_size: leaves height and width of a `.tflite` file open.
        author, license: written into a `.tflite` file.

    Raises:
        RequestError: an output type that does not exist.
    """

    output_type: str = "uint8"
    dynamic_size: bool = False
    author: str = ""
    license: str = ""

    def __post_init__(self) -> None:
        if self.output_type not in OUTPUT_TYPES:
            raise unknown("output type", self.output_type, OUTPUT_TYPES)


@dataclass(frozen=True)
class RunResult:
    """What came of running an exported file.

    Attributes:
        scores: (N, classes) float32, of the test images.
        operators: operations in the file and how often each is used; empty where the format does not tell.
        board: what was found of a file for microcontrollers, see `recipes.export.kinds.c_array.Board`.
    """

    scores: "np.ndarray"
    operators: dict[str, int] = field(default_factory=dict)
    board: dict[str, Any] | None = None


class ExportKind(ABC):
    """One format that a model is exported to. Methods import what they need when they are called.

    Attributes:
        name: what `zoo export --to` takes.
        summary: what the file is, in one line of Markdown.
        ending: of the file's name; empty for a folder.
        budget: how far the file may usually be from its model.
        runner: what runs the file to verify it, in words.
        extra, modules: the extra of this package that is needed, and the modules that it brings.
        dynamic_size: whether height and width can be left open.
        integers: whether it computes in int8, as a model of quantisation-aware training does.
        symmetric_to: how far apart scores may be that a symmetry of the model makes the same.
    """

    name: str
    summary: str
    ending: str
    budget: Budget
    runner: str
    extra: str = ""
    modules: tuple[str, ...] = ()
    dynamic_size: bool = False
    integers: bool = False
    symmetric_to: float = 1e-4

    @abstractmethod
    def write(self, source: "ExportSource", file: Path, options: ExportOptions) -> None:
        """Writes `file`, and others beside it; the folder holds nothing else.

        Raises:
            RequestError: the options are not possible with this model.
            FailureError: the model cannot be converted.
        """

    @abstractmethod
    def run(self, source: "ExportSource", file: Path, options: ExportOptions) -> RunResult:
        """Runs what `write` wrote on the test images, by the runtime that it is for.

        Raises:
            FailureError: it cannot be run.
        """

    def size(self, file: Path) -> int:
        """Bytes of what the model takes where it is used; of a folder, of all files in it."""
        files = [file] if file.is_file() else [inner for inner in file.rglob("*") if inner.is_file()]
        return sum(inner.stat().st_size for inner in files)

    def advice(self, source: "ExportSource", file: Path) -> str:
        """What to try when `file` is beyond its budget."""
        return "A float file should not differ: has the model random layers, or scores that are not numbers?"

    def check_installed(self) -> None:
        """Raises a `RequestError` that says what to install, unless it is."""
        require(f"--to {self.name}", self.extra, *self.modules)

    def check_model(self, source: "ExportSource") -> None:
        """Raises a `RequestError` for a model that cannot become a file of this kind."""
        from zoo.ranges import has_four_bits, is_quantized

        if not self.integers and is_quantized(source.model):
            four = ", whose weights have four bits" if has_four_bits(source.model) else ""
            raise RequestError(
                f"{source.name} was trained as its int8 file computes it{four}; allowed: --to int8 or c-array. "
                f"For --to {self.name}, export the run that it was made from."
            )

    def check_place(self, out: Path) -> None:
        """Raises a `RequestError` where no file of this kind can be written to `out`."""
        if self.ending and out.suffix != self.ending:
            raise RequestError(f"{out} does not end in {self.ending}.")
        if not out.parent.is_dir():
            raise RequestError(f"{out.parent} is not a folder; make it first.")
        check_writable(out, out.parent)
        self.check_replaceable(out)

    def check_replaceable(self, out: Path) -> None:
        """Raises a `RequestError` where `out` is something that must not be written over."""
        if out.is_dir():
            raise RequestError(f"{out} is a folder; choose a file.")
