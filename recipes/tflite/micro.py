"""A file in TensorFlow Lite Micro, the runtime of microcontrollers, on this machine: the wheel `tflite-micro`."""

import queue
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from recipes.support.threads import THREADS, in_threads
from recipes.tflite.graph import Graph
from recipes.tflite.isolated import Isolated
from recipes.tflite.memory import WEIGHED, plan_memory

EXTRA, MODULE, CALLED = "micro", "tflite_micro", "TensorFlow Lite Micro"
_SPARE = 2**22  # bytes of arena, and as many times the plan as below, that a file is given to be measured in
_TIMES = 2
_METHODS: Mapping[str, str] = {  # whose names are not those of the operations
    "BATCH_MATMUL": "BatchMatMul",
    "CUMSUM": "CumSum",
    "PADV2": "PadV2",
    "REVERSE_V2": "ReverseV2",
    "SELECT_V2": "SelectV2",
    "SPLIT_V": "SplitV",
    "UNIDIRECTIONAL_SEQUENCE_LSTM": "UnidirectionalSequenceLSTM",
}
# Operations that TensorFlow Lite Micro has kernels for (micro_mutable_op_resolver.h, August 2026).
_NAMES = """
    ABS ADD ADD_N ARG_MAX ARG_MIN ASSIGN_VARIABLE AVERAGE_POOL_2D BATCH_MATMUL BATCH_TO_SPACE_ND BROADCAST_ARGS
    BROADCAST_TO CALL_ONCE CAST CEIL CONCATENATION CONV_2D COS CUMSUM DEPTH_TO_SPACE DEPTHWISE_CONV_2D DEQUANTIZE DIV
    DYNAMIC_UPDATE_SLICE ELU EMBEDDING_LOOKUP EQUAL EXP EXPAND_DIMS FILL FLOOR FLOOR_DIV FLOOR_MOD FULLY_CONNECTED
    GATHER GATHER_ND GREATER GREATER_EQUAL HARD_SWISH IF L2_NORMALIZATION L2_POOL_2D LEAKY_RELU LESS LESS_EQUAL LOG
    LOG_SOFTMAX LOGICAL_AND LOGICAL_NOT LOGICAL_OR LOGISTIC MAX_POOL_2D MAXIMUM MEAN MINIMUM MIRROR_PAD MUL NEG
    NOT_EQUAL PACK PAD PADV2 PRELU QUANTIZE READ_VARIABLE REDUCE_ALL REDUCE_MAX REDUCE_MIN RELU RELU6 RESHAPE
    RESIZE_BILINEAR RESIZE_NEAREST_NEIGHBOR REVERSE_V2 ROUND RSQRT SELECT_V2 SHAPE SIN SLICE SOFTMAX
    SPACE_TO_BATCH_ND SPACE_TO_DEPTH SPLIT SPLIT_V SQRT SQUARE SQUARED_DIFFERENCE SQUEEZE STRIDED_SLICE SUB SUM SVDF
    TANH TRANSPOSE TRANSPOSE_CONV UNIDIRECTIONAL_SEQUENCE_LSTM UNPACK VAR_HANDLE WHILE ZEROS_LIKE
"""
OPERATIONS = frozenset(_NAMES.split())


@dataclass(frozen=True)
class Arena:
    """Memory that TensorFlow Lite Micro uses, in bytes.

    Attributes:
        total: the least that `tensor_arena` may have.
        values: of it for values between operations and scratch memory of kernels.
        records: of it for what the interpreter keeps; on a 64-bit processor, where pointers are twice as large as on
            most boards.
    """

    total: int
    values: int
    records: int


class MicroFile:
    """A `.tflite` graph in TensorFlow Lite Micro, run in child processes with limits: its kernels may end theirs.

    Args:
        path: the file, for messages.
        content: what is in it.
        graph: the same, read and verified.
    """

    def __init__(self, path: Path, content: bytes, graph: Graph) -> None:
        self._path, self._content, self._graph = path, content, graph
        self._arena = _SPARE + _TIMES * plan_memory(graph).bytes
        self._given, self._made = graph.tensors[graph.inputs[0]], graph.tensors[graph.outputs[0]]

    def arena(self) -> Arena:
        """What it uses, measured after a run.

        Raises:
            RequestError: it cannot be run.
        """
        child = self._child()
        child.run(np.zeros(self._given.shape, self._given.dtype), self._made.dtype)
        arena = child.facts()["arena"]
        return Arena(arena["total"], arena["head"], arena["tail"])

    def run(self, images: np.ndarray) -> np.ndarray:
        """What the graph gives (N, classes) for images (N, H, W, C), both as the file has them: integers for integers.

        Raises:
            RequestError: it cannot be run.
        """
        children: queue.SimpleQueue[Isolated] = queue.SimpleQueue()
        for _ in range(min(THREADS, len(images))):
            children.put(self._child())

        def scores(image: np.ndarray) -> np.ndarray:
            child = children.get()
            try:
                row: np.ndarray = child.run(image[None], self._made.dtype)[0]
                return row
            finally:
                children.put(child)

        return np.stack(list(in_threads(scores, list(images.astype(self._given.dtype, copy=False)))))

    def _child(self) -> Isolated:
        return Isolated(self._path, self._content, self._graph.macs, runtime=CALLED, arena=self._arena)


def is_installed() -> bool:
    """Whether files can be run in TensorFlow Lite Micro here."""
    return find_spec(MODULE) is not None


def resolver_calls(graph: Graph) -> list[str]:
    """The methods of `tflite::MicroMutableOpResolver` that the graph needs, `AddConv2D` and so on."""
    return [f"Add{_METHODS.get(kind) or kind.title().replace('_', '')}" for kind in graph.counts]


def lacking_operations(graph: Graph) -> list[str]:
    """The operations of a graph that TensorFlow Lite Micro does not have, by the list above."""
    return sorted(set(graph.counts) - OPERATIONS)


def obstacle(graph: Graph) -> str:
    """Why TensorFlow Lite Micro cannot run a graph, as far as the graph alone tells; empty where nothing is known."""
    if lacking := lacking_operations(graph):
        return f"it has no {', '.join(lacking)}"
    if any(tensor.dtype == "float16" for tensor in graph.tensors):
        return "it has no float16; export to c-array"
    for operator in graph.operators:
        if operator.kind in WEIGHED:
            values, weights = (graph.tensors[i].dtype for i in operator.inputs[:2])
            if values == "float32" != weights:
                return f"it has no float values with {weights} weights; export to c-array"
    return ""
