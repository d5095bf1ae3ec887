"""A command in a process of its own, and what it took."""

import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

ZOO = [sys.executable, "-m", "cli"]  # what stands before the words of a command


@dataclass(frozen=True)
class Finished:
    """A process that has ended.

    Attributes:
        code: its exit code; negative, the signal that ended it.
        seconds: of the clock, from start to end.
        processors: seconds of processors.
        mebibytes: the largest resident set.
        errors: what it wrote to stderr.
    """

    code: int
    seconds: float
    processors: float
    mebibytes: float
    errors: str

    @property
    def last_line(self):
        """Of its errors; empty where there are none."""
        return (self.errors.strip().splitlines() or [""])[-1]


def finished(command, **given):
    """Runs a command to its end; `given` as to `subprocess.Popen`, stdout goes nowhere if it is left out."""
    given = {"stdout": subprocess.DEVNULL, "text": True, "errors": "replace"} | given
    began = time.perf_counter()
    process = subprocess.Popen(command, stderr=subprocess.PIPE, **given)
    errors = process.stderr.read()
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - began
    process.returncode = os.waitstatus_to_exitcode(status)
    return Finished(process.returncode, seconds, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024, errors)


def zoo(*arguments, **given):
    """What a `zoo` command prints, `given` as to `subprocess.run`; ends this program where it fails."""
    command = [*ZOO, *map(str, arguments)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, **given)
    if done.returncode:
        sys.exit(f"{' '.join(command)} ended with code {done.returncode}")
    return done.stdout


def answer(*arguments):
    """What a `zoo` command says with `--json`, as objects, and its seconds."""
    began = time.perf_counter()
    return json.loads(zoo(*arguments, "--json")), time.perf_counter() - began


def peak(start, task, **environment):
    """Megabytes that a new Python process holds at most after the lines of `start`, and after those of `task` too."""
    # Of this process alone, since it began: what `getrusage` tells includes the process that started it.
    end = "print([line.split()[1] for line in open('/proc/self/status') if line.startswith('VmHWM')][0])"
    peaks = []
    for lines in ((start, end), (start, task, end)):
        done = subprocess.run(
            [sys.executable, "-c", "\n".join(lines)],
            cwd=Path(__file__).parents[1],
            env=os.environ | environment,
            capture_output=True,
            text=True,
            check=True,
        )
        peaks.append(float(done.stdout) / 1024)
    return peaks
