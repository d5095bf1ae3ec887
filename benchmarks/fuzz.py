"""Readers under mutated files: what is refused, what is accepted, and what goes wrong.

    python benchmarks/fuzz.py --minutes 60                              # every reader in turn
    python benchmarks/fuzz.py FILE... --reader tflite --minutes 60      # beginning with good files of your own

Mutates files at the level of what they are made of (a field, a key, a cell, a header, a link) and of bytes, and reads
each in a process of its own with limits: 10 seconds and 2 GB. A `RequestError` or a `FailureError` of one line is a
refusal; any other exception is a traceback, and with it the input is kept in `--keep`. What is attacked is in
`fuzz_readers.py`, what is done to files in `fuzz_mutations.py`. Seeded: the same seed gives the same inputs.
"""

import argparse
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from fuzz_mutations import mutate_bytes, mutate_folder, mutation_of
from fuzz_readers import READERS, Reader

SECONDS, MEMORY = 10, 2 * 10**9  # beyond them: a hang; an input that takes too much memory
GOOD = ("accepted", "refused")
BAD = ("traceback", "crash", "hang", "memory")


@dataclass
class Counts:
    """What came of the inputs of one reader.

    Attributes:
        outcomes: how often each of `GOOD` and `BAD` came.
        slowest: seconds of the slowest input.
        peak: bytes that the largest input took, beyond what was taken before.
    """

    outcomes: dict[str, int] = field(default_factory=lambda: dict.fromkeys((*GOOD, *BAD), 0))
    slowest: float = 0.0
    peak: int = 0

    @property
    def inputs(self) -> int:
        return sum(self.outcomes.values())

    @property
    def bad(self) -> int:
        return sum(self.outcomes[outcome] for outcome in BAD)

    def __str__(self) -> str:
        told = ", ".join(f"{count:,} {outcome}" for outcome, count in self.outcomes.items())
        return f"{self.inputs:,} inputs: {told}; slowest {self.slowest:.1f} s, peak {self.peak / 1e6:,.0f} MB"


def attack(
    reader: Reader,
    seeds: Sequence[Path],
    *,
    inputs: int = 2**62,
    minutes: float = 1e9,
    seed: int = 0,
    keep: Path | None = None,
) -> Counts:
    """Mutates and reads until there were enough inputs, or the time is over.

    Args:
        seeds: good files or folders.
        keep: a folder for the inputs that something went wrong with.
    """
    counts = Counts()
    until = time.monotonic() + 60 * minutes
    number = 0
    while counts.inputs < inputs and time.monotonic() < until:
        number += 1
        draw = random.Random(f"{seed} {number}")
        good = draw.choice(seeds)
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, good.name)
            try:
                _mutate(reader, good, path, draw)
            except Exception:  # a value that cannot be written
                continue
            outcome, why, seconds, taken = read_apart(reader, path)
            counts.outcomes[outcome] += 1
            counts.slowest, counts.peak = max(counts.slowest, seconds), max(counts.peak, taken)
            if outcome in BAD:
                print(f"input {number} of {good.name}: {outcome} {why}", flush=True)
                if keep:
                    _keep(path, keep / f"{outcome}-{seed}-{number}-{good.name}")
    return counts


def _mutate(reader: Reader, good: Path, path: Path, draw: random.Random) -> None:
    if good.is_dir():
        shutil.copytree(good, path)
        mutate_folder(path, draw)
        return
    mutate = mutation_of(good.name) if draw.random() < 0.75 else mutate_bytes
    path.write_bytes(mutate(good.read_bytes(), draw))


def _keep(path: Path, to: Path) -> None:
    to.parent.mkdir(parents=True, exist_ok=True)
    if path.is_dir():
        shutil.rmtree(to, ignore_errors=True)
        fifos = [entry for entry in path.rglob("*") if entry.is_fifo()]
        shutil.copytree(path, to, symlinks=True, ignore=lambda *_: [fifo.name for fifo in fifos])
    else:
        shutil.copyfile(path, to)


def read_apart(reader: Reader, path: Path) -> tuple[str, str, float, int]:
    """What comes of one input, read in a forked process: the outcome, a word on it, seconds, and bytes of memory."""
    receive, send = os.pipe()
    began = time.monotonic()
    child = os.fork()
    if child == 0:
        os.close(receive)
        os.setpgid(0, 0)
        code = 70
        try:
            os.write(send, _resident().to_bytes(8, "little"))
            code = _read_limited(reader, path, send)
        finally:
            os._exit(code)
    os.close(send)
    status, usage = _waited(child)
    with os.fdopen(receive, "rb") as told:
        before = int.from_bytes(told.read(8), "little")
        why = told.read().decode("utf-8", "replace")
    seconds, taken = time.monotonic() - began, max(0, 1024 * usage.ru_maxrss - before)
    if status is None:
        return "hang", why, seconds, taken
    if os.WIFSIGNALED(status):
        name = signal.Signals(os.WTERMSIG(status)).name
        return ("hang" if name == "SIGXCPU" else "crash"), name, seconds, taken
    outcome = {0: "accepted", 2: "refused", 3: "memory"}.get(os.WEXITSTATUS(status), "traceback")
    return ("memory" if taken > MEMORY else outcome), why, seconds, taken


