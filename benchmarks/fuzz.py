"""Readers under mutated files: what is refused, what is accepted, and what goes wrong.

    python benchmarks/fuzz.py FILE... --reader tflite --minutes 60

Mutates files at the level of fields (a scale, an index, a length, a shape) and of bytes, and reads each in a process of
its own with limits: 10 seconds and 2 GB. A `RequestError` is a refusal; any other exception is a traceback, and with it
the file is kept in `--keep`. A reader is a row of `READERS`. Seeded: the same files and seed give the same inputs.
"""

import argparse
import os
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

SECONDS, MEMORY = 10, 2 * 10**9  # beyond them: a timeout; an input that takes too much memory
OUTCOMES = ("accepted", "refused", "traceback", "crash", "timeout")
_NUMBERS = (0, 1, -1, 2, 7, 127, 128, 255, 256, 9999, 2**15, 2**16, 2**24, 2**31 - 1, -(2**31))
_REALS = (0.0, -0.0, -1.0, 1e-45, 1e-38, 1e38, float("inf"), float("nan"), -3e9, 0.5)


@dataclass(frozen=True)
class Reader:
    """What is attacked.

    Attributes:
        ending: of the files.
        read: opens and uses a file; raises a `RequestError` for what it refuses.
        mutate: a file's content, changed at the level of its fields.
    """

    ending: str
    read: Callable[[Path], object]
    mutate: Callable[[bytes, random.Random], bytes]


def mutate_bytes(content: bytes, draw: random.Random) -> bytes:
    """Flips, overwrites, cuts, inserts or repeats bytes."""
    changed = bytearray(content)
    for _ in range(draw.choice((1, 1, 1, 2, 4, 16))):
        place, length = draw.randrange(max(1, len(changed))), draw.choice((1, 2, 4, 4, 8))
        kind = draw.randrange(6)
        if kind == 0 and changed:
            changed[place] ^= 1 << draw.randrange(8)
        elif kind == 1:
            changed[place : place + length] = draw.randbytes(length)
        elif kind == 2:
            changed[place : place + 4] = (draw.choice(_NUMBERS) % 2**32).to_bytes(4, "little")
        elif kind == 3:
            del changed[place : place + draw.choice((1, 4, 100, len(changed)))]
        elif kind == 4:
            changed[place:place] = draw.randbytes(length)
        else:
            other = draw.randrange(max(1, len(changed)))
            changed[place : place + length] = changed[other : other + length]
    return bytes(changed)


def mutate_tflite(content: bytes, draw: random.Random) -> bytes:
    """Changes fields of the flatbuffer by its schema; labels and facts behind it stay, without their digest."""
    import flatbuffers
    from ai_edge_litert import schema_py_generated as schema

    from recipes.tflite import metadata

    texts: dict[str, str] = {}
    if b"PK\x03\x04" in content:
        texts, end = metadata.attached_files(content, "seed")
        content = content[:end]
        texts = {name: text for name, text in texts.items() if name == "labels.txt" or draw.random() < 0.1}
    model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(content, 0))
    for _ in range(draw.choice((1, 1, 1, 2, 3))):
        _mutate_field(model, draw)
    builder = flatbuffers.Builder(len(content) + 1024)
    builder.Finish(model.Pack(builder), file_identifier=b"TFL3")
    packed = bytes(builder.Output())
    return metadata.append_files(packed, texts) if texts else packed


def _mutate_field(model: Any, draw: random.Random) -> None:
    graph = model.subgraphs[0]
    owners = [
        graph.tensors,
        graph.operators,
        model.buffers,
        model.operatorCodes,
        model.metadata or [],
        [graph],
        [model],
    ]
    owner = draw.choice(draw.choice([kind for kind in owners[:4] * 3 + owners if kind]))
    for name in ("quantization", "builtinOptions"):
        if getattr(owner, name, None) is not None and draw.random() < 0.6:
            owner = getattr(owner, name)
    names = [name for name, value in vars(owner).items() if _is_plain(value)]
    if not names:
        return
    name = draw.choice(names)
    setattr(owner, name, _changed(getattr(owner, name), draw))


def _is_plain(value: object) -> bool:
    return isinstance(value, bool | int | float | bytes | np.ndarray) or (
        isinstance(value, list) and all(isinstance(entry, int | float) for entry in value)
    )


