"""The door to Keras and TensorFlow: every file here takes them from it, `from zoo.backend import keras, tf`.

Nothing is imported before an attribute is asked for, and what stands for a module until then is never in
`sys.modules`, where other packages would find it. Whatever the order of imports, Keras is loaded before TensorFlow
(which looks for it), on TensorFlow, and without what both print.

A user's settings of Keras (`keras.json`, `keras.config`) are for the user's own models. `as_keras_ships` puts them
aside while something of ours is built, trained or exported, and back afterwards. Meanwhile float32 is float32 on a GPU
too, where TensorFlow by itself multiplies in TensorFloat-32, with 10 bits of fraction: symmetries that are exact, and
the comparison of a file with its model, would not be.
"""

import importlib
import os
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from types import ModuleType
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

from zoo.cache import expanded
from zoo.errors import RequestError
from zoo.lazy import LazyModule
from zoo.quiet import native_output_hidden

if TYPE_CHECKING:
    import h5py
    import keras
    import tensorflow as tf
    import tensorflow_datasets as tfds

__all__ = ["as_keras_ships", "h5py", "import_keras", "keras", "keras_as_shipped", "tf", "tfds"]

BACKEND = "tensorflow"
VARIABLE = "KERAS_BACKEND"  # of the environment; counts more than the backend in keras.json

P = ParamSpec("P")
R = TypeVar("R")


def import_keras() -> ModuleType:
    """`keras` on TensorFlow, without the lines that TensorFlow prints when it is loaded.

    Raises:
        RequestError: `KERAS_BACKEND` or an earlier import chose another backend, or Keras cannot read its keras.json.
    """
    module = sys.modules.get("keras") or _first_import()
    backend = module.config.backend()
    if backend != BACKEND:
        raise RequestError(
            f"Keras was imported before, with the backend {backend}; convzoo needs {BACKEND}: set "
            f"{VARIABLE}={BACKEND} before `import keras`."
        )
    return module


def _first_import() -> ModuleType:
    asked = os.environ.get(VARIABLE)
    if asked and asked != BACKEND:
        raise RequestError(f"{VARIABLE}={asked} is not possible; convzoo needs {BACKEND}: unset it for this command.")
    os.environ[VARIABLE] = BACKEND  # for the import: keras.json may name another
    try:
        with native_output_hidden():
            module = importlib.import_module("keras")
            importlib.import_module("tensorflow")
    except (ValueError, AttributeError, TypeError, OSError) as error:
        file = expanded(os.environ.get("KERAS_HOME") or "~/.keras") / "keras.json"
        if not file.is_file():
            raise
        raise RequestError(f"Keras cannot be imported with {file}: {error} Mend or remove it.") from error
    finally:
        if asked is None:
            del os.environ[VARIABLE]
        else:
            os.environ[VARIABLE] = asked
    _SHIPPED.put_aside()
    return module


def _with_keras(name: str) -> Callable[[], ModuleType]:
    def load() -> ModuleType:
        import_keras()
        with native_output_hidden():
            return importlib.import_module(name)

    return load


if not TYPE_CHECKING:
    h5py = LazyModule("h5py")
    keras = LazyModule("keras", import_keras)
    tf = LazyModule("tensorflow", _with_keras("tensorflow"))
    tfds = LazyModule("tensorflow_datasets", _with_keras("tensorflow_datasets"))


class _Shipped:
    """The user's settings while ours are in place. Calls in several threads share one stay."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.depth = 0
        self.users: dict[str, Any] | None = None
        self.rounds = False  # whether the user has TensorFloat-32
        self.keeps_policy = False

    def put_aside(self) -> None:
        """Puts Keras' own defaults in place, if Keras is loaded and somebody asked for them."""
        with self.lock:
            config = getattr(sys.modules.get("keras"), "config", None)
            if not self.depth or self.users is not None or config is None:
                return
            self.users = {name: getattr(config, name)() for name in SETTINGS}
            policy = self.users["dtype_policy"]
            chosen = policy.name != self.users["floatx"]  # else it is what follows from the float type
            self.rounds = tf.config.experimental.tensor_float_32_execution_enabled()
            tf.config.experimental.enable_tensor_float_32_execution(False)
            _set(SETTINGS | ({"dtype_policy": policy} if self.keeps_policy and chosen else {}))

    def give_back(self) -> None:
        with self.lock:
            if self.users is not None:
                _set(self.users)
                tf.config.experimental.enable_tensor_float_32_execution(self.rounds)
                self.users = None


# What keras.json, variables of the environment and `keras.config` can change, as Keras has it without them.
SETTINGS = {
    "floatx": "float32",
    "epsilon": 1e-7,
    "image_data_format": "channels_last",
    "dtype_policy": "float32",
    "max_epochs": None,
    "max_steps_per_epoch": None,
}
_SHIPPED = _Shipped()


def _set(settings: dict[str, Any]) -> None:
    config = sys.modules["keras"].config
    for name, value in settings.items():
        getattr(config, f"set_{name}")(value)


@contextmanager
def keras_as_shipped(*, keep_policy: bool = False) -> Iterator[None]:
    """In the block Keras has the settings that it is shipped with; afterwards those of the user again.

    Does not import Keras: where it is imported in the block, the settings are put in place then.

    Args:
        keep_policy: a dtype policy that a script has set stays; of blocks in each other the outermost decides.
    """
    with _SHIPPED.lock:
        if not _SHIPPED.depth:
            _SHIPPED.keeps_policy = keep_policy
        _SHIPPED.depth += 1
        _SHIPPED.put_aside()
    try:
        yield
    finally:
        with _SHIPPED.lock:
            _SHIPPED.depth -= 1
            if not _SHIPPED.depth:
                _SHIPPED.give_back()


def as_keras_ships(function: Callable[P, R]) -> Callable[P, R]:
    """A function that runs in `keras_as_shipped`."""

    @wraps(function)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> R:
        with keras_as_shipped():
            return function(*args, **kwargs)

    return wrapped
