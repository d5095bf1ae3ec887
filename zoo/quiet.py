"""Keeps what native libraries write to the terminal out of the user's sight."""

import contextlib
import os
import sys
from collections.abc import Iterator

from zoo.terminal import open_standard_files


@contextlib.contextmanager
def native_output_hidden() -> Iterator[None]:
    """Discards writes to file descriptors 1 and 2 inside the block.

    TensorFlow's start-up lines, the converter's listing and the interpreter's delegate message come from C++,
    which Python's own redirection does not reach. Errors still arrive as exceptions.
    """
    open_standard_files()
    _flush()
    kept = [os.dup(1), os.dup(2)]
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 1)
        os.dup2(nowhere, 2)
        yield
    finally:
        _flush()
        for descriptor, copy in enumerate(kept, start=1):
            os.dup2(copy, descriptor)
            os.close(copy)
        os.close(nowhere)


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        if stream is not None and not stream.closed:  # a program without a terminal may have none
            stream.flush()
