"""The process in which `recipes.tflite.isolated` runs a file. It imports nothing of this package, to start at once."""

import contextlib
import json
import os
import re
import signal
import struct
import sys
import time
from collections.abc import Iterator
from importlib import import_module
from typing import IO, Any

import numpy as np

ANSWER, FAULT = b"+", b"-"
# Bytes of memory, seconds for an image, threads, whether XNNPACK is used, bytes of TFLite Micro's arena, the runtime.
HEAD = "<Qd3q32s"
SHAPE = "<4q"  # of the images that follow, (N, H, W, C)
_ARENA = re.compile(r"Arena allocation (total|head|tail) (\d+) bytes")
_ELEMENTS = {  # of ONNX Runtime, as NumPy calls them
    "tensor(float)": "float32",
    "tensor(float16)": "float16",
    "tensor(double)": "float64",
    "tensor(uint8)": "uint8",
}


def send(stream: IO[bytes], content: bytes) -> None:
    """One message: its length, and itself."""
    stream.write(struct.pack("<Q", len(content)))
    stream.write(content)


def receive(stream: Any) -> bytes:
    """The next message; raises `EOFError` where the other side is gone."""
    head = stream.read(8)
    if len(head) < 8:
        raise EOFError
    (size,) = struct.unpack("<Q", head)
    content: bytes = stream.read(size)
    if len(content) < size:
        raise EOFError
    return content


class LiteRT:
    """A `.tflite` file in LiteRT; images come as what its input holds."""

    def __init__(self, content: bytes, *, threads: int = 1, xnnpack: bool = True, **_: Any) -> None:
        from ai_edge_litert.interpreter import Interpreter, OpResolverType

        plain = {} if xnnpack else {"experimental_op_resolver_type": OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES}
        self._interpreter = Interpreter(model_content=content, num_threads=threads, **plain)
        self._ready = False

    def run(self, values: bytes, shape: list[int]) -> bytes:
        """What the output holds for an input (1, H, W, C)."""
        given, made = self._interpreter.get_input_details()[0], self._interpreter.get_output_details()[0]
        if not self._ready:
            if list(given["shape"]) != shape:
                self._interpreter.resize_tensor_input(given["index"], shape)
            self._interpreter.allocate_tensors()
            self._ready = True
        self._interpreter.set_tensor(given["index"], np.frombuffer(values, given["dtype"]).reshape(shape))
        self._interpreter.invoke()
        scores: np.ndarray = self._interpreter.get_tensor(made["index"])[0]
        return bytes(scores.tobytes())

    def facts(self) -> dict[str, Any]:
        """Nothing that is not known from the file itself."""
        return {}


class OnnxRuntime:
    """An `.onnx` file in ONNX Runtime, on the processor; images come as uint8, scores go as float32."""

    def __init__(self, content: bytes, *, threads: int = 1, **_: Any) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
        options.log_severity_level = 4
        self._session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])

    def run(self, values: bytes, shape: list[int]) -> bytes:
        """Scores of an image (1, H, W, C), or whatever else the one output holds."""
        given = self._session.get_inputs()[0]
        image = np.frombuffer(values, np.uint8).reshape(shape).astype(_ELEMENTS[given.type])
        if channels_first(given.shape):
            image = np.ascontiguousarray(image.transpose(0, 3, 1, 2))
        scores: np.ndarray = np.asarray(self._session.run(None, {given.name: image})[0], np.float32)
        if scores.ndim != 2 or len(scores) != 1:
            raise ValueError(f"it gives {list(scores.shape)}; allowed: scores (1, classes)")
        return bytes(scores[0].tobytes())

    def facts(self) -> dict[str, Any]:
        """Name, shape and type of each input and output, and what the file says of itself."""
        ends = {"inputs": self._session.get_inputs(), "outputs": self._session.get_outputs()}
        told = {
            end: [[one.name, list(one.shape), _ELEMENTS.get(one.type, one.type)] for one in those]
            for end, those in ends.items()
        }
        return told | {"metadata": self._session.get_modelmeta().custom_metadata_map}


class Micro:
    """The interpreter of microcontrollers. It says why something fails on `stderr`, not in its errors."""

    def __init__(self, content: bytes, *, arena: int = 0, **_: Any) -> None:
        import tempfile

        from tflite_micro import runtime

        self._said = tempfile.TemporaryFile()  # noqa: SIM115 - for as long as this process
        os.dup2(self._said.fileno(), 2)

        with self._explained():
            self._interpreter = runtime.Interpreter.from_bytes(content, arena_size=arena)

    def run(self, values: bytes, shape: list[int]) -> bytes:
        dtype = self._interpreter.get_input_details(0)["dtype"]
        with self._explained():
            self._interpreter.set_input(np.frombuffer(values, dtype).reshape(shape), 0)
            self._interpreter.invoke()
        scores: np.ndarray = self._interpreter.get_output(0)[0]
        return bytes(scores.tobytes())

    def facts(self) -> dict[str, Any]:
        """`arena`, in bytes, after a run: `total`, `head` and `tail`."""
        self._said.truncate(0)
        self._interpreter.print_allocations()
        return {"arena": {part: int(size) for part, size in _ARENA.findall(self._so_far())}}

    def _so_far(self) -> str:
        self._said.seek(0)
        return self._said.read().decode("utf-8", "replace")

    @contextlib.contextmanager
    def _explained(self) -> Iterator[None]:
        """What was said is put in place of an error's own words: the reason, and the operation."""
        try:
            yield
        except RuntimeError as error:
            reason, *more = [line.strip() for line in self._so_far().splitlines() if line.strip()] or [str(error)]
            if lacking := re.search(r"Didn't find op for builtin opcode '(\w+)'", reason):
                raise RuntimeError(f"it has no {lacking[1]}.") from error
            node = re.search(r"Node (\w+) \(number \d+", " ".join(more))
            reason = re.sub(r"^\S+/kernels/\S+ ", "", reason).rstrip(".")
            raise RuntimeError(f"{reason} ({node[1]})." if node else f"{reason}.") from error


