"""Models that are not the zoo's own: of files that the user names, and of packages that are installed.

A plugin is code, and is run when it is loaded. Which it was can be told afterwards: of a file by its digest, of a
package by its version. This module finds plugins and runs them; what they register is for `zoo.registry` to keep.
"""

import ast
import hashlib
import os
import sys
import traceback
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from types import ModuleType

from zoo.backend import import_keras
from zoo.cache import expanded
from zoo.errors import RequestError
from zoo.files import check_file
from zoo.quiet import native_output_hidden

GROUP = "convzoo.models"  # of entry points: each names a module, and importing that registers models
VARIABLE = "ZOO_PLUGINS"  # of the environment: files, separated as paths are in PATH


@dataclass(frozen=True)
class PluginFile:
    """A Python file that registers models. Two files with the same content are the same plugin.

    Attributes:
        path: where the file was, from the root.
        sha256: of its content, in hexadecimal.
    """

    path: str = field(compare=False)
    sha256: str

    def __str__(self) -> str:
        return self.path

    @property
    def modules(self) -> frozenset[str]:
        """The name under which Python knows it, once it is loaded."""
        return frozenset({f"zoo_plugin_{self.sha256[:12]}"})

    def content(self, asker: str) -> bytes:
        """What is in the file, which still is where it was, and as it was.

        Args:
            asker: what needs it, as an error begins.

        Raises:
            RequestError: it is gone, or another.
        """
        wanted = f"{asker} needs the plugin {self.path} (sha256 {self.sha256[:12]})"
        way_on = "name a file with this digest: `zoo --plugin FILE.py COMMAND`."
        try:
            there, content = read_plugin(self.path)
        except RequestError as error:
            why = str(error).removeprefix(self.path).strip(" .")
            raise RequestError(f"{wanted}, which {why}: {way_on}") from None
        if there != self:
            raise RequestError(f"{wanted}, which has changed (now {there.sha256[:12]}): put it back, or {way_on}")
        return content


@dataclass(frozen=True)
class PluginPackage:
    """An installed package with entry points in the group `convzoo.models`.

    Attributes:
        distribution: its name, as pip knows it.
        version: of the package.
    """

    distribution: str
    version: str

    def __str__(self) -> str:
        return f"the package {self.distribution} {self.version}"

    @property
    def modules(self) -> frozenset[str]:
        """The top names of what its entry points import."""
        return frozenset(entry.module.split(".")[0] for entry in installed().get(self, ()))

    def check(self, asker: str) -> None:
        """Whether this version is installed.

        Raises:
            RequestError: it is not.
        """
        if self in installed():
            return
        others = [package.version for package in installed() if package.distribution == self.distribution]
        now = f"{others[0]} is installed" if others else "it is not installed"
        raise RequestError(f"{asker} needs {self}, but {now}; a run goes on with the version that it was begun with.")


Plugin = PluginFile | PluginPackage


def files_in_environment() -> list[str]:
    """The files that the variable `ZOO_PLUGINS` names."""
    return [path for path in os.environ.get(VARIABLE, "").split(os.pathsep) if path]


@cache
def installed() -> dict[PluginPackage, list[EntryPoint]]:
    """The packages that bring models, with their entry points."""
    found: dict[PluginPackage, list[EntryPoint]] = {}
    for entry in sorted(entry_points(group=GROUP), key=lambda entry: (entry.name, entry.value)):
        if entry.dist is not None:
            found.setdefault(PluginPackage(entry.dist.name, entry.dist.version), []).append(entry)
    return found


def read_plugin(file: str | Path) -> tuple[PluginFile, bytes]:
    """A file as a plugin, and its content; nothing of it is run.

    Raises:
        RequestError: there is no such file, or it cannot be read.
    """
    path = expanded(file).absolute()
    try:
        content = check_file(path).read_bytes()
    except OSError as error:
        raise RequestError(f"{path} cannot be read: {error.strerror}.") from None
    return PluginFile(str(path), hashlib.sha256(content).hexdigest()), content


def run_file(plugin: PluginFile, content: bytes) -> None:
    """Runs what was read: exactly the bytes that the digest is of.

    Raises:
        RequestError: it is not Python, does not import `zoo`, or raises; the message begins with path and line.
    """
    with _told_in_a_line(plugin):
        tree = ast.parse(content, plugin.path)
        if "zoo" not in _imported(ast.walk(tree)):  # so a run from elsewhere cannot have any other file be run
            raise RequestError("it does not import `zoo`, so it registers no model.")
        if _imported(tree.body) & {"keras", "tensorflow"}:
            import_keras()
        (name,) = plugin.modules
        module = ModuleType(name, doc=ast.get_docstring(tree))
        module.__file__ = plugin.path
        sys.modules[name] = module  # where dataclasses and pickle look for it
        exec(compile(tree, plugin.path, "exec"), module.__dict__)


def run_package(package: PluginPackage, entries: Sequence[EntryPoint]) -> None:
    """Imports what a package's entry points name; what is printed meanwhile is not shown, as Keras may be among it.

    Raises:
        RequestError: an import fails.
    """
    with _told_in_a_line(package), native_output_hidden():
        for entry in entries:
            entry.load()


def place_of(error: BaseException, plugin: Plugin) -> str | None:
    """`path:line` of the plugin's line that an error came from; None where there is none."""
    places = [
        f"{frame.f_code.co_filename}:{line}"
        for frame, line in traceback.walk_tb(error.__traceback__)
        if frame.f_globals.get("__name__", "").split(".")[0] in plugin.modules
    ]
    return places[-1] if places else None


def reason(error: BaseException) -> str:
    """What went wrong, in a line."""
    if isinstance(error, RequestError):
        return str(error)
    message = (str(error).strip().splitlines() or [""])[0]
    return f"{type(error).__name__}: {message}" if message else f"{type(error).__name__}."


def _imported(nodes: Iterable[ast.AST]) -> set[str]:
    """The top names of the packages that are imported by some of these statements."""
    names: set[str] = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module.split(".")[0])
    return names


@contextmanager
def _told_in_a_line(plugin: Plugin) -> Iterator[None]:
    try:
        yield
    except SyntaxError as error:
        raise RequestError(f"{error.filename or plugin}:{error.lineno or 1}: {error.msg}.") from error
    except (Exception, SystemExit) as error:
        raise RequestError(f"{place_of(error, plugin) or plugin}: {reason(error)}") from error
