"""What is tried where the converter's int8 file is beyond its budget: other biases, and the worst layers in float32.

The converter measures ranges once; its rounding of the graph takes milliseconds then, and can leave layers out. Which
layers, validation images decide. What else was measured, and what of it helps, stands in docs/export.md.
"""

import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from recipes.data import Split
from recipes.data.dataset import at_once
from recipes.export.biases import corrected
from recipes.export.kinds.base import Budget
from recipes.export.kinds.tflite import calibrated
from recipes.export.parity import compare
from recipes.export.source import ExportSource
from recipes.support.quiet import native_output_hidden
from recipes.support.rows import evenly_spaced
from recipes.tflite.file import TFLiteFile
from recipes.tflite.graph import Operator, read_graph
from zoo.groups import copies_in
from zoo.keras_internals import round_calibrated

AIM = 0.5  # of what the budget allows to be lost, on validation images: they are few, and not the test images
_SHOWN = 32  # training images that layers are ranked by, and biases corrected
_HELPS = 0.8  # of the difference of scores is left at most, or biases are not corrected again: it takes its time
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
    """Corrects the biases of an int8 file, or leaves layers in float32, most error for fewest bytes first.

    Where corrected biases bring the scores closer, they are corrected for each choice of layers. It ends where half of
    what the budget allows is lost at most, or where the file would be larger than a float16 one. Test images are not
    looked at; the converter's file, which is known to be beyond the budget there, is never the best.
    """
    graph = calibrated(source.float32_model, source.data.train)
    judged = _evenly(source.data.validation if len(source.data.validation) else source.data.train, _JUDGED)
    batches = judged.batches(at_once(copies_in(source.model)))
    expected = np.asarray(source.model.predict(batches, verbose=0), np.float32)

    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        files = _Files(graph, Path(folder), output_type)
        plain = files.written()
        made: list[tuple[Tried, bytes]] = []

        def take(way: str, file: TFLiteFile, floats: Sequence[Operator] = ()) -> bool:
            """Judges a file; whether it is good enough."""
            found = compare(expected, file.predict(judged.images), judged.labels, source.class_names, source.task)
            kept = {key: found[key] for key in ("agreement", "accuracy_keras", "accuracy_file", "mean_difference")}
            layers = tuple(dict.fromkeys(operator.layer for operator in floats))
            ratio = _latency_ratio(file, plain, judged.images[:_TIMED]) if floats else 1.0
            spent = _spent(budget, found, len(judged))
            row = Tried(way, layers, len(file.content), latency_ratio=ratio, spent=spent, **kept)
            made.append((row, file.content))
            return spent <= AIM

        def climb() -> None:
            """Makes files until one is good enough."""
            take("the converter's", plain)
            shown = np.asarray(_evenly(source.data.train, _SHOWN).images)
            if take("biases corrected", files.corrected(plain, shown)):
                return
            before, after = (row.mean_difference for row, _ in made)
            ranked, helps = files.worst_first(shown), after < _HELPS * before
            for count in _counts(len(ranked)):
                file = files.written(ranked[:count])
                if len(file.content) > len(graph) // 2:
                    return
                way = f"in float32: {count}"
                if helps:
                    file, way = files.corrected(file, shown), f"{way}, biases corrected"
                if take(way, file, ranked[:count]):
                    return

        climb()
    rows, contents = [row for row, _ in made], [content for _, content in made]
    best = min(range(1, len(rows)), key=lambda number: _rank(rows[number]))
    rows[best] = replace(rows[best], taken=True)
    return Repaired(contents[best], rows[best], tuple(rows))


def _rank(row: Tried) -> tuple[bool, bool, float]:
    """Lower is better. Of files that spend much the same, few images cannot tell the better, but all scores can."""
    return row.spent > AIM, row.spent > 1, row.mean_difference


def _evenly(split: Split, most: int) -> Split:
    rows = evenly_spaced(len(split), most)
    return Split(split.images[rows], split.labels[rows])


@dataclass(frozen=True)
class _Files:
    """Int8 files of one graph with ranges.

    Attributes:
        graph: as `calibrated` gives it.
        folder: where files are written to be run.
        output_type: of the scores.
    """

    graph: bytes
    folder: Path
    output_type: str

    def written(self, floats: Sequence[Operator] = (), output_type: str = "") -> TFLiteFile:
        """The file in which some operations stay in float32."""
        names = _names(self.graph)
        outputs = [names[operator.outputs[0]] for operator in floats]
        with native_output_hidden():
            content = round_calibrated(self.graph, outputs, output_type or self.output_type)
        return self._opened(content)

    def corrected(self, file: TFLiteFile, images: np.ndarray) -> TFLiteFile:
        """The file with other biases, see `recipes.export.biases`."""
        opened = partial(self._opened, keep_all=True)
        return self._opened(corrected(file, opened(self.graph), opened, images))

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
            scores = self.written(others, "float32").predict(images)
            errors.append(np.sqrt(np.square(scores - exact).mean()))
            weights = sum(graph.tensors[number].bytes for number in operator.inputs if number >= 0)
            costs.append(switch + weights * 3 / 4)
        gains = (np.array(errors) - min(errors)) / costs
        return [graph.operators[number] for number in np.argsort(-gains, kind="stable")]

    def _opened(self, content: bytes, *, keep_all: bool = False) -> TFLiteFile:
        file = self.folder / "tried.tflite"
        file.write_bytes(content)
        return TFLiteFile(file, keep_all=keep_all)


def _names(graph: bytes) -> list[str]:
    return [tensor.name for tensor in read_graph(graph).tensors]


def _counts(most: int) -> Iterator[int]:
    """1, 2, 3, 4, 5, 6, 8, 10, ...: each a third more."""
    count = 1
    while count <= most:
        yield count
        count += max(1, count // 3)


def _spent(budget: Budget, found: dict[str, Any], images: int) -> float:
    """Which part of what a budget allows is lost; infinite where scores are not numbers.

    One image more or less that is right tells nothing: of few, it is good enough still.
    """
    if not np.isfinite(found["mean_difference"]):
        return float("inf")
    drop = found["accuracy_keras"] - found["accuracy_file"]
    losses = ((1 - found["agreement"], 1 - budget.agreement), (drop, max(budget.drop, 1 / (AIM * images))))
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
