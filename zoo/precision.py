"""What layers compute in: making them in a precision, and bringing a model that is there into another."""

import contextlib
import json
from collections.abc import Callable, Iterator
from typing import Any

from zoo.backend import keras
from zoo.keras_internals import all_layers
from zoo.layers import register_layers


@contextlib.contextmanager
def computing_in(precision: str) -> Iterator[None]:
    """Layers made in the block compute in this precision; their weights stay float32.

    Args:
        precision: `float32`, `mixed_float16` or `mixed_bfloat16`.
    """
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(precision)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)


def in_precision(model: keras.Model, precision: str) -> keras.Model:
    """The model itself, or its copy with the same weights if some layer computes in another precision.

    Args:
        model: for half precision a backbone: scores stay float32 in a model of half precision, which its copy would
            not know.
        precision: as of `computing_in`.
    """
    wanted = keras.dtype_policies.get(precision).compute_dtype
    if all(layer.compute_dtype in (wanted, None) for layer in (model, *all_layers(model))):
        return model

    def changed(node: dict[str, Any]) -> dict[str, Any]:
        if node.get("class_name") == "DTypePolicy":
            return {**node, "config": {"name": precision}}
        return {**node, "dtype": wanted} if node.get("dtype") in ("float16", "bfloat16") else node

    return rebuilt(model, changed)


def rebuilt(model: keras.Model, change: Callable[[dict[str, Any]], dict[str, Any]]) -> keras.Model:
    """A copy with the same weights, from the model's config with `change` made to every object in it."""

    def walk(node: Any) -> Any:
        if isinstance(node, dict):
            return {key: walk(value) for key, value in change(node).items()}
        return [walk(value) for value in node] if isinstance(node, list | tuple) else node

    register_layers()
    config = json.loads(json.dumps(keras.saving.serialize_keras_object(model)))
    config.pop("compile_config", None)
    copy = keras.saving.deserialize_keras_object(walk(config), safe_mode=True)
    copy.set_weights(model.get_weights())
    return copy
