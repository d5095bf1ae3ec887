"""The process in which `recipes.tflite.isolated` runs a file. It imports nothing of this package, to start at once."""

import contextlib
import os
import re
import signal
import struct
import sys
from collections.abc import Iterator
from typing import IO

import numpy as np

ANSWER, FAULT = b"+", b"-"
HEAD = "<Qdq4q"  # bytes of memory, seconds for an image, bytes of TFLite Micro's arena (0: LiteRT), shape of the input
_ARENA = re.compile(r"Arena allocation (total|head|tail) (\d+) bytes")


def send(stream: IO[bytes], content: bytes) -> None:
    """One message: its length, and itself."""
    stream.write(struct.pack("<Q", len(content)))
    stream.write(content)


def receive(stream: IO[bytes]) -> bytes:
    """The next message; raises `EOFError` where the other side is gone."""
    head = stream.read(8)
    if len(head) < 8:
        raise EOFError
    (size,) = struct.unpack("<Q", head)
    content = stream.read(size)
    if len(content) < size:
        raise EOFError
    return content


def serve() -> None:
    """One file, then images until the parent goes; an empty message in place of an image asks for the arena."""
    answers = os.fdopen(os.dup(1), "wb")
    with open(os.devnull, "wb") as nowhere:
        os.dup2(nowhere.fileno(), 1)  # nothing that is printed gets among the answers
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent's to tell
    try:
        memory, seconds, arena, *shape = struct.unpack(HEAD, receive(sys.stdin.buffer))
        content = receive(sys.stdin.buffer)
        kind = Micro if arena else LiteRT
        interpreter = None
        while True:
            values = receive(sys.stdin.buffer)
            try:
                if interpreter is None:
                    _limit(int(memory), seconds)
                    interpreter = kind(content, shape, arena)
                if values:
                    _limit(None, seconds)
                    answer = ANSWER + interpreter.run(values, shape)
                else:
                    answer = ANSWER + interpreter.arena()
            except MemoryError:
                answer = FAULT + b"it takes more memory than it may."
            except Exception as error:
                lines = str(error).strip().splitlines() or [type(error).__name__]
                answer = FAULT + f"{kind.called} refuses it: {lines[0][:200]}".encode()
            send(answers, answer)
            answers.flush()
    except (EOFError, OSError):
        return


class LiteRT:
    """The interpreter of phones and computers."""

    called = "LiteRT"

    def __init__(self, content: bytes, shape: list[int], arena: int) -> None:
        from ai_edge_litert.interpreter import Interpreter

        self._interpreter = Interpreter(model_content=content, num_threads=1)
        given = self._interpreter.get_input_details()[0]
        if list(given["shape"]) != shape:
            self._interpreter.resize_tensor_input(given["index"], shape)
        self._interpreter.allocate_tensors()

    def run(self, values: bytes, shape: list[int]) -> bytes:
        given, made = self._interpreter.get_input_details()[0], self._interpreter.get_output_details()[0]
        self._interpreter.set_tensor(given["index"], np.frombuffer(values, given["dtype"]).reshape(shape))
        self._interpreter.invoke()
        scores: np.ndarray = self._interpreter.get_tensor(made["index"])[0]
        return scores.tobytes()

    def arena(self) -> bytes:
        raise NotImplementedError


class Micro:
    """The interpreter of microcontrollers. It says why something fails on `stderr`, not in its errors."""

    called = "TensorFlow Lite Micro"

    def __init__(self, content: bytes, shape: list[int], arena: int) -> None:
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
        return scores.tobytes()

    def arena(self) -> bytes:
        """`total head tail`, in bytes, after a run."""
        self._said.truncate(0)
        self._interpreter.print_allocations()
        found = dict(_ARENA.findall(self._so_far()))
        return " ".join(found[part] for part in ("total", "head", "tail")).encode()

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
