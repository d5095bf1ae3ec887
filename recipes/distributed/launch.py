"""Work on several places of a cluster: one command line as a team, each with its `TF_CONFIG`, or calls on their own."""

import json
import logging
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from recipes.distributed.team import GONE, LostWorkerError
from recipes.support.extras import require
from zoo.errors import FailureError, RequestError, first_line
from zoo.plugins import VARIABLE

RETRIES = 3
WAIT_SECONDS = 600  # for the cluster to have room: nobody begins before all can
GRACE_SECONDS = 60  # for the others of a worker that is gone: the chief writes its checkpoint


@dataclass(frozen=True)
class Resumed:
    """How a command line goes on that was stopped.

    Attributes:
        run: the run folder that it makes, as the chief's machine names it.
        arguments: the command line that goes on with the run, once it is there.
    """

    run: Path
    arguments: Sequence[str]


def is_placed() -> bool:
    """Whether this process was started as one of several already."""
    return bool(os.environ.get("TF_CONFIG", "").strip())


def on_ray(arguments: Sequence[str], workers: int, *, retries: int = RETRIES, resumed: Resumed | None = None) -> int:
    """Runs a `zoo` command line as so many workers of a Ray cluster; they are one team.

    What the chief prints comes out here as it is printed. The cluster is the one that `RAY_ADDRESS` names, or one of
    this machine. Each worker takes one CPU, and one GPU where the cluster has as many. A team that loses a worker, by
    its process, its machine or the network, is started anew on what the cluster has then, and waits until it has room.

    Args:
        arguments: what follows `zoo`.
        workers: how many.
        retries: how many more teams are started, at most. A worker that ends with an error of its own is not replaced.
        resumed: how a later team goes on; it begins again if None, or where the run was not begun.

    Returns:
        The exit code: the chief's, or that of the first worker that failed.

    Raises:
        RequestError: Ray is not installed, or the cluster is too small.
        FailureError: the cluster had no room in time, or the last team, too, lost a worker.
    """
    found: list[Any] = []  # what the run folder held before each team
    for left in reversed(range(retries + 1)):
        try:
            with _places(workers, at_once=left == retries) as (ray, placed):
                if resumed:
                    found.append(ray.get(placed(_stamp, 0).remote(os.getcwd(), str(resumed.run))))
                is_begun = resumed and found[-1] and found[-1] != found[0]
                return _run_team(ray, placed, resumed.arguments if resumed and is_begun else arguments, workers)
        except LostWorkerError as error:
            if left:
                words = "one more try" if left == 1 else f"{left} more tries"
                print(f"{error} Starting again, from the last checkpoint if there is one ({words}).", file=sys.stderr)
                continue
            tries = f" This was try {retries + 1} of {retries + 1}." if retries else ""
            way = f" `zoo resume {resumed.run} --launch ray --workers {workers}` goes on." if resumed else ""
            raise FailureError(f"{error}{tries}{way}") from error
    raise AssertionError("the last try returns or raises")


def _stamp(folder: str, run: str) -> tuple[int, int] | None:
    """What tells the recipe of a run from that of another in the same place; None without one."""
    recipe = Path(folder if os.path.isdir(folder) else "", run, "recipe.toml")
    return (recipe.stat().st_ino, recipe.stat().st_mtime_ns) if recipe.is_file() else None


@dataclass(frozen=True)
class _End:
    """How a worker ended: its exit code, the last line that it had to say, and why it is gone if it did not end."""

    rank: int
    code: int
    last: str
    lost: str = ""


def _run_team(ray: Any, placed: Callable[..., Any], arguments: Sequence[str], workers: int) -> int:
    """The exit code of a team.

    Raises:
        LostWorkerError: a worker is gone.
    """
    addresses = ray.get([placed(_free_address, rank).remote() for rank in range(workers)])
    outputs = []
    for rank in range(workers):
        config = {"cluster": {"worker": addresses}, "task": {"type": "worker", "index": rank}}
        environment = {"TF_CONFIG": json.dumps(config), VARIABLE: os.environ.get(VARIABLE, "")}
        task = placed(_output, rank, num_returns="streaming")
        outputs.append(task.remote(list(arguments), environment, os.getcwd()))
    with ThreadPoolExecutor(workers) as threads:
        try:
            ends = _first_ends([threads.submit(_shown, ray, output, rank) for rank, output in enumerate(outputs)])
        finally:
            for output in outputs:  # those that wait for one that is gone
                ray.cancel(output, force=True)
    chief = next((end for end in ends if end.rank == 0), None)
    lost = next((end for end in ends if end.lost), None)
    own = next((end for end in ends if end.code and not end.lost and GONE not in end.last), None)
    if own and not lost:
        if own.rank:
            print(f"worker {own.rank}: {own.last}", end="", file=sys.stderr, flush=True)
        return own.code
    if chief and not chief.code:
        return 0  # nothing is missing any more
    raise LostWorkerError(f"worker {lost.rank} was lost: {lost.lost}." if lost else "the workers lost each other.")


