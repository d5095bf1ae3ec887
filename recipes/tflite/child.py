"""The process in which `recipes.tflite.isolated` runs a file. It imports nothing of this package, to start at once."""

import os
import signal
import struct
import sys
from typing import IO, Any

import numpy as np

ANSWER, FAULT = b"+", b"-"
HEAD = "<Qd4q"  # bytes of memory, seconds for an image, shape of the input


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
    """One file, then images until the parent goes."""
    answers = os.fdopen(os.dup(1), "wb")
    with open(os.devnull, "wb") as nowhere:
        os.dup2(nowhere.fileno(), 1)  # nothing that is printed gets among the answers
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent's to tell
    try:
        memory, seconds, *shape = struct.unpack(HEAD, receive(sys.stdin.buffer))
        content = receive(sys.stdin.buffer)
        interpreter = None
        while True:
            values = receive(sys.stdin.buffer)
            try:
                if interpreter is None:
                    interpreter = _opened(content, shape, int(memory), seconds)
                answer = ANSWER + _run(interpreter, values, shape, seconds)
            except MemoryError:
                answer = FAULT + b"it takes more memory than it may."
            except Exception as error:
                lines = str(error).strip().splitlines() or [type(error).__name__]
                answer = FAULT + f"LiteRT refuses it: {lines[0][:200]}".encode()
            send(answers, answer)
            answers.flush()
    except (EOFError, OSError):
        return


def _opened(content: bytes, shape: list[int], memory: int, seconds: float) -> Any:
    from ai_edge_litert.interpreter import Interpreter

    _limit(memory, seconds)
    interpreter = Interpreter(model_content=content, num_threads=1)
    given = interpreter.get_input_details()[0]
    if list(given["shape"]) != shape:
        interpreter.resize_tensor_input(given["index"], shape)
    interpreter.allocate_tensors()
    return interpreter


def _run(interpreter: Any, values: bytes, shape: list[int], seconds: float) -> bytes:
    _limit(None, seconds)
    given, made = interpreter.get_input_details()[0], interpreter.get_output_details()[0]
    interpreter.set_tensor(given["index"], np.frombuffer(values, given["dtype"]).reshape(shape))
    interpreter.invoke()
    scores: np.ndarray = interpreter.get_tensor(made["index"])[0]
    return scores.tobytes()


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
