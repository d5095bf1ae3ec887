"""From a run to a file in another format that is proven to behave like the model it came from."""

import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from recipes.export.conversion import TFLITE, convert, require_onnx
from recipes.export.kinds import ENDINGS, Wishes, write
from recipes.export.parity import BUDGETS, Budget, Exported, compare, is_within, layer_errors, refusal, refuse_chance
from recipes.export.source import Subject, is_keras_file, open_subject
from recipes.run.folder import Run
from recipes.support.files import check_writable
from zoo.errors import FailureError, RequestError, unknown

__all__ = ["BUDGETS", "Budget", "Exported", "convert", "export", "export_all"]

OUTPUT_TYPES = ("uint8", "float32")
_LOOKED_AT = 8  # test images that errors are traced through the layers with


def export(
    source: str | Path | Run,
    *,
    to: str = "int8",
    out: str | Path | None = None,
    budget: Mapping[str, float] | None = None,
    data: str | None = None,
    output_type: str = "uint8",
    dynamic_size: bool = False,
    force: bool = False,
    author: str = "",
    license: str = "",
) -> Exported:
    """Exports a model, runs the file on the test images, and hands it over if it agrees.

    A `.tflite` file holds builtin operations only, takes one image (1, H, W, C) of pixels 0-255 (uint8 for `int8`,
    else float32), and carries its labels and TFLite's metadata; what it says of itself is also beside it as JSON. For
    `int8` and `int16x8`, ranges come from 200 training images. A run keeps the figures in its `export.json`.

    Args:
        source: a run, its folder, or a `.keras` file.
        to: a key of `BUDGETS`: `float32`, `float16` (weights), `dynamic` (int8 weights), `int8` (all of it; uint8 in
            and out), `int16x8` (int8 weights, int16 values), `saved-model`, `onnx`, `c-array` (int8, for TFLite Micro).
        out: the file to write; `MODEL-TO.tflite` in the run's folder, or beside the `.keras` file, if None.
        budget: replaces parts of `BUDGETS[to]`.
        data: for a `.keras` file: where the images come from, see `recipes.data.load`.
        output_type: of the scores of `int8` and `c-array`: `uint8` or `float32`.
        dynamic_size: leaves height and width of a `.tflite` file open; the app must set them.
        force: exports a model at chance accuracy, too.
        author, license: written into the file.

    Raises:
        RequestError: an unknown kind or choice, or a source that cannot be read.
        FailureError: the file is beyond the budget or needs other operations; nothing is left at `out`.
    """
    wishes = Wishes(output_type, dynamic_size, author, license)
    limits = _check(to, budget or {}, wishes)
    out = Path(out) if out else _usual_file(source, to)
    _check_out(out, to)
    _check_kept(source)
    subject = _open(source, data, force)
    result = _prove_and_hand_over(subject, to, out, limits, wishes)
    _keep(source, [result])
    return result


def export_all(
    source: str | Path | Run, *, data: str | None = None, force: bool = False, author: str = "", license: str = ""
) -> tuple[list[Exported], dict[str, str]]:
    """Exports to every precision of TFLite at its usual budget, into the usual files.

    Returns:
        What passed, and for each kind that did not, why.

    Raises:
        RequestError, FailureError: as `export`, for what concerns all kinds.
    """
    for to in TFLITE:
        _check_out(_usual_file(source, to), to)
    _check_kept(source)
    subject, wishes = _open(source, data, force), Wishes(author=author, license=license)
    passed, failed = [], {}
    for to in TFLITE:
        try:
            passed.append(_prove_and_hand_over(subject, to, _usual_file(source, to), BUDGETS[to], wishes))
        except FailureError as error:
            failed[to] = str(error)
    _keep(source, passed)
    return passed, failed


def _check(to: str, changes: Mapping[str, float], wishes: Wishes) -> Budget:
    """The budget; what else was asked for is checked before any work."""
    if to not in BUDGETS:
        raise unknown("kind of export", to, BUDGETS)
    if wishes.output_type not in OUTPUT_TYPES:
        raise unknown("output type", wishes.output_type, OUTPUT_TYPES)
    if wishes.dynamic_size and to not in TFLITE:
        raise RequestError(f"--dynamic-size is not possible with {to}; allowed: {', '.join(TFLITE)}.")
    if to == "onnx":
        require_onnx()
    return BUDGETS[to].with_changes(changes)