def channels_first(shape: list[Any]) -> bool:
    """Whether images are (N, C, H, W), as the shape of an input tells."""
    return len(shape) == 4 and shape[1] in (1, 3) and shape[3] not in (1, 3)


RUNTIMES: dict[str, tuple[Any, str]] = {  # each with the module that it needs
    "LiteRT": (LiteRT, "ai_edge_litert.interpreter"),
    "ONNX Runtime": (OnnxRuntime, "onnxruntime"),
    "TensorFlow Lite Micro": (Micro, "tflite_micro"),
}


def serve() -> None:
    """One file, then images until the parent goes: a message of them at a time, and an answer for each."""
    answers = os.fdopen(os.dup(1), "wb")
    with open(os.devnull, "wb") as nowhere:
        os.dup2(nowhere.fileno(), 1)  # nothing that is printed gets among the answers
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent's to tell
    try:
        limit, seconds, threads, xnnpack, arena, name = struct.unpack(HEAD, receive(sys.stdin.buffer))
        runtime, options = name.rstrip(b"\0").decode(), {"threads": threads, "xnnpack": bool(xnnpack), "arena": arena}
        content = receive(sys.stdin.buffer)
        opened = None
        while True:
            message = receive(sys.stdin.buffer)
            for values, shape in _images(message):
                try:
                    if opened is None:
                        opened = _opened(runtime, content, limit, seconds, options)
                    answer = ANSWER + (_run(opened, values, shape, seconds) if values else _facts(opened))
                except MemoryError:
                    answer = FAULT + b"it takes more memory than it may."
                except Exception as error:
                    lines = str(error).strip().splitlines() or [type(error).__name__]
                    answer = FAULT + f"{runtime} refuses it: {lines[0][:200]}".encode()
                send(answers, answer)
                answers.flush()
    except (EOFError, OSError):
        return


def _images(message: bytes) -> Iterator[tuple[bytes, list[int]]]:
    """The images of a message one by one, each with its shape; nothing where facts are asked for."""
    if not message:
        yield b"", []
        return
    head = struct.calcsize(SHAPE)
    count, *shape = struct.unpack(SHAPE, message[:head])
    size = (len(message) - head) // count
    for start in range(head, head + count * size, size):
        yield message[start : start + size], [1, *shape]


def _opened(runtime: str, content: bytes, limit: int, seconds: float, options: dict[str, Any]) -> Any:
    kind, module = RUNTIMES[runtime]
    import_module(module)  # which is not the file's doing
    _limit(limit, seconds)
    before, began = memory()["VmRSS"], time.perf_counter()
    opened = kind(content, **options)
    opened.before, opened.load_ms = before, 1000 * (time.perf_counter() - began)
    return opened


def _run(opened: Any, values: bytes, shape: list[int], seconds: float) -> bytes:
    _limit(None, seconds)
    began = time.perf_counter()
    scores: bytes = opened.run(values, shape)
    if not hasattr(opened, "first_ms"):
        opened.first_ms = 1000 * (time.perf_counter() - began)
    return scores


def _facts(opened: Any) -> bytes:
    measured = {"load_ms": opened.load_ms, "first_ms": getattr(opened, "first_ms", None)}
    return json.dumps(opened.facts() | measured | {"before": opened.before, "peak": memory()["VmHWM"]}).encode()


def memory() -> dict[str, int | None]:
    """Bytes of memory that this process holds now (`VmRSS`) and has held at most (`VmHWM`); None where unknown."""
    found: dict[str, int | None] = {"VmRSS": None, "VmHWM": None}
    try:
        with open("/proc/self/status", encoding="ascii", errors="replace") as status:
            for line in status:
                name, _, amount = line.partition(":")
                if name in found:
                    found[name] = 1024 * int(amount.split()[0])
    except OSError:  # only Linux has it
        pass
    return found


def _limit(memory: int | None, seconds: float) -> None:
    """Bounds this process, where the system can: address space, and processor time from now on."""
    try:
        import resource
    except ImportError:  # Windows
        return
    try:
        if memory is not None:
            resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
            resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        usage = resource.getrusage(resource.RUSAGE_SELF)
        until = int(usage.ru_utime + usage.ru_stime + seconds) + 1
        resource.setrlimit(resource.RLIMIT_CPU, (until, resource.getrlimit(resource.RLIMIT_CPU)[1]))
    except (OSError, ValueError):  # a limit that is lower already, or a system without it
        pass
