"""All that is used of Keras and TensorFlow beyond their public API, so that a new release has one place to break.

`tests/test_keras_internals.py` holds each against the installed Keras and names what is gone.
"""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any

from zoo.backend import keras, tf


def nodes(model: "keras.Model") -> list[Any]:
    """The calls that a model is made of, each after those whose outputs it takes; none if it was not made of calls.

    A node has `operation`, `input_tensors`, `output_tensors` and `is_input`; nested models are one node.

    Relies on `Functional._nodes_by_depth`, and on `Sequential._functional`, where a Sequential keeps its graph. In
    public a layer has `input` and `output`, but only if it is called once, and a config has no tensors.
    """
    graph = getattr(model, "_functional", None) or model
    by_depth = getattr(graph, "_nodes_by_depth", {})
    return [node for depth in sorted(by_depth, reverse=True) for node in by_depth[depth]]


def sole_users(model: "keras.Model") -> dict[int, Any]:
    """The node that alone takes a tensor, by the tensor's `id`; none of what leaves the model."""
    users: dict[int, list[Any]] = {}
    for node in nodes(model):
        for tensor in node.input_tensors:
            users.setdefault(id(tensor), []).append(node)
    outputs = {id(tensor) for tensor in model.outputs}
    return {tensor: found[0] for tensor, found in users.items() if len(found) == 1 and tensor not in outputs}


def all_layers(model: "keras.Model") -> list["keras.layers.Layer"]:
    """Every layer in a model, those of nested models and those inside other layers too, without the model itself.

    Relies on `Layer._flatten_layers`. `Model.layers` in public does not look into layers that have layers.
    """
    layers: list[keras.layers.Layer] = model._flatten_layers(include_self=False)
    return layers


def random_states(model: "keras.Model") -> list["keras.Variable"]:
    """The states of what layers draw (dropout, noise), in a fixed order.

    Relies on the name that `keras.random.SeedGenerator` gives to its state; nothing in public lists the generators.
    """
    return [variable for variable in model.variables if variable.path.endswith("seed_generator_state")]


def without_loss_scaling(optimizer: "keras.optimizers.Optimizer") -> "keras.optimizers.Optimizer":
    """The optimizer that computes the steps, whose settings one that scales losses for float16 does not have."""
    return getattr(optimizer, "inner_optimizer", optimizer)


def averages(optimizer: "keras.optimizers.Optimizer") -> list["keras.Variable"]:
    """The moving averages of an optimizer with `use_ema`, in the order of the variables that it learns.

    Relies on `Optimizer._model_variables_moving_average`, and on `inner_optimizer` of the one that scales losses.
    `finalize_variable_values` in public overwrites the
    variables, with which the training goes on.
    """
    values: list[keras.Variable] = without_loss_scaling(optimizer)._model_variables_moving_average
    return values


def average_by(optimizer: "keras.optimizers.Optimizer", update: Callable[[Sequence[Any]], None]) -> None:
    """Has an optimizer with `use_ema` call `update` with its variables after each step, in place of its own average.

    Relies on `Optimizer._update_model_variables_moving_average`. In public the momentum is one number for all steps.
    """
    optimizer._update_model_variables_moving_average = update


def index_of(optimizer: "keras.optimizers.Optimizer", variable: Any) -> int:
    """The place of a variable, as `update_step` is given it, among those that an optimizer learns.

    Relies on `Optimizer._get_variable_index`, which Keras' documentation has optimizers use that one writes oneself.
    """
    index: int = optimizer._get_variable_index(variable)
    return index


def expect_sums(optimizer: "keras.optimizers.Optimizer") -> None:
    """Has an optimizer take the gradients that it is given on each device for sums over all devices.

    Relies on `_all_reduce_sum_gradients` of Keras' optimizer on TensorFlow, and on `inner_optimizer` of the one that
    scales losses. In public an optimizer always adds up itself, after it has clipped what each device brings.
    """
    optimizer = without_loss_scaling(optimizer)
    optimizer._all_reduce_sum_gradients = lambda gradients_and_variables: gradients_and_variables


def graph_that_is_not_run() -> "AbstractContextManager[Any]":
    """What TensorFlow computes in the block is written down and not run; variables outside of it may be read.

    Relies on `tensorflow.python.framework.func_graph`. In public `tf.Graph` cannot read a variable outside of it, as
    the state of Keras' random generator is, and `tf.function` takes 30 ms a call.
    """
    from tensorflow.python.framework.func_graph import FuncGraph

    context: AbstractContextManager[Any] = FuncGraph("not_run").as_default()
    return context


def with_constants(function: "tf.types.experimental.ConcreteFunction") -> "tf.types.experimental.ConcreteFunction":
    """A compiled function with the values of its variables in it as constants.

    Relies on `tensorflow.python.framework.convert_to_constants`; TensorFlow has it in public for sessions only.
    """
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

    return convert_variables_to_constants_v2(function)


def as_constants(function: "Callable[..., tf.Tensor]", *signature: "tf.TensorSpec") -> "Callable[..., tf.Tensor]":
    """The function, compiled with the values of its variables as constants.

    It runs on the device that is in force where it is called, all of it, in any thread. TensorFlow merges each
    convolution with the normalisation and the activation behind it, which saves about a quarter of the time.

    Args:
        function: from tensors to a tensor.
        signature: of its arguments; an axis may be open.
    """
    run = with_constants(tf.function(function).get_concrete_function(*signature))
    return lambda *given: run(*given)[0]


# A setting of `tf.lite.TFLiteConverter` with which it gives the float32 graph with the ranges that it measured, in
# place of rounding it; `tf.lite.experimental.QuantizationDebugger` sets it, too.
CALIBRATE_ONLY = "_experimental_calibrate_only"


def round_calibrated(graph: bytes, floats: Sequence[str], output_type: str) -> bytes:
    """The int8 `.tflite` graph of one with ranges, see `CALIBRATE_ONLY`, with uint8 pixels.

    Relies on `tensorflow.lite.python.convert.mlir_quantize`. In public `QuantizationDebugger` calls it, with floats in
    and out.

    Args:
        graph: with ranges.
        floats: names of outputs of operations that stay in float32.
        output_type: of the scores, `uint8` or `float32`.
    """
    from tensorflow.lite.python.convert import mlir_quantize

    made: bytes = mlir_quantize(
        graph, input_data_type=tf.uint8, output_data_type=tf.as_dtype(output_type), denylisted_nodes=list(floats)
    )
    return made
