"""What is tried where the converter's int8 file is beyond its budget: its worst layers stay in float32.

The converter measures ranges once; its rounding of the graph takes milliseconds then, and can leave layers out. Which
layers, validation images decide. What else was measured, and what of it helps, stands in docs/export.md.
"""

import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from recipes.data import Split
from recipes.data.dataset import at_once
from recipes.export.kinds.base import Budget
from recipes.export.kinds.tflite import calibrated
from recipes.export.parity import compare
from recipes.export.source import ExportSource
from recipes.support.quiet import native_output_hidden
from recipes.tflite.file import TFLiteFile
from recipes.tflite.graph import Operator, read_graph
from zoo.groups import copies_in
from zoo.keras_internals import round_calibrated

AIM = 0.5  # of what the budget allows to be lost, on validation images: they are few, and not the test images
_RANKED = 24  # training images that layers are ranked by
_JUDGED = 1000  # validation images at most
_TIMED = 60  # images
_SWITCH = 0.02  # of the file's bytes: what a layer costs that has no weights, since values must be made floats for it


@dataclass(frozen=True)
class Tried:
    """A file that was tried.

    Attributes:
        way: what it is, in words.
        floats: layers that stay in float32.
        bytes: of the graph, without what is attached to a file.
        agreement, accuracy_keras, accuracy_file: on validation images, as `recipes.export.parity.Exported` has them.
        mean_difference: of all scores.
        latency_ratio: to the converter's own file, in turn with it.
        spent: of what the budget allows to be lost; 1 is all of it.
        taken: whether it is the best.
    """

    way: str
    floats: tuple[str, ...]
    bytes: int
    agreement: float
    accuracy_keras: float
    accuracy_file: float
    mean_difference: float
    latency_ratio: float
    spent: float
    taken: bool = False

    def to_dict(self) -> dict[str, Any]:
        """As JSON types."""
        return asdict(self) | {"floats": list(self.floats)}


@dataclass(frozen=True)
class Repaired:
    """The best of what was tried: its graph, and all of the ways, the first of which is the converter's."""

    content: bytes
    best: Tried
    tried: tuple[Tried, ...]


def repair(source: ExportSource, budget: Budget, output_type: str) -> Repaired:
    """Leaves more and more layers of an int8 file in float32, most error for fewest bytes first.

    It ends where half of what the budget allows is lost at most, or where the file would be larger than a float16 one;
    then the one that loses least is the best. Test images are not looked at; the converter's file, which is known to be
    beyond the budget there, is the best only where there is no other.
    """
    graph = calibrated(source.float32_model, source.data.train)
    judged = _evenly(source.data.validation if len(source.data.validation) else source.data.train, _JUDGED)
    batches = judged.batches(at_once(copies_in(source.model)))
    expected = np.asarray(source.model.predict(batches, verbose=0), np.float32)

    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        files = _Files(graph, Path(folder))
        plain = files.written((), output_type)

        def tried(way: str, file: TFLiteFile, floats: Sequence[Operator]) -> Tried:
            found = compare(expected, file.predict(judged.images), judged.labels, source.class_names, source.task)
            kept = {key: found[key] for key in ("agreement", "accuracy_keras", "accuracy_file", "mean_difference")}
            layers = tuple(dict.fromkeys(operator.layer for operator in floats))
            ratio = _latency_ratio(file, plain, judged.images[:_TIMED]) if floats else 1.0
            return Tried(way, layers, len(file.content), latency_ratio=ratio, spent=_spent(budget, found), **kept)

        rows = [tried("the converter's", plain, ())]
        contents = [plain.content]
        ranked = files.worst_first(np.asarray(_evenly(source.data.train, _RANKED).images))
        for count in _counts(len(ranked)):
            if len(rows) > 1 and rows[-1].spent <= AIM:
                break
            file = files.written(ranked[:count], output_type)
            if len(file.content) > len(graph) // 2:
                break
            rows.append(tried(f"in float32: {count}", file, ranked[:count]))
            contents.append(file.content)
    best = min(range(1, len(rows)), key=lambda number: rows[number].spent, default=0)
    rows[best] = replace(rows[best], taken=True)
    return Repaired(contents[best], rows[best], tuple(rows))


def _evenly(split: Split, most: int) -> Split:
    rows = np.linspace(0, len(split) - 1, min(most, len(split))).round().astype(int)
    return Split(split.images[rows], split.labels[rows])


@dataclass(frozen=True)
class _Files:
    """Int8 files of one graph with ranges.

    Attributes:
        graph: as `calibrated` gives it.
        folder: where files are written to be run.
    """

    graph: bytes
    folder: Path

    def written(self, floats: Sequence[Operator], output_type: str) -> TFLiteFile:
        """The file in which some operations stay in float32."""
        names = _names(self.graph)
        with native_output_hidden():
            content = round_calibrated(self.graph, [names[operator.outputs[0]] for operator in floats], output_type)
        return self._opened(content)

    def worst_first(self, images: np.ndarray) -> list[Operator]:
        """Operations, those first that err most by themselves for the bytes that float32 takes more of.

        An operation's error is that of the scores where it alone is computed in integers; what the best of all errs by
        comes from the pixels and the scores, and is no operation's own.
        """
        graph = read_graph(self.graph)
        exact = self._opened(self.graph).predict(images)
        switch = _SWITCH * len(self.graph) / 4
        errors, costs = [], []
        for operator in graph.operators:
            others = [other for other in graph.operators if other is not operator]
            errors.append(np.sqrt(np.square(self.written(others, "float32").predict(images) - exact).mean()))
            weights = sum(graph.tensors[number].bytes for number in operator.inputs if number >= 0)
            costs.append(switch + weights * 3 / 4)
        gains = (np.array(errors) - min(errors)) / costs
        return [graph.operators[number] for number in np.argsort(-gains, kind="stable")]

    def _opened(self, content: bytes) -> TFLiteFile:
        file = self.folder / "tried.tflite"
        file.write_bytes(content)
        return TFLiteFile(file)


def _names(graph: bytes) -> list[str]:
    return [tensor.name for tensor in read_graph(graph).tensors]


def _counts(most: int) -> Iterator[int]:
    """1, 2, 3, 4, 5, 6, 8, 10, ...: each a third more."""
    count = 1
    while count <= most:
        yield count
        count += max(1, count // 3)


def _spent(budget: Budget, found: dict[str, Any]) -> float:
    """Which part of what a budget allows is lost; infinite where scores are not numbers."""
    if not np.isfinite(found["mean_difference"]):
        return float("inf")
    drop = found["accuracy_keras"] - found["accuracy_file"]
    losses = ((1 - found["agreement"], 1 - budget.agreement), (drop, budget.drop))
    return float(max(0.0 if lost <= 0 else lost / allowed if allowed else float("inf") for lost, allowed in losses))


def _latency_ratio(file: TFLiteFile, plain: TFLiteFile, images: np.ndarray) -> float:
    """Medians of single runs, in turn."""
    times: dict[int, list[float]] = {0: [], 1: []}
    for image in images:
        for number, one in enumerate((plain, file)):
            one.set_input(image)
            times[number].append(_seconds(one.invoke))
    return float(np.median(times[1]) / np.median(times[0]))


def _seconds(run: Callable[[], None]) -> float:
    start = time.perf_counter()
    run()
    return time.perf_counter() - start
