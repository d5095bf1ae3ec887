"""From a run to a file in another format that is verified to behave like the model it came from."""

import os
import re
import secrets
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path

from filelock import FileLock, Timeout

from recipes.evaluate.symmetry import measure_symmetry, refuse_broken, symmetry_of_model
from recipes.export.kinds import Budget, ExportKind, ExportOptions, check_options, find_kind
from recipes.export.kinds.tflite import PRECISIONS
from recipes.export.parity import Exported, compare, is_within, refusal, refuse_chance
from recipes.export.source import ExportSource, open_export_source
from recipes.run.folder import Run
from zoo.backend import as_keras_ships
from zoo.errors import FailureError, RequestError
from zoo.groups import symmetry_of

_MODEL_IMAGES = 20  # that the model itself is looked at with

_ASIDE = re.compile(r"\.export-[0-9a-f]{16}")  # the folder of an export that goes on, or was killed


@dataclass(frozen=True)
class _Plan:
    """One export, with everything resolved and checked that can be without the model."""

    source: ExportSource
    kind: ExportKind
    out: Path
    budget: Budget
    options: ExportOptions


@as_keras_ships
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
    repair: bool = True,
    author: str = "",
    license: str = "",
) -> Exported:
    """Exports a model, runs the file on the test images, and hands it over if it agrees.

    A `.tflite` file holds builtin operations only, takes one image (1, H, W, C) of pixels 0-255 (uint8 for `int8`,
    else float32), and carries its labels and TFLite's metadata; what it says of itself is also beside it as JSON. For
    `int8` and `int16x8`, ranges come from 200 training images. A run keeps what was measured in its `export.json`.

    Args:
        source: a run, its folder, or a `.keras` file.
        to: a name in `recipes.export.kinds.KINDS`: `float32`, `float16` (weights), `dynamic` (int8 weights), `int8`
            (all of it; uint8 in and out), `int16x8` (int8 weights, int16 values), `saved-model`, `onnx`, `c-array`
            (int8, for TFLite Micro).
        out: the file to write; `MODEL-TO.tflite` in the run's folder, or beside the `.keras` file, if None.
        budget: replaces parts of the kind's own.
        data: for a `.keras` file where the images come from, see `recipes.data.load`; for a run where its own are now,
            if they were moved.
        output_type: of the scores of `int8` and `c-array`: `uint8` or `float32`.
        dynamic_size: leaves height and width of a `.tflite` file open; the app must set them.
        force: exports a model at chance accuracy, too.
        repair: where the int8 file of the converter is beyond its budget, its biases are corrected, or its worst layers
            stay in float32, as few as bring it back, see `recipes.export.repair`.
        author, license: written into the file.

    Raises:
        RequestError: an unknown kind or choice, or a source that cannot be read.
        FailureError: the file is beyond the budget or needs other operations; nothing is left at `out`.
    """
    kind = find_kind(to)
    options = ExportOptions(output_type, dynamic_size, author, license)
    check_options(kind, options)
    limits = kind.budget.with_changes(budget or {})
    opened = open_export_source(source, data)
    plan = _plan(opened, kind, out, limits, options)
    _check_source(opened, force)
    kind.check_model(opened)
    result = _export_verified(plan, repair=repair)
    opened.keep({result.kind: result.to_dict()})
    return result


@as_keras_ships
def export_all(
    source: str | Path | Run,
    *,
    data: str | None = None,
    force: bool = False,
    repair: bool = True,
    author: str = "",
    license: str = "",
) -> tuple[list[Exported], dict[str, str]]:
    """Exports to every precision of TFLite at its usual budget, into the usual files.

    Returns:
        What passed, and for each kind that did not, why.

    Raises:
        RequestError, FailureError: as `export`, for what concerns all kinds.
    """
    options = ExportOptions(author=author, license=license)
    opened = open_export_source(source, data)
    plans = [_plan(opened, kind, None, kind.budget, options) for kind in PRECISIONS]
    _check_source(opened, force)
    passed: list[Exported] = []
    failed: dict[str, str] = {}
    for plan in plans:
        try:
            plan.kind.check_model(opened)
            passed.append(_export_verified(plan, repair=repair))
        except (RequestError, FailureError) as error:
            failed[plan.kind.name] = str(error)
    opened.keep({result.kind: result.to_dict() for result in passed})
    return passed, failed


def _plan(
    source: ExportSource, kind: ExportKind, out: str | Path | None, budget: Budget, options: ExportOptions
) -> _Plan:
    """Where the file goes is checked here."""
    place = Path(out) if out else source.usual_file(kind.name, kind.ending)
    kind.check_place(place)
    return _Plan(source, kind, place, budget, options)


