"""Packages that only some commands need."""

from importlib.util import find_spec

from zoo.errors import RequestError


def require(what: str, extra: str, *modules: str) -> None:
    """Raises a `RequestError` that says what to install, unless it is.

    Args:
        what: needs them, as the user asked for it.
        extra: of this package, that brings them.
        modules: that must be there.
    """
    if missing := [module for module in modules if find_spec(module) is None]:
        raise RequestError(f"{what} needs {', '.join(missing)}: pip install 'convzoo[{extra}]'")
