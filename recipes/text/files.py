"""Exported files as text."""

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from recipes.support.tables import lines, some_of, table
from recipes.tasks import TASKS
from recipes.tasks.confusion import LARGEST_WRITTEN
from recipes.tasks.words import unchanged

if TYPE_CHECKING:
    from recipes.demo import Demo
    from recipes.export.layers import LayerError
    from recipes.export.parity import Exported
    from recipes.predict import Prediction
    from recipes.tflite.inspection import Inspected
    from recipes.tflite.latency import Timing
    from recipes.tflite.memory import Memory

_BAR = 40  # characters of the longest bar
_NAMED = ("name", "description", "version", "author", "license")  # of a .tflite file's metadata


def exported(result: "Exported") -> str:
    words = TASKS[result.task].parity
    changes = _class_changes(result)
    operators = ", ".join(f"{count} {name}" for name, count in result.operators.items())
    rows = [
        ("file", result.file),
        ("size", f"{result.bytes:,} bytes{' of flash' if result.board else ''}"),
        (words.heading, f"{result.accuracy_file:.2%} (Keras model {result.accuracy_keras:.2%})"),
        (words.same, f"{result.agreement:.2%} {words.of.format(result.images)}"),
        ("difference", f"at most {result.max_difference:.2g} of a score, {result.mean_difference:.2g} in the mean"),
        *([("by class", f"{', '.join(changes[:8])} points" if changes else "no change")] if result.per_class else []),
        *([("symmetry", f"{result.symmetry['group']}. {unchanged(result.symmetry)}")] if result.symmetry else []),
        *(_board(result.board) if result.board else []),
        *([("operators", operators)] if operators else []),
    ]
    return "\n\n".join([table(["", ""], rows), *([tried(result.tried)] if result.tried else [])])


def tried(ways: Sequence[Mapping[str, Any]]) -> str:
    """What was tried for an int8 file, and which layers are floats in the one that was taken."""
    header = ["tried, on validation images", "agreement", "accuracy", "Keras", "bytes", "latency"]
    rows = [
        (
            way["way"],
            f"{way['agreement']:.2%}",
            f"{way['accuracy_file']:.2%}",
            f"{way['accuracy_keras']:.2%}",
            f"{way['bytes']:,}",
            f"{way['latency_ratio']:.2f}",
        )
        for way in ways
    ]
    best = next(way for way in ways if way["taken"])
    floats = [", ".join(best["floats"])] if best["floats"] else []
    return "\n\n".join([table(header, rows, range(1, 6)), lines(": ".join([f"best, {best['way']}", *floats]))])


def demo(written: "Demo") -> str:
    where = f"loaded from {written.origin}" if written.origin else "in the folder"
    rows = [
        ("page", f"{written.out}/index.html, for any web server; {written.bytes:,} bytes with all that it needs"),
        ("file", written.file),
        ("verifies", f"itself when it is loaded, on {written.images:,} images with LiteRT's scores"),
        ("runtime", f"LiteRT.js {written.runtime}, {where}"),
    ]
    return table(["", ""], rows)