def _waited(child: int) -> "tuple[int | None, os.struct_rusage]":
    """How a process ended, None if it had to be ended; it has as much time again, as others may be computing."""
    until, pause = time.monotonic() + 3 * SECONDS, 0.0005
    while time.monotonic() < until:
        pid, status, usage = os.wait4(child, os.WNOHANG)
        if pid:
            return status, usage
        time.sleep(pause)
        pause = min(0.02, 1.5 * pause)
    os.killpg(child, signal.SIGKILL)
    return None, os.wait4(child, 0)[2]


def _resident() -> int:
    with open("/proc/self/statm") as pages:
        return int(pages.read().split()[1]) * os.sysconf("SC_PAGESIZE")


def _read_limited(reader: Reader, path: Path, send: int) -> int:
    import resource

    from zoo.errors import FailureError, RequestError

    with open("/proc/self/statm") as pages:
        before = int(pages.read().split()[0]) * resource.getpagesize()
    room = MEMORY + 4 * MEMORY * reader.starts_threads  # each thread is given addresses that it does not use
    resource.setrlimit(resource.RLIMIT_AS, (before + room, before + room))
    resource.setrlimit(resource.RLIMIT_CPU, (SECONDS, SECONDS))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    try:
        reader.read(path)
    except (RequestError, FailureError) as error:
        if "\n" in str(error):
            os.write(send, b"a message of several lines")
            return 1
        if len(str(error)) > 2000:
            os.write(send, f"a message of {len(str(error)):,} characters".encode())
            return 1
        return 2
    except MemoryError as error:
        os.write(send, f"MemoryError: {error}".encode("utf-8", "replace"))
        return 3
    except BaseException as error:
        os.write(send, f"{type(error).__name__}: {error}"[:300].encode("utf-8", "replace"))
        return 1
    return 0


def prepared(reader: Reader, folder: Path) -> list[Path]:
    """Good inputs, made in a process of its own: TensorFlow's threads do not survive a fork."""
    folder.mkdir(parents=True)
    if reader.starts_threads:
        import keras  # noqa: F401  # loaded before the first fork, and not used: every process begins its own threads
        import tensorflow_datasets  # noqa: F401

        child = os.fork()
        if child == 0:
            code = 1
            try:
                reader.seeds(folder)
                code = 0
            finally:
                os._exit(code)
        assert os.waitpid(child, 0)[1] == 0, "no good inputs could be made"
    else:
        reader.seeds(folder)
    made = sorted(folder.iterdir())
    for path in made:
        if reader.starts_threads:
            outcome, why, *_ = read_apart(reader, path)
            assert outcome == "accepted", (path, outcome, why)
        else:
            reader.read(path)  # in here: what it imports is loaded before the first fork
    return made


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("files", nargs="*", type=Path, help="good files, to be mutated, of the one reader")
    parser.add_argument("--reader", choices=READERS, nargs="+", help="those to attack; all but tflite if not named")
    parser.add_argument("--minutes", type=float, default=1e9, help="for each reader")
    parser.add_argument("--inputs", type=int, default=2**62, help="for each reader")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--keep", type=Path, help="a folder for inputs that something went wrong with")
    arguments = parser.parse_args()
    names = arguments.reader or [name for name, reader in READERS.items() if reader.seeds]
    bad = 0
    with tempfile.TemporaryDirectory() as folder:
        os.environ["CONVZOO_CACHE"] = f"{folder}/cache"
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
        for name in names:
            reader = READERS[name]
            if arguments.files:
                seeds = arguments.files
                for file in seeds:
                    reader.read(file)
            else:
                seeds = prepared(reader, Path(folder, name))
            counts = attack(
                reader,
                seeds,
                inputs=arguments.inputs,
                minutes=arguments.minutes,
                seed=arguments.seed,
                keep=arguments.keep and arguments.keep / name,
            )
            print(f"{name}: {counts}", flush=True)
            bad += counts.bad
    sys.exit(bool(bad))


if __name__ == "__main__":
    main()