def _check_source(source: ExportSource, force: bool) -> None:
    """Loads the model; refuses one that knows nothing, and a run that cannot keep what the export comes to."""
    source.check_keeps()
    source.check_model()
    symmetry_of_model(source.model, source.data.test.images, most=_MODEL_IMAGES)  # of the model, before it is converted
    if not force:
        refuse_chance(source.expected, source.data.test.labels, source.task)


def _export_verified(plan: _Plan, *, repair: bool) -> Exported:
    """Writes aside, verifies what was written, and puts it in place; otherwise nothing is left there."""
    source, kind, out = plan.source, plan.kind, plan.out
    with _aside(out) as folder:
        file = folder / out.name
        try:
            kind.write(source, file, plan.options)
            result = _measure(plan, file)
            if repair and not is_within(plan.budget, result) and _can_be_repaired(plan):
                result = _repaired(plan, file, result)
            result = _verify(plan, file, result)
        except FailureError:
            for name in {out.name, *(made.name for made in folder.iterdir())}:
                with suppress(OSError):  # which would hide what went wrong
                    _remove(out.with_name(name))  # an older file under this name must not pass for this one
            raise
        for made in sorted(folder.iterdir(), key=lambda made: made == file):  # the file that was asked for comes last
            _put(made, out.with_name(made.name))
    return result


def _measure(plan: _Plan, file: Path) -> Exported:
    """Runs a written file on the test images."""
    source, kind = plan.source, plan.kind
    ran = kind.run(source, file, plan.options)
    metrics = compare(source.expected, ran.scores, source.data.test.labels, source.class_names, source.task)
    found = {"operators": ran.operators, "board": ran.board, **metrics}
    return Exported(kind=kind.name, file=str(plan.out), bytes=kind.size(file), **found)


def _can_be_repaired(plan: _Plan) -> bool:
    """Not a model that computes as its file does already, nor one whose symmetry integers keep to the last bit."""
    from zoo.ranges import is_quantized

    model, given = plan.source.model, plan.kind.integers and not plan.options.dynamic_size
    return given and not is_quantized(model) and not symmetry_of(model)


def _repaired(plan: _Plan, file: Path, plain: Exported) -> Exported:
    """Writes the best of what `recipes.export.repair` tries, and tests it on the test images."""
    from recipes.export.repair import repair

    done = repair(plan.source, plan.budget, plan.options.output_type)
    result = plain
    if done.best is not done.tried[0]:
        plan.kind.write(plan.source.with_integers(done.content, done.best.floats), file, plan.options)
        result = _measure(plan, file)
    return replace(result, tried=tuple(one.to_dict() for one in done.tried))


def _verify(plan: _Plan, file: Path, result: Exported) -> Exported:
    """Raises a `FailureError` where a file is beyond its budget, or has not the symmetry of its model."""
    source, kind = plan.source, plan.kind
    if not is_within(plan.budget, result):
        raise refusal(plan.budget, result, kind.advice(source, file))
    if group := symmetry_of(source.model):
        symmetry = measure_symmetry(
            lambda images: kind.run(source.with_test_images(images), file, plan.options).scores,
            source.data.test.images,
            group,
        )
        refuse_broken(symmetry, str(plan.out), kind.symmetric_to)
        result = replace(result, symmetry=symmetry.to_dict())
    return result


@contextmanager
def _aside(out: Path) -> Iterator[Path]:
    """An empty folder on the disk of `out`; what goes wrong with the disk inside is reported for `out`."""
    _remove_abandoned(out.parent)
    aside = out.with_name(f".export-{secrets.token_hex(8)}")  # as `_ASIDE`
    try:
        aside.mkdir()
        with FileLock(aside / ".lock"):  # the system lifts it, however this process ends
            (aside / "files").mkdir()
            yield aside / "files"
    except OSError as error:
        elsewhere = error.filename and not Path(os.fsdecode(error.filename)).is_relative_to(out.parent)
        where = f"{os.fsdecode(error.filename)}: " if elsewhere else ""  # a temporary folder
        raise FailureError(f"{out} cannot be written: {where}{error.strerror or error}.") from error
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def _remove_abandoned(folder: Path) -> None:
    """What exports that were killed left in a folder: nobody has the lock of it any more."""
    with suppress(OSError):
        for aside in [entry for entry in folder.iterdir() if _ASIDE.fullmatch(entry.name)]:
            with suppress(Timeout, OSError), FileLock(aside / ".lock", timeout=0):
                shutil.rmtree(aside, ignore_errors=True)


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
