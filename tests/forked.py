"""Processes that begin with TensorFlow imported: forked from one that imported it, which costs 5 s of a processor once.

For tests of what a process does. Those of what it imports, in which order and when, start an interpreter of their own.
The server that is forked from has no threads of TensorFlow yet: those begin with its first operation.
"""

import ctypes
import io
import multiprocessing
import os
import shutil
import subprocess
import sys
import tempfile
import traceback
from pathlib import Path
from types import ModuleType

_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(
    [
        *("cli", "keras", "tensorflow", "recipes.fit", "recipes.finetune", "recipes.tune", "recipes.predict"),
        *("recipes.evaluate.scoring", "recipes.export.handover", "recipes.export.conversion", "recipes.search.trials"),
        *("sklearn.metrics", "ai_edge_litert.interpreter", "matplotlib.figure", "optuna", "mlxtend.data"),
    ]
)


class Process:
    """`python -c PROGRAM ARGUMENTS...`, as `subprocess.Popen` has it."""

    def __init__(self, program, *arguments, cwd=None, env=None):
        self.args = [program, *map(str, arguments)]
        self._folder = Path(tempfile.mkdtemp())
        self._files = [self._folder / name for name in ("stdout", "stderr")]
        self._printed = None
        given = (self.args, str(cwd or Path.cwd()), dict(env or os.environ), list(map(str, self._files)))
        self._process = _CONTEXT.Process(target=_child, args=given)
        self._process.start()
        self.pid = self._process.pid

    def poll(self):
        return self._process.exitcode

    def send_signal(self, number):
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self):
        self._process.kill()

    def communicate(self, timeout=300):
        """What it printed, and what it had to say, when it has ended."""
        self._process.join(timeout)
        if self.poll() is None:
            self.kill()
            self._process.join()
            raise subprocess.TimeoutExpired(self.args, timeout)
        if self._printed is None:
            self._printed = [file.read_text("utf-8") if file.exists() else "" for file in self._files]
            shutil.rmtree(self._folder)
        return self._printed

    def wait(self, timeout=300):
        self.communicate(timeout)
        return self.poll()

    @property
    def returncode(self):
        return self.poll()


def run(program, *arguments, cwd=None, env=None, timeout=300, check=False):
    """As `subprocess.run` has it, with what was printed as text."""
    process = Process(program, *arguments, cwd=cwd, env=env)
    done = subprocess.CompletedProcess(process.args, None, *process.communicate(timeout))
    done.returncode = process.returncode
    if check:
        done.check_returncode()
    return done


def _child(arguments, cwd, environment, files):
    for descriptor, file in zip((1, 2), files, strict=True):
        opened = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(opened, descriptor)
        os.close(opened)
    sys.stdout = io.TextIOWrapper(io.FileIO(1, "w", closefd=False), "utf-8", write_through=True)
    sys.stderr = io.TextIOWrapper(io.FileIO(2, "w", closefd=False), "utf-8", write_through=True)
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(cwd)
    paths = ["", *environment.get("PYTHONPATH", "").split(os.pathsep)]
    sys.path[:0] = [path for path in paths if path not in sys.path]
    program, *rest = arguments
    sys.argv = ["-c", *rest]
    main = sys.modules["__main__"] = ModuleType("__main__")
    try:
        exec(compile(program, "<string>", "exec"), main.__dict__)
        code = 0
    except SystemExit as end:
        code = end.code
        if code is not None and not isinstance(code, int):
            print(code, file=sys.stderr)
            code = 1
    except BaseException:
        traceback.print_exc()
        code = 1
    ctypes.pythonapi.Py_Exit(code or 0)  # as the interpreter ends, which the child of a fork does not of itself
