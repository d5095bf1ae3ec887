"""A graph run in a process of its own, with limits: a file of unknown origin takes that process down at most.

The child (`recipes.tflite.child`) is given the content of a file, the shape of its input, and images, all as bytes; it
answers with bytes.
"""

import os
import selectors
import signal
import struct
import subprocess
import sys
import weakref
from pathlib import Path

import numpy as np

from recipes.tflite import child
from recipes.tflite.child import FAULT, HEAD, receive, send
from zoo.errors import RequestError

MEMORY = 3 * 2**30  # bytes of address space for the child, and `PER_BYTE` times the file's size
PER_BYTE = 4
SECONDS = 5.0  # of processor time for one image
SECONDS_PER_MAC = 2e-8  # more of it for each multiply-add; the slowest kernels do 10⁸ of them a second
_PATIENCE = 10  # times as much on the clock, where others use the machine, too


class Isolated:
    """A file's interpreter in a child process, which starts at once and is given the file with its first image.

    Args:
        path: the file, for messages.
        content: what is in it.
        shape: (1, H, W, C) of the input, to which a file that takes any size is set.
        macs: multiply-adds for one image; time is allowed accordingly.
        micro_arena: bytes of arena, to run it in TensorFlow Lite Micro; 0 for LiteRT.
    """

    def __init__(self, path: Path, content: bytes, shape: tuple[int, ...], macs: int, *, micro_arena: int = 0) -> None:
        self._path, self._content, self._shape, self._micro_arena = path, content, shape, micro_arena
        self._seconds = SECONDS + SECONDS_PER_MAC * macs
        # The parent may know its modules from a list of places that was changed while it ran.
        places = os.pathsep.join(place or os.getcwd() for place in sys.path)
        self._process = subprocess.Popen(
            [sys.executable, "-c", f"import runpy; runpy.run_path({child.__file__!r})['serve']()"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=os.environ | {"PYTHONPATH": places, "OPENBLAS_NUM_THREADS": "1"},
        )
        self._told = False
        weakref.finalize(self, _end, self._process)

    def run(self, values: np.ndarray, dtype: str) -> np.ndarray:
        """The output (classes,) of `dtype` for an input (1, H, W, C).

        Raises:
            RequestError: the file crashes the interpreter, takes more memory or time than it may, or is refused by it.
        """
        return np.frombuffer(self._answer(np.ascontiguousarray(values).tobytes()), dtype, offset=1)

    def ask(self) -> str:
        """What the interpreter tells of its arena, see `recipes.tflite.child`; raises as `run`."""
        return self._answer(b"")[1:].decode()

    def _answer(self, message: bytes) -> bytes:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            if not self._told:
                limit = MEMORY + PER_BYTE * len(self._content) + self._micro_arena
                send(self._process.stdin, struct.pack(HEAD, limit, self._seconds, self._micro_arena, *self._shape))
                send(self._process.stdin, self._content)
                self._told = True
            send(self._process.stdin, message)
            self._process.stdin.flush()
            if sys.platform != "win32":  # which cannot wait for a pipe
                with selectors.DefaultSelector() as answers:  # not `select`, which knows 1,024 open files
                    answers.register(self._process.stdout, selectors.EVENT_READ)
                    if not answers.select(30 + _PATIENCE * self._seconds):
                        raise RequestError(f"{self._path} takes too long to run: stopped.")
            answer = receive(self._process.stdout)
        except (EOFError, OSError):
            raise RequestError(f"{self._path} cannot be run: {self._end_of_child()}.") from None
        if answer[:1] == FAULT:
            raise RequestError(f"{self._path} cannot be run: {answer[1:].decode('utf-8', 'replace')}")
        return answer

    def _end_of_child(self) -> str:
        code = self._process.wait()
        if code == -getattr(signal, "SIGXCPU", 0):
            return f"it takes more than {self._seconds:.0f} seconds for an image"
        name = signal.Signals(-code).name if code < 0 else f"exit code {code}"
        if self._micro_arena:
            return f"TensorFlow Lite Micro crashes ({name})"
        return f"LiteRT crashes ({name}); the file is damaged, or was made to do so"


def _end(process: "subprocess.Popen[bytes]") -> None:
    process.kill()
    for stream in (process.stdin, process.stdout):
        try:
            if stream:
                stream.close()
        except OSError:  # what was not sent yet
            pass
    process.wait()
