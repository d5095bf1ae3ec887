"""The register of architectures, which can be read without importing Keras.

A file in `zoo/models/` holds one paper's architectures, each a function from a tensor to a tensor under
`@register(...)`. Files are imported when the registry is first read; they take `keras` from `zoo.backend`,
so that listing models costs milliseconds, and building one costs what Keras costs. Models that are not the zoo's own
come from plugins, see `zoo.plugins`.
"""

import importlib
import pkgutil
import sys
from collections.abc import Callable
from contextvars import ContextVar
from fnmatch import fnmatchcase
from functools import cache, partial
from pathlib import Path

from zoo.cards import (
    CAFFE,
    IDENTITY,
    IMAGENET,
    PLUS_MINUS_ONE,
    ZERO_TO_ONE,
    Card,
    Nonlinearity,
    Paper,
    Scaling,
    Tensor,
    Weights,
    allowed_values,
    check_options,
)
from zoo.errors import RequestError, unknown
from zoo.plugins import (
    Plugin,
    PluginFile,
    PluginPackage,
    files_in_environment,
    installed,
    read_plugin,
    run_file,
    run_package,
)

__all__ = [
    "CAFFE",
    "IDENTITY",
    "IMAGENET",
    "PLUS_MINUS_ONE",
    "ZERO_TO_ONE",
    "Card",
    "Nonlinearity",
    "Paper",
    "Scaling",
    "Tensor",
    "Weights",
    "allowed_values",
    "check_options",
    "get_card",
    "list_models",
    "load_plugin",
    "load_plugins",
    "register",
    "require_plugin",
]

_CARDS: dict[str, Card] = {}
_LOADED: set[Plugin] = set()
_LOADING: ContextVar[Plugin | None] = ContextVar("plugin", default=None)  # what is being run just now


def register(
    *,
    input_shape: tuple[int, int, int],
    family: str | None = None,
    paper: Paper | None = None,
    parameters: int | None = None,
    trainable_parameters: int | None = None,
    pooling: str = "average",
    scaling: Scaling = ZERO_TO_ONE,
    classes: int = 10,
    hidden: tuple[int, ...] = (),
    hidden_nonlinearity: str = "relu",
    dropout: float = 0.0,
    notes: str = "",
    weights: tuple[Weights, ...] = (),
    symmetry: str = "",
    subsamples: bool = False,
) -> Callable[[Callable[..., Tensor]], Callable[..., Tensor]]:
    """Registers an architecture under its function's name; the arguments are those of `Card`.

    The zoo's own models state all facts. A model from elsewhere may leave out what nobody published: without a family
    it is one of its own, and parameters are measured when they are asked for.

    `trainable_parameters` may be left out beside `parameters` where everything is trained (no BatchNorm).

    Raises:
        RequestError: the name is taken, the function has no docstring to take the summary from, an option has no
            default, or there is no such image.
    """

    def decorate(build: Callable[..., Tensor]) -> Callable[..., Tensor]:
        name = build.__name__
        if name in _CARDS:
            other = _CARDS[name].plugin
            raise RequestError(f"model {name!r} is registered twice: it is in {other or 'the zoo'} already.")
        if not build.__doc__:
            raise RequestError(f"model {name!r} needs a docstring: its first line is the card's summary.")
        if len(input_shape) != 3 or any(not isinstance(size, int) or size < 1 for size in input_shape):
            raise RequestError(
                f"input_shape={input_shape} of {name} is not possible; allowed: (height, width, channels)."
            )
        card = Card(
            name=name,
            summary=build.__doc__.strip().splitlines()[0],
            family=name if family is None else family,
            paper=paper,
            input_shape=input_shape,
            classes=classes,
            parameters=parameters,
            trainable_parameters=parameters if trainable_parameters is None else trainable_parameters,
            pooling=pooling,
            hidden=hidden,
            hidden_nonlinearity=hidden_nonlinearity,
            dropout=dropout,
            scaling=scaling,
            notes=notes,
            build=build,
            weights=weights,
            symmetry=symmetry,
            subsamples=subsamples,
            plugin=_LOADING.get(),
        )
        for option in card.options.values():
            if option.default is option.empty:
                raise RequestError(f"option {option.name} of {name} needs a default.")
        _CARDS[name] = card
        return build

    return decorate


def list_models(pattern: str = "*") -> list[str]:
    """Names of the registered models that match a shell pattern such as `"l*"`, sorted."""
    load_plugins()
    return sorted(name for name in _CARDS if fnmatchcase(name, pattern))


def get_card(name: str) -> Card:
    """The card of a model.

    Raises:
        RequestError: no model has that name; the message says which is nearest.
    """
    load_plugins()
    if name not in _CARDS:
        hint = "`zoo list` prints all of them, `zoo --plugin FILE.py COMMAND` adds your own."
        raise unknown("model", name, _CARDS, hint=hint)
    return _CARDS[name]


@cache
def _import_own() -> None:
    package = importlib.import_module("zoo.models")
    for module in pkgutil.iter_modules(package.__path__):
        importlib.import_module(f"zoo.models.{module.name}")


@cache
def load_plugins() -> None:
    """Has the models known that need not be asked for: the zoo's, those of installed packages, and of `ZOO_PLUGINS`.

    Called by whatever reads the registry, once a process.

    Raises:
        RequestError: a plugin that cannot be loaded, see `load_plugin`.
    """
    _import_own()
    for package, entries in installed().items():
        _load(package, partial(run_package, package, entries))
    for file in files_in_environment():
        _load_file(*read_plugin(file))


def load_plugin(file: str | Path) -> PluginFile:
    """Runs a Python file that registers models. A file that is loaded already is left alone.

    Raises:
        RequestError: there is no such file, it is not Python, raises, registers nothing, or registers a name that is
            taken; the message begins with path and line. None of its models is registered then.
    """
    load_plugins()
    plugin, content = read_plugin(file)
    _load_file(plugin, content)
    return plugin


def require_plugin(plugin: Plugin | None, asker: str) -> None:
    """Loads the plugin that something was made with, unless it is loaded.

    What is run is a file that already lies on this machine with exactly the digest that is asked for.

    Args:
        plugin: what is needed; None for nothing.
        asker: what needs it, as an error begins.

    Raises:
        RequestError: it is gone, or is not as it was; or as `load_plugin`.
    """
    load_plugins()
    if isinstance(plugin, PluginPackage):
        plugin.check(asker)
    elif plugin is not None and plugin not in _LOADED:
        _load_file(plugin, plugin.content(asker))


def _load_file(plugin: PluginFile, content: bytes) -> None:
    _load(plugin, partial(run_file, plugin, content))


def _load(plugin: Plugin, run: Callable[[], None]) -> None:
    """Runs a plugin once; if that fails, nothing that it registered stays."""
    if plugin in _LOADED:
        return
    before = dict(_CARDS)
    _LOADED.add(plugin)
    token = _LOADING.set(plugin)
    try:
        run()
        if len(_CARDS) == len(before):
            raise RequestError(f"{plugin} registers no model: put `@zoo.register(...)` above an architecture.")
    except BaseException:
        _CARDS.clear()
        _CARDS.update(before)
        _LOADED.discard(plugin)
        if isinstance(plugin, PluginFile):
            for name in plugin.modules:
                sys.modules.pop(name, None)
        raise
    finally:
        _LOADING.reset(token)
