"""A graph run in a process of its own, with limits: a file of unknown origin takes that process down at most.

The child (`recipes.tflite.child`) is given the content of a file, and images with their shape, all as bytes; it answers
with bytes.
"""

import json
import os
import selectors
import signal
import struct
import subprocess
import sys
import weakref
from pathlib import Path
from typing import Any

import numpy as np

from recipes.tflite import child
from recipes.tflite.child import FAULT, HEAD, SHAPE, receive, send
from zoo.errors import RequestError

MEMORY = 3 * 2**30  # bytes of address space for the child, and `PER_BYTE` times the file's size
PER_BYTE = 4
PER_THREAD = 2**28  # its stack, and what it keeps of freed memory
SECONDS = 5.0  # of processor time for one image
SECONDS_PER_MAC = 2e-8  # more of it for each multiply-add; the slowest kernels do 10⁸ of them a second
_PATIENCE = 10  # times as much on the clock, where others use the machine, too


class Isolated:
    """A file's runtime in a child process, which starts at once and is given the file with its first message.

    Args:
        path: the file, for messages.
        content: what is in it.
        macs: multiply-adds for one image; time is allowed accordingly.
        runtime: a name in `recipes.tflite.child.RUNTIMES`.
        threads: of the runtime.
        xnnpack: whether LiteRT hands to XNNPACK what that can run.
        arena: bytes, of TensorFlow Lite Micro.
    """

    def __init__(
        self,
        path: Path,
        content: bytes,
        macs: int,
        *,
        runtime: str = "LiteRT",
        threads: int = 1,
        xnnpack: bool = True,
        arena: int = 0,
    ) -> None:
        self._path, self._content, self._runtime = path, content, runtime
        self._seconds = SECONDS + SECONDS_PER_MAC * macs
        memory = MEMORY + PER_BYTE * len(content) + PER_THREAD * (threads - 1) + arena
        self._head = struct.pack(HEAD, memory, self._seconds * threads, threads, xnnpack, arena, runtime.encode())
        # The parent may know its modules from a list of places that was changed while it ran.
        places = os.pathsep.join(place or os.getcwd() for place in sys.path)
        self._process = subprocess.Popen(
            [sys.executable, "-c", f"import runpy; runpy.run_path({child.__file__!r})['serve']()"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=os.environ | {"PYTHONPATH": places, "OPENBLAS_NUM_THREADS": "1"},
        )
        assert self._process.stdout is not None
        self._answered = _Patient(self._process.stdout.fileno(), 30 + _PATIENCE * self._seconds)
        self._told = False
        weakref.finalize(self, _end, self._process)

    def run(self, values: np.ndarray, dtype: str) -> np.ndarray:
        """The outputs (N, ...) of `dtype`, each flat, for inputs (N, H, W, C), one at a time.

        Raises:
            RequestError: the file crashes the runtime, takes more memory or time than it may, or is refused by it.
        """
        message = struct.pack(SHAPE, *values.shape) + np.ascontiguousarray(values).tobytes()
        answers = [np.frombuffer(answer, dtype) for answer in self._answers(message, len(values))]
        if len({len(answer) for answer in answers}) != 1:
            raise RequestError(f"{self._path} gives images other numbers of scores than others.")
        return np.stack(answers)

    def facts(self) -> dict[str, Any]:
        """What the runtime tells of the file, and what loading it took; `RequestError` as `run`.

        Returns:
            `load_ms`, `first_ms` (of the first image, None before it), `before` and `peak`, bytes of memory that the
            process held before it had the file and at most (None where the system does not tell); of ONNX Runtime also
            `inputs`, `outputs` and `metadata`, of TensorFlow Lite Micro `arena` (`total`, `head` and `tail`).
        """
        (answer,) = self._answers(b"", 1)
        facts: dict[str, Any] = json.loads(answer)
        return facts

    def _answers(self, message: bytes, count: int) -> list[bytes]:
        """What the child answers to a message; it is read whole there before the first answer is written."""
        assert self._process.stdin is not None
        try:
            if not self._told:
                send(self._process.stdin, self._head)
                send(self._process.stdin, self._content)
                self._told = True
            send(self._process.stdin, message)
            self._process.stdin.flush()
            return [self._answer() for _ in range(count)]
        except (EOFError, OSError):  # a `TimeoutError` is told before
            raise RequestError(f"{self._path} cannot be run: {self._end_of_child()}.") from None

    def _answer(self) -> bytes:
        try:
            answer = receive(self._answered)
        except TimeoutError:
            raise RequestError(f"{self._path} takes too long to run: stopped.") from None
        if answer[:1] == FAULT:
            raise RequestError(f"{self._path} cannot be run: {answer[1:].decode('utf-8', 'replace')}")
        return answer[1:]

    def _end_of_child(self) -> str:
        code = self._process.wait()
        if code == -getattr(signal, "SIGXCPU", 0):
            return f"it takes more than {self._seconds:.0f} seconds for an image"
        name = signal.Signals(-code).name if code < 0 else f"exit code {code}"
        if self._runtime == "TensorFlow Lite Micro":  # whose kernels end the process at what they cannot do
            return f"{self._runtime} crashes ({name})"
        return f"{self._runtime} crashes ({name}); the file is damaged, or was made to do so"


class _Patient:
    """What comes out of a pipe, waited for so many seconds; a `TimeoutError` then."""

    def __init__(self, pipe: int, seconds: float) -> None:
        self._pipe, self._seconds, self._left = pipe, seconds, b""

    def read(self, size: int) -> bytes:
        """So many bytes; fewer where the other side is gone."""
        parts = [self._left]
        missing = size - len(self._left)
        while missing > 0:
            if sys.platform != "win32":  # which cannot wait for a pipe
                with selectors.DefaultSelector() as waiting:  # not `select`, which knows 1,024 open files
                    waiting.register(self._pipe, selectors.EVENT_READ)
                    if not waiting.select(self._seconds):
                        raise TimeoutError
            part = os.read(self._pipe, 2**16)
            if not part:
                break
            parts.append(part)
            missing -= len(part)
        content = b"".join(parts)
        self._left = content[size:]
        return content[:size]


def _end(process: "subprocess.Popen[bytes]") -> None:
    process.kill()
    for stream in (process.stdin, process.stdout):
        try:
            if stream:
                stream.close()
        except OSError:  # what was not sent yet
            pass
    process.wait()
