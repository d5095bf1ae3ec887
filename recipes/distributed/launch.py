"""Work on several places of a cluster: one command line as a team, each with its `TF_CONFIG`, or calls on their own."""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from recipes.support.extras import require
from zoo.errors import FailureError, RequestError, first_line
from zoo.plugins import VARIABLE

WAIT_SECONDS = 600  # for the cluster to have room: nobody begins before all can


def is_placed() -> bool:
    """Whether this process was started as one of several already."""
    return bool(os.environ.get("TF_CONFIG", "").strip())


def on_ray(arguments: Sequence[str], workers: int) -> int:
    """Runs a `zoo` command line as so many workers of a Ray cluster; they are one team.

    What the chief prints comes out here as it is printed. The cluster is the one that `RAY_ADDRESS` names, or one of
    this machine. Each worker takes one CPU, and one GPU where the cluster has as many.

    Args:
        arguments: what follows `zoo`.
        workers: how many.

    Returns:
        The exit code: the chief's, or that of the first worker that failed.

    Raises:
        RequestError: Ray is not installed, or the cluster is too small.
        FailureError: the cluster had no room in time, or lost a worker's machine.
    """
    with _places(workers) as (ray, placed):
        addresses = ray.get([placed(_free_address, rank).remote() for rank in range(workers)])
        outputs = []
        for rank in range(workers):
            config = {"cluster": {"worker": addresses}, "task": {"type": "worker", "index": rank}}
            environment = {"TF_CONFIG": json.dumps(config), VARIABLE: os.environ.get(VARIABLE, "")}
            task = placed(_output, rank, num_returns="streaming")
            outputs.append(task.remote(list(arguments), environment, os.getcwd()))
        codes = [_shown(map(ray.get, output), rank) for rank, output in enumerate(outputs)]
    return next((code for code in codes if code), 0)


def call_on_ray(function: Callable[..., Any], arguments: Sequence[Any], workers: int) -> None:
    """Calls a function on so many workers of a Ray cluster at once, each of which is on its own.

    Raises:
        RequestError, FailureError: as `on_ray`, or by the function.
    """
    with _places(workers) as (ray, placed):
        ray.get([placed(function, rank).remote(*arguments) for rank in range(workers)])


@contextmanager
def _places(workers: int) -> Iterator[tuple[Any, Callable[..., Any]]]:
    """Room for so many workers: Ray, and what makes a function one that runs in the place of a rank."""
    require("--launch ray", "ray", "ray")
    import ray

    ray.init(ignore_reinit_error=True, log_to_driver=False, logging_level="error")
    try:
        yield ray, _reserved(ray, workers)
    except ray.exceptions.RayTaskError as error:
        if isinstance(error.cause, (RequestError, FailureError)):
            raise error.cause from None
        raise
    except ray.exceptions.RayError as error:
        raise FailureError(f"Ray lost a worker: {first_line(error)}") from error
    finally:
        ray.shutdown()


def _reserved(ray: Any, workers: int) -> Callable[..., Any]:
    from ray.util.placement_group import placement_group
    from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

    there = ray.cluster_resources()
    if workers > there.get("CPU", 0):
        raise RequestError(f"workers={workers} is not possible; the Ray cluster has {int(there.get('CPU', 0))} CPUs.")
    gpus = int(there.get("GPU", 0) >= workers)
    group = placement_group([{"CPU": 1, "GPU": gpus} if gpus else {"CPU": 1}] * workers, strategy="SPREAD")
    if not group.wait(WAIT_SECONDS):
        raise FailureError(f"the Ray cluster had no room for {workers} workers in {WAIT_SECONDS} seconds.")

    def placed(task: Any, rank: int, **options: Any) -> Any:
        place = PlacementGroupSchedulingStrategy(placement_group=group, placement_group_bundle_index=rank)
        return ray.remote(task).options(num_cpus=1, num_gpus=gpus, max_retries=0, scheduling_strategy=place, **options)

    return placed


def _shown(output: Iterable[Any], rank: int) -> int:
    """Passes on what the chief prints as it comes, and of another worker that fails its last line; the exit code."""
    last, code = "", 0
    for item in output:
        if isinstance(item, int):
            code = item
            continue
        channel, text = item
        last = text if channel == "stderr" else last
        if rank == 0:
            print(text, end="", file=getattr(sys, channel), flush=True)
    if rank and code:
        print(f"worker {rank}: {last}", end="", file=sys.stderr, flush=True)
    return code


def _free_address() -> str:
    import socket

    import ray

    with socket.socket() as free:
        free.bind(("", 0))
        return f"{ray.util.get_node_ip_address()}:{free.getsockname()[1]}"


def _output(arguments: list[str], environment: dict[str, str], folder: str) -> Iterator[Any]:
    """Runs the command; yields ("stderr", line) as they come, then ("stdout", all of it), then the exit code."""
    with tempfile.TemporaryFile("w+", encoding="utf-8") as printed:
        process = subprocess.Popen(
            [sys.executable, "-m", "cli", *arguments],
            env=os.environ | environment,
            cwd=folder if os.path.isdir(folder) else None,  # relative paths mean the same where the folder is shared
            stdout=printed,
            stderr=subprocess.PIPE,
            text=True,
        )
        with process:
            for line in process.stderr or ():
                yield "stderr", line
        printed.seek(0)
        yield "stdout", printed.read()
    yield process.returncode
