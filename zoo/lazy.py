"""What is imported only when it is used, so that reading a table or answering a mistyped name takes no seconds."""

import importlib
from collections.abc import Callable, Mapping, Sequence
from types import ModuleType
from typing import Any


class LazyModule:
    """Stands for a module; `load` imports it when an attribute of it is first asked for.

    It is not in `sys.modules`, where others that import the module would find it.
    """

    def __init__(self, name: str, load: Callable[[], ModuleType] | None = None) -> None:
        self._name, self._load, self._module = name, load or (lambda: importlib.import_module(name)), None

    _module: ModuleType | None

    def __getattr__(self, name: str) -> Any:
        if self._module is None:
            self._module = self._load()
        return getattr(self._module, name)

    def __repr__(self) -> str:
        return f"<{self._name}, imported when it is used>"


def lazy_names(package: str, places: Mapping[str, Sequence[str]]) -> Callable[[str], Any]:
    """The `__getattr__` of a package whose names are imported from its modules when they are first asked for.

    Args:
        package: its `__name__`.
        places: names by the module of the package that has them.
    """
    module_of = {name: module for module, names in places.items() for name in names}

    def get(name: str) -> Any:
        if name not in module_of:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        return getattr(importlib.import_module(f"{package}.{module_of[name]}"), name)

    return get