def _usual_file(source: str | Path | Run, to: str) -> Path:
    if is_keras_file(source):
        return Path(source).with_name(f"{Path(source).stem}-{to}{ENDINGS[to]}")
    run = Run.open(source)
    return run.path / f"{run.recipe.model.name}-{to}{ENDINGS[to]}"


def _check_out(out: Path, to: str) -> None:
    if ENDINGS[to] and out.suffix != ENDINGS[to]:
        raise RequestError(f"{out} does not end in {ENDINGS[to]}.")
    if not out.parent.is_dir():
        raise RequestError(f"{out.parent} is not a folder; make it first.")
    check_writable(out, out.parent)
    if to != "saved-model" and out.is_dir():
        raise RequestError(f"{out} is a folder; choose a file.")
    if to == "saved-model" and out.exists() and not (out / "saved_model.pb").is_file():
        raise RequestError(f"{out} holds something that is not a SavedModel; choose another folder.")


def _check_kept(source: str | Path | Run) -> None:
    """A run must take the figures: without them nobody knows later what the file was worth."""
    if not is_keras_file(source):
        run = Run.open(source)
        check_writable(run.path / "export.json", run.path)


def _open(source: str | Path | Run, data: str | None, force: bool) -> Subject:
    subject = open_subject(source, data)
    if not force:
        refuse_chance(subject.expected, subject.data.test.labels, subject.task)
    return subject


def _prove_and_hand_over(subject: Subject, to: str, out: Path, limits: Budget, wishes: Wishes) -> Exported:
    """Writes aside, proves what was written, and puts it in place; otherwise nothing is left there."""
    with _aside(out) as folder:
        file = folder / out.name
        try:
            written = write(subject, to, file, wishes)
            labels = subject.data.test.labels
            figures = compare(subject.expected, written.scores, labels, subject.class_names, subject.task)
            result = Exported(kind=to, file=str(out), bytes=_size(file), operators=written.operators, **figures)
            if not is_within(limits, result):
                raise refusal(limits, result, _advice(subject, to, file))
        except FailureError:
            for name in {out.name, *(made.name for made in folder.iterdir())}:
                _remove(out.with_name(name))  # an older file under this name must not pass for this one
            raise
        for made in sorted(folder.iterdir(), key=lambda made: made == file):  # the file that was asked for comes last
            _put(made, out.with_name(made.name))
    return result


@contextmanager
def _aside(out: Path) -> Iterator[Path]:
    """An empty folder on the disk of `out`; what goes wrong with the disk inside is said of `out`."""
    try:
        with tempfile.TemporaryDirectory(prefix=f".{out.name}-", dir=out.parent) as folder:
            yield Path(folder)
    except OSError as error:
        raise FailureError(f"{out} cannot be written: {error.strerror or error}.") from error


def _put(made: Path, place: Path) -> None:
    if made.is_dir():
        _remove(place)  # no system replaces a folder that is not empty
    else:
        with open(made, "rb+") as file:
            os.fsync(file.fileno())
    os.replace(made, place)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _size(file: Path) -> int:
    files = [file] if file.is_file() else [inner for inner in file.rglob("*") if inner.is_file()]
    return sum(inner.stat().st_size for inner in files)


def _advice(subject: Subject, to: str, file: Path) -> str:
    """What to try for a file that is beyond its budget, and where in the network it went wrong."""
    if to not in ("dynamic", "int8", "int16x8", "c-array"):
        return "A float file should not differ: has the model random layers, or scores that are not numbers?"
    tried = {"int8": "int16x8 or dynamic", "c-array": "int16x8", "dynamic": "float16", "int16x8": "float16"}[to]
    with tempfile.TemporaryDirectory() as folder:
        twin = Path(folder, "float32.tflite")
        twin.write_bytes(convert(subject.network, "float32", subject.data.train))
        errors = layer_errors(file.with_suffix(".tflite"), twin, subject.data.test.images[:_LOOKED_AT])
    worst = ", ".join(f"{layer} (+{error:.1%})" for layer, error in errors[:3] if error > 0)
    where = f"Most of the error comes in at {worst}. " if worst else ""
    return f"{where}Try --to {tried}, or train with more weight decay or augmentation; --budget drop=X lets it pass."


def _keep(source: str | Path | Run, results: Sequence[Exported]) -> None:
    """Writes the figures into the run's `export.json`: a row a kind, each from its last export."""
    if is_keras_file(source):
        return
    Run.open(source).write_exports({result.kind: result.to_dict() for result in results})
