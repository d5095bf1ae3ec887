"""Modules that lie elsewhere than they once did can still be imported by their old names."""

import importlib
import importlib.abc
import importlib.util
import sys
import warnings
from collections.abc import Sequence
from importlib.machinery import ModuleSpec
from types import ModuleType

MOVED = {
    "affine": "augment.affine",
    "appearance": "augment.pipeline",
    "augment_layer": "augment.layer",
    "benchmark": "tflite.latency",
    "c_array": "export.kinds.c_array",
    "charts": "report.charts",
    "checkpoint": "training.checkpoint",
    "convert": "export.kinds.tflite",
    "data.arrays": "data.readers.reader",
    "data.digits": "data.readers.digits",
    "data.doctor": "data.checks.doctor",
    "data.duplicates": "data.checks.duplicates",
    "data.examine": "data.checks.examine",
    "data.findings": "data.checks.findings",
    "data.folder": "data.readers.folder",
    "data.idx": "data.readers.idx",
    "data.picture": "data.decoding",
    "data.sources": "data.readers",
    "data.table": "data.readers.table",
    "data.tfds_source": "data.readers.tfds",
    "equivariance": "evaluate.equivariance",
    "features": "transfer.features",
    "folds": "search.folds",
    "formats": "export.kinds",
    "graph": "tflite.graph",
    "inside": "evaluate.inside",
    "inspection": "tflite.inspection",
    "invariance": "evaluate.invariance",
    "keras_archive": "run.keras_file",
    "launch": "distributed.launch",
    "loop": "training.loop",
    "metadata": "tflite.metadata",
    "metrics": "tasks.metrics",
    "preset": "config.presets",
    "preview": "augment.preview",
    "progress": "training.progress",
    "proof": "export.parity",
    "quiet": "support.quiet",
    "replicas": "training.replicas",
    "sections": "report.sections",
    "settings": "config.settings",
    "source": "transfer.source",
    "space": "search.space",
    "study": "search.study",
    "study_progress": "search.progress",
    "study_report": "search.study_page",
    "subject": "export.source",
    "tensorboard": "training.tensorboard",
    "text.layout": "support.tables",
    "text.models": "text.cards",
    "trials": "search.trials",
    "warp": "augment.warp",
    "workers": "distributed.team",
}


class _Finder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Finds a module by its old name, and gives the one that there is under its new name."""

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        package, _, old = name.partition(".")
        if package != "recipes" or old not in MOVED:
            return None
        return importlib.util.spec_from_loader(name, self)

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        new = f"recipes.{MOVED[spec.name.removeprefix('recipes.')]}"
        warnings.warn(f"{spec.name} is now {new}", DeprecationWarning, stacklevel=2)
        module = importlib.import_module(new)
        self._own = module.__spec__
        return module

    def exec_module(self, module: ModuleType) -> None:
        module.__spec__ = self._own  # the import system has put the old name's there


def keep_old_names() -> None:
    """Has `import recipes.OLD` find the module under its new name."""
    if not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        sys.meta_path.append(_Finder())