def _board(board: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What `recipes.export.kinds.c_array.Board` has."""
    if not board["measured"]:
        arena = f"{board['arena_bytes']:,} bytes, an estimate; {board['values_bytes']:,} of it are values"
        return [("arena", arena), ("TFLite Micro", "not run: pip install 'convzoo[micro]'")]
    parts = f"{board['values_bytes']:,} of values, {board['records_bytes']:,} of records"
    others = board["images"] - board["equal"]
    same = f"scores equal to LiteRT's to the last bit for {board['equal']:,} of {board['images']:,} images"
    if others:
        most = f"at most {board['max_difference']:.2g} apart"
        if board["step"]:
            steps = round(board["max_difference"] / board["step"])
            most += f" ({steps} {'step' if steps == 1 else 'steps'} of {board['step']:.2g})"
        reference = "all" if board["equal_reference"] == others else f"{board['equal_reference']:,}"
        same += f", the others {most}, {reference} of them equal to LiteRT's reference kernels"
    return [("arena", f"{board['arena_bytes']:,} bytes, measured: {parts}"), ("TFLite Micro", same)]


def _class_changes(result: "Exported") -> list[str]:
    """Classes whose accuracy in the file is not the model's and by how many points, the worst first."""
    points = {name: 100 * (accuracy["file"] - accuracy["keras"]) for name, accuracy in result.per_class.items()}
    return [f"{name} {change:+.1f}" for name, change in sorted(points.items(), key=lambda item: item[1]) if change]


def all_exported(passed: Sequence["Exported"], failed: Mapping[str, str]) -> str:
    header = ["kind", "bytes", "agreement", "accuracy", "Keras", "by class, worst", "largest", "mean", "file"]
    rows = [
        (
            r.kind,
            f"{r.bytes:,}",
            f"{r.agreement:.2%}",
            f"{r.accuracy_file:.2%}",
            f"{r.accuracy_keras:.2%}",
            next(iter(_class_changes(r)), "no change"),
            f"{r.max_difference:.1e}",
            f"{r.mean_difference:.1e}",
            r.file,
        )
        for r in passed
    ]
    return "\n".join([table(header, rows, range(1, 8)), *(lines(f"{kind}: {why}") for kind, why in failed.items())])


def inspected(result: "Inspected") -> str:
    def tensor(facts: Mapping[str, Any]) -> str:
        shape = "x".join("any" if n == -1 else str(n) for n in facts["shape"])
        scaled = "" if facts["scale"] is None else f", scale {facts['scale']:.6g}, zero point {facts['zero_point']}"
        return f"{facts['dtype']} {shape}{scaled}"

    weights, named = result.quantised_weights, {key: result.metadata.get(key) for key in _NAMED}
    rows = [
        ("file", f"{result.file}, {result.bytes:,} bytes"),
        *((key, str(value)) for key, value in named.items() if value),
        *(("input", tensor(facts)) for facts in result.inputs),
        *(("output", tensor(facts)) for facts in result.outputs),
        ("labels", _labels(result.labels)),
        ("resize", str(result.facts.get("resize", "unknown"))),
        ("quantised", f"{weights['tensors']} constants, {weights['per_channel']} of them per channel"),
        ("MACs", f"{result.macs:,}"),
        ("arena", f"{result.arena_bytes:,} bytes at least"),
        ("operators", ", ".join(f"{count} {name}" for name, count in result.operators.items())),
    ]
    layers = [(name, f"{size:,}") for name, size in result.layers.items()]
    parts = [table(["", ""], rows), table(["layer", "bytes"], layers, right=[1])]
    return "\n\n".join([*parts, *([_memory(result.memory, result.obstacle)] if result.memory else [])])


def layer_errors(errors: Sequence["LayerError"]) -> str:
    """A line an operation; the bar is what it adds."""
    most = max((error.added for error in errors), default=0) or 1
    rows = [
        (
            error.kind,
            error.layer,
            f"{error.low:.4g} to {error.high:.4g}",
            error.dtype if error.step is None else f"{error.dtype}, steps of {error.step:.2g}",
            f"{error.error:.2%}",
            f"{error.added:+.2%}",
            "#" * round(_BAR * max(error.added, 0) / most),
        )
        for error in errors
    ]
    header = ["operation", "layer", "in float32", "in the file", "error", "added", ""]
    return table(header, rows, right=[4, 5])


def _memory(memory: "Memory", obstacle: str) -> str:
    """A bar a step, and what is there at the busiest."""
    busiest = memory.steps[memory.busiest]
    steps = [
        (
            step.kind,
            step.layer,
            f"{step.bytes:,}",
            "#" * -(-_BAR * step.bytes // max(busiest.bytes, 1)) + (" busiest" if step is busiest else ""),
        )
        for step in memory.steps
    ]
    there = [
        (
            place.layer if place.name else f"{place.layer} (scratch)",
            "x".join(map(str, place.shape)),
            place.dtype,
            f"{place.bytes:,}",
            f"{place.offset:,}",
        )
        for place in memory.at(memory.busiest)
    ]
    return (
        f"{table(['operation', 'layer', 'bytes', 'what must be there while it runs'], steps, right=[2])}\n\n"
        f"{table([f'at {busiest.kind}', 'shape', 'type', 'bytes', 'from byte'], there, right=[3, 4])}\n\n"
        f"{memory.bytes:,} bytes hold all values, as TensorFlow Lite Micro plans them; its records come on top."
        + (f"\nTensorFlow Lite Micro cannot run this file: {obstacle}." if obstacle else "")
    )


def _labels(names: Sequence[str]) -> str:
    many = f"{len(names):,}: " if len(names) > LARGEST_WRITTEN else ""
    return many + some_of(names, LARGEST_WRITTEN) or "none"


def timings(results: Sequence["Timing"]) -> str:
    rows = [
        (
            r.file,
            str(r.threads) if r.threads else r.kind,
            *(f"{ms:.3f}" for ms in (r.median_ms, r.p90_ms, r.p95_ms, r.p99_ms)),
            f"{r.ratio:.2f}",
            "" if r.cold_ms is None else f"{r.cold_ms:.1f}",
            "" if r.memory_bytes is None else f"{r.memory_bytes:,}",
            f"{r.bytes:,}",
            f"{r.arena_bytes:,}" if r.arena_bytes else "",
        )
        for r in results
    ]
    header = [
        "file",
        "threads",
        "median ms",
        "p90 ms",
        "p95 ms",
        "p99 ms",
        "ratio",
        "cold ms",
        "memory",
        "bytes",
        "arena",
    ]
    ran = dict.fromkeys(f"{r.file}: {_who_ran(r)}" for r in results if r.kind == "tflite")
    return "\n\n".join([table(header, rows, range(1, len(header))), lines(*ran)])


def _who_ran(timing: "Timing") -> str:
    """Which operations ran where."""
    if timing.delegated is None or timing.kernels is None:
        return "this version of LiteRT does not tell which operations XNNPACK ran"
    if not timing.xnnpack:
        return f"all operations ran in LiteRT's own kernels, without XNNPACK: {_counted(timing.kernels)}"
    if not timing.delegated:
        return f"XNNPACK ran no operation, LiteRT's own kernels all: {_counted(timing.kernels)}"
    left = f"LiteRT's own kernels {_counted(timing.kernels)}" if timing.kernels else "nothing was left for LiteRT's own"
    return f"XNNPACK ran {_counted(timing.delegated)}; {left}"


def _counted(operations: Mapping[str, int]) -> str:
    return ", ".join(f"{count} {name}" for name, count in operations.items())


def predictions(results: Iterable["Prediction"]) -> str:
    return table(["image", "predictions"], [(p.image, _guesses(p)) for p in results])


def _guesses(p: "Prediction") -> str:
    listed = "  ".join(f"{name} {score:.1%}" if p.shares else f"{name} {score:.4g}" for name, score in p.guesses)
    return listed if p.sure else f"not sure ({listed})"
