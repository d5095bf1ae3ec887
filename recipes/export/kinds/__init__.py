"""The kinds of export: a table that is read without TensorFlow. What `zoo export --to` takes is in it."""

from recipes.export.kinds.base import (
    FLOAT_BUDGET,
    QUANTISED_BUDGET,
    Budget,
    ExportKind,
    ExportOptions,
    RunResult,
)
from recipes.export.kinds.c_array import CArray
from recipes.export.kinds.int4 import INT4
from recipes.export.kinds.onnx import Onnx
from recipes.export.kinds.saved_model import SavedModel
from recipes.export.kinds.tflite import PRECISIONS
from zoo.errors import RequestError, unknown

__all__ = [
    "BUDGETS",
    "FLOAT_BUDGET",
    "KINDS",
    "QUANTISED_BUDGET",
    "Budget",
    "ExportKind",
    "ExportOptions",
    "RunResult",
    "find_kind",
    "register_kind",
]

# Every kind of export by its name, in the order in which they are shown.
KINDS: dict[str, ExportKind] = {}
# How far a file of each kind may usually be from its model.
BUDGETS: dict[str, Budget] = {}


def register_kind(kind: ExportKind) -> None:
    """Adds a kind to what `export` and `zoo export --to` take.

    Raises:
        ValueError: there is one of this name.
    """
    if kind.name in KINDS:
        raise ValueError(f"there is a kind of export called {kind.name} already.")
    KINDS[kind.name] = kind
    BUDGETS[kind.name] = kind.budget


for _kind in (*PRECISIONS, INT4, SavedModel(), Onnx(), CArray(), CArray("int16x8")):
    register_kind(_kind)


def find_kind(name: str) -> ExportKind:
    """The kind with this name.

    Raises:
        RequestError: there is none; the message names the nearest.
    """
    if name not in KINDS:
        raise unknown("kind of export", name, KINDS)
    return KINDS[name]


def check_options(kind: ExportKind, options: ExportOptions) -> None:
    """Raises a `RequestError` for what is not possible with a kind, or needs a package that is not installed."""
    if options.dynamic_size and not kind.dynamic_size:
        allowed = [other.name for other in KINDS.values() if other.dynamic_size]
        raise RequestError(f"--dynamic-size is not possible with {kind.name}; allowed: {', '.join(allowed)}.")
    kind.check_installed()