def _changed(value: Any, draw: random.Random) -> Any:
    if isinstance(value, bool):
        return not value
    if isinstance(value, int):
        return draw.choice((value + 1, value - 1, draw.randrange(32), draw.choice(_NUMBERS))) % 128
    if isinstance(value, float):
        return draw.choice(_REALS)
    if isinstance(value, bytes):
        return draw.choice((b"", value * 2, draw.randbytes(5)))
    values = np.array(value)
    kind = draw.randrange(5)
    if kind == 0 or not values.size:
        return values[: draw.randrange(values.size + 1)]
    if kind == 1:
        return np.concatenate([values, values[: draw.choice((1, values.size))]])
    place = draw.randrange(values.size)
    if values.dtype.kind == "f":
        values[place] = draw.choice(_REALS)
    else:
        limits = np.iinfo(values.dtype)
        near = int(values[place]) + draw.choice((-1, 1))
        values[place] = min(max(draw.choice((near, draw.randrange(32), *_NUMBERS)), limits.min), limits.max)
    return values


def read_tflite(path: Path) -> None:
    """Inspects a file and runs it in this very process: what commands leave to a child of theirs."""
    from recipes.tflite import TFLiteFile, inspect

    inspect(path)
    file = TFLiteFile(path)
    file.predict(np.random.default_rng(0).integers(0, 256, (1, *file.input_shape), np.uint8))


READERS = {"tflite": Reader(".tflite", read_tflite, mutate_tflite)}


def attack(
    reader: Reader,
    seeds: Sequence[bytes],
    *,
    inputs: int = 2**62,
    minutes: float = 1e9,
    seed: int = 0,
    keep: Path | None = None,
) -> Counter[str]:
    """Mutates and reads until there were enough inputs, or the time is over; returns how often each outcome came.

    Args:
        keep: a folder for the files of tracebacks, crashes and timeouts.
    """
    counts: Counter[str] = Counter()
    until = time.monotonic() + 60 * minutes
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, f"mutated{reader.ending}")
        for number in range(inputs):
            if time.monotonic() > until:
                break
            draw = random.Random(f"{seed} {number}")
            content = draw.choice(seeds)
            try:
                changed = (reader.mutate if draw.random() < 0.75 else mutate_bytes)(content, draw)
            except Exception:  # a value that cannot be written
                counts["not written"] += 1
                continue
            path.write_bytes(changed)
            outcome, why = _outcome(reader, path)
            counts[outcome] += 1
            if outcome not in OUTCOMES[:2]:
                print(f"input {number}: {outcome} {why}", flush=True)
                if keep:
                    keep.mkdir(parents=True, exist_ok=True)
                    (keep / f"{outcome}-{seed}-{number}{reader.ending}").write_bytes(changed)
    return counts


def _outcome(reader: Reader, path: Path) -> tuple[str, str]:
    """What comes of one file, read in a forked process, and a word on it."""
    receive, send = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(receive)
        code = 70
        try:
            code = _read_limited(reader, path, send)
        finally:
            os._exit(code)
    os.close(send)
    with os.fdopen(receive, "rb") as told:
        why = told.read().decode("utf-8", "replace")
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        name = signal.Signals(os.WTERMSIG(status)).name
        return ("timeout" if name == "SIGXCPU" else "crash"), name
    return {0: "accepted", 2: "refused"}.get(os.WEXITSTATUS(status), "traceback"), why


def _read_limited(reader: Reader, path: Path, send: int) -> int:
    import resource

    from zoo.errors import FailureError, RequestError

    with open("/proc/self/statm") as pages:
        before = int(pages.read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (before + MEMORY, before + MEMORY))
    resource.setrlimit(resource.RLIMIT_CPU, (SECONDS, SECONDS))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    try:
        reader.read(path)
    except (RequestError, FailureError) as error:
        if "\n" in str(error):
            os.write(send, b"a message of several lines")
            return 1
        return 2
    except BaseException as error:
        os.write(send, f"{type(error).__name__}: {error}"[:300].encode("utf-8", "replace"))
        return 1
    return 0


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("files", nargs="+", type=Path, help="good files, to be mutated")
    parser.add_argument("--reader", choices=READERS, required=True)
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--keep", type=Path, help="a folder for files that something went wrong with")
    arguments = parser.parse_args()
    reader = READERS[arguments.reader]
    seeds = [file.read_bytes() for file in arguments.files]
    for file in arguments.files:  # what is good must be accepted; and modules are loaded before the first fork
        reader.read(file)
    counts = attack(reader, seeds, minutes=arguments.minutes, seed=arguments.seed, keep=arguments.keep)
    total = sum(counts[outcome] for outcome in OUTCOMES)
    print(
        f"{arguments.reader}: {total:,} inputs; " + ", ".join(f"{counts[outcome]:,} {outcome}" for outcome in OUTCOMES)
    )
    sys.exit(bool(counts["traceback"] + counts["crash"] + counts["timeout"]))


if __name__ == "__main__":
    main()