def _first_ends(running: "list[Future[_End]]") -> list[_End]:
    """The ends of all workers; or, once one has failed, of those that end soon."""
    left, failed = set(running), False
    while left and not failed:
        done, left = wait(left, return_when=FIRST_COMPLETED)
        failed = any(end.result().code for end in done)
    wait(left, timeout=GRACE_SECONDS)
    return [end.result() for end in running if end.done()]


def call_on_ray(function: Callable[..., Any], arguments: Sequence[Any], workers: int) -> None:
    """Calls a function on so many workers of a Ray cluster at once, each of which is on its own.

    Raises:
        RequestError, FailureError: as `on_ray`, or by the function.
    """
    with _places(workers) as (ray, placed):
        ray.get([placed(function, rank).remote(*arguments) for rank in range(workers)])


@contextmanager
def _places(workers: int, *, at_once: bool = True) -> Iterator[tuple[Any, Callable[..., Any]]]:
    """Room for so many workers: Ray, and what makes a function one that runs in the place of a rank.

    A cluster that is too small is refused, or waited for if not `at_once`.
    """
    require("--launch ray", "ray", "ray")
    import ray

    ray.init(ignore_reinit_error=True, log_to_driver=False, logging_level=logging.ERROR)
    try:
        yield ray, _reserved(ray, workers, at_once)
    except ray.exceptions.RayTaskError as error:
        if isinstance(error.cause, (RequestError, FailureError)):
            raise error.cause from None
        raise
    except ray.exceptions.RayError as error:
        raise LostWorkerError(f"Ray lost a worker: {first_line(error)}") from error
    finally:
        ray.shutdown()


def _reserved(ray: Any, workers: int, at_once: bool) -> Callable[..., Any]:
    from ray.util.placement_group import placement_group
    from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

    there = ray.cluster_resources()
    if at_once and workers > there.get("CPU", 0):
        raise RequestError(f"workers={workers} is not possible; the Ray cluster has {int(there.get('CPU', 0))} CPUs.")
    gpus = int(there.get("GPU", 0) >= workers)
    group = placement_group([{"CPU": 1, "GPU": gpus} if gpus else {"CPU": 1}] * workers, strategy="SPREAD")
    if not group.wait(WAIT_SECONDS):
        raise FailureError(f"the Ray cluster had no room for {workers} workers in {WAIT_SECONDS} seconds.")

    def placed(task: Any, rank: int, **options: Any) -> Any:
        place = PlacementGroupSchedulingStrategy(placement_group=group, placement_group_bundle_index=rank)
        return ray.remote(task).options(num_cpus=1, num_gpus=gpus, max_retries=0, scheduling_strategy=place, **options)

    return placed


def _shown(ray: Any, output: Iterable[Any], rank: int) -> _End:
    """Passes on what the chief prints as it comes, but for that it lost another."""
    last, code = "", 0
    try:
        for item in map(ray.get, output):
            if isinstance(item, int):
                code = item
                continue
            channel, text = item
            last = text if channel == "stderr" else last
            if rank == 0 and GONE not in text:
                print(text, end="", file=getattr(sys, channel), flush=True)
    except ray.exceptions.RayTaskError:
        raise  # by a fault of ours
    except ray.exceptions.RayError as error:
        return _End(rank, 1, last, lost=first_line(error).rstrip("."))
    return _End(rank, code, last, lost=f"its process was killed by signal {-code}" if code < 0 else "")


def _free_address() -> str:
    import socket

    import ray

    with socket.socket() as free:
        free.bind(("", 0))
        return f"{ray.util.get_node_ip_address()}:{free.getsockname()[1]}"


# A worker of Ray that is killed takes the command with it, which would train on with the others.
_COMMAND = """
import os, sys, threading
threading.Thread(target=lambda: (os.read(0, 1), os._exit(1)), daemon=True).start()
import cli
sys.exit(cli.main())
"""


def _output(arguments: list[str], environment: dict[str, str], folder: str) -> Iterator[Any]:
    """Runs the command; yields ("stderr", line) as they come, then ("stdout", all of it), then the exit code."""
    with tempfile.TemporaryFile("w+", encoding="utf-8") as printed:
        process = subprocess.Popen(
            [sys.executable, "-c", _COMMAND, *arguments],
            env=os.environ | environment,
            cwd=folder if os.path.isdir(folder) else None,  # relative paths mean the same where the folder is shared
            stdin=subprocess.PIPE,
            stdout=printed,
            stderr=subprocess.PIPE,
            text=True,
        )
        with process:
            for line in process.stderr or ():
                yield "stderr", line
            process.wait()  # before its input is closed
        printed.seek(0)
        yield "stdout", printed.read()
    yield process.returncode
