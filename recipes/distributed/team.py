"""Several processes, on one machine or many, that train one model together: who they are and what they tell each other.

Every worker is started with the same command and a `TF_CONFIG` of its own, which Kubernetes, Slurm and Ray can set.
The first of them is the chief: it alone reads and writes the run. What the others must know it sends them, so that no
folder has to be shared.
"""

import contextlib
import functools
import json
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from recipes.distributed.devices import Gpu, chosen, of_this_machine, on_each, use_only, visible_gpus
from recipes.support.quiet import native_output_hidden
from zoo.backend import tf
from zoo.errors import FailureError, RequestError, first_line, nearest

GONE = "another worker is gone"
AT_ONCE = 2**22  # numbers that are sent in one piece
ROLES = ("chief", "worker")
EXAMPLE = '{"cluster": {"worker": ["one:2222", "two:2222"]}, "task": {"type": "worker", "index": 0}}'


@dataclass(frozen=True)
class Team:
    """This process and those that it trains with; `Team()` is one process on one device.

    Attributes:
        addresses: host:port of every worker, the chief's first; empty for one process.
        rank: which of them this is; 0 is the chief.
        strategy: what spreads a step over devices; None for one device.
    """

    addresses: tuple[str, ...] = ()
    rank: int = 0
    strategy: "tf.distribute.Strategy | None" = None

    @property
    def is_chief(self) -> bool:
        return self.rank == 0

    @property
    def size(self) -> int:
        """How many processes."""
        return max(len(self.addresses), 1)

    @property
    def replicas(self) -> int:
        """Devices of all workers."""
        return self.strategy.num_replicas_in_sync if self.strategy else 1

    @property
    def gpus(self) -> tuple[Gpu, ...]:
        """Those of this process; none where it trains on a CPU."""
        return visible_gpus()[: self.replicas // self.size]

    @property
    def devices(self) -> tuple[str, ...]:
        """TensorFlow's names of those of this process that share its rows; empty where it has only one."""
        names = self.strategy.extended.worker_devices if self.strategy else ()
        return tuple(names) if len(names) > 1 else ()

    def sum(self, values: np.ndarray) -> np.ndarray:
        """The sum of what all workers give, float32 or int32 of one shape.

        Raises:
            FailureError: a worker is gone.
        """
        if self.strategy is None or self.size == 1:
            return values
        with self.errors_joined():
            totals = _summation(self.strategy, self.replicas // self.size)(tf.constant(values))
            total: np.ndarray = self.strategy.experimental_local_results(totals)[0].numpy()
            return total

    def from_chief(self, message: bytes) -> bytes:
        """The chief's message, whatever the others gave.

        Raises:
            FailureError: a worker is gone.
        """
        if self.size == 1:
            return message
        mine = message if self.is_chief else b""
        length = int(self.sum(np.array([len(mine)], np.int32))[0])
        words = np.zeros(-(-length // 4), np.int32)
        words.view(np.uint8)[: len(mine)] = np.frombuffer(mine, np.uint8)
        return self.sum(words).tobytes()[:length] if length else b""

    def share(self, count: int) -> slice:
        """Which of so many rows are this worker's: consecutive ones, as many as any other's, or one more."""
        return slice(count * self.rank // self.size, count * (self.rank + 1) // self.size)

    def in_shares(self, count: int, compute: Callable[[slice], np.ndarray]) -> np.ndarray:
        """What is computed of so many rows, of which every device of every worker computes its share; each worker is
        given the whole.

        Args:
            count: how many rows there are, at least one.
            compute: gives the array (n, ...) of a slice of n rows; the shape and dtype of a row are the same for all.
                Where there are several `devices`, it is called as `recipes.distributed.devices.on_each` says.

        Raises:
            FailureError: a worker is gone.
        """
        if self.size == 1:
            return on_each(self.devices, slice(0, count), compute)
        mine = self.share(count)
        part = on_each(self.devices, mine, compute) if mine.start < mine.stop else compute(slice(0, 1))[:0]
        whole = np.zeros((count, *part.shape[1:]), part.dtype)
        whole[mine] = part
        words = np.zeros(-(-whole.nbytes // 4), np.int32)  # sums of bits with zeros, which no rounding touches
        words.view(np.uint8)[: whole.nbytes] = whole.reshape(-1).view(np.uint8)
        for start in range(0, len(words), AT_ONCE):
            words[start : start + AT_ONCE] = self.sum(words[start : start + AT_ONCE])
        return words.view(np.uint8)[: whole.nbytes].view(part.dtype).reshape(whole.shape)

    def lead(self, run: str, recipe: Mapping[str, Any], split_table: bytes | None) -> None:
        """Says, as the chief, what is trained, which is what `task_of_chief` gives the others."""
        table = None if split_table is None else split_table.decode("utf-8")
        self.from_chief(json.dumps({"run": run, "recipe": recipe, "split_table": table}).encode())

    def task_of_chief(self) -> Any:
        """What the chief says, as JSON, that all are to do.

        Raises:
            FailureError: it failed instead.
        """
        message = self.from_chief(b"")
        if not message:
            raise FailureError(f"the chief ({self.addresses[0]}) did not begin; its own output says why.")
        return json.loads(message)

    @contextlib.contextmanager
    def told(self) -> Iterator[None]:
        """Tells the others, which wait for `from_chief`, when the chief fails in the block instead of sending."""
        try:
            yield
        except (RequestError, FailureError):
            self.from_chief(b"")
            raise

    @contextlib.contextmanager
    def together(self) -> Iterator[None]:
        """Nobody leaves the block before all are through it.

        Raises:
            FailureError: another worker failed in the block.
        """
        try:
            yield
        except (RequestError, FailureError):
            self.sum(self._flag(1))
            raise
        failed = np.flatnonzero(self.sum(self._flag(0)))
        if len(failed):
            raise FailureError(f"worker {failed[0]} ({self.addresses[failed[0]]}) failed; its own output says why.")

    def _flag(self, value: int) -> np.ndarray:
        flag: np.ndarray = np.eye(self.size, dtype=np.int32)[self.rank] * value
        return flag

    def check_same(self, what: str, digest: int) -> None:
        """Has all workers compare a number of 31 bits.

        Raises:
            FailureError: it is not the chief's everywhere.
        """
        digests = self.sum(self._flag(digest))
        other = np.flatnonzero(digests != digests[0])
        if len(other):
            raise FailureError(f"worker {other[0]} ({self.addresses[other[0]]}) has another {what} than the chief.")

    @contextlib.contextmanager
    def errors_joined(self) -> Iterator[None]:
        """Converts the many errors that the loss of a worker shows itself by into one.

        Raises:
            FailureError: a worker is gone.
        """
        if self.size == 1:
            yield
            return
        try:
            yield
        except (
            tf.errors.UnavailableError,
            tf.errors.AbortedError,
            tf.errors.CancelledError,
            tf.errors.DeadlineExceededError,
            tf.errors.FailedPreconditionError,
        ) as error:
            raise LostWorkerError(f"{GONE}; its own output may say why.") from error


ALONE = Team()


@functools.cache
def _summation(strategy: "tf.distribute.Strategy", local: int) -> "Callable[[tf.Tensor], tf.Tensor]":
    """A function that adds up a vector over workers with `local` devices each."""

    def total(mine: tf.Tensor) -> tf.Tensor:
        context = tf.distribute.get_replica_context()
        counts = context.replica_id_in_sync_group % local == 0  # a worker with several devices gives once
        return context.all_reduce(tf.distribute.ReduceOp.SUM, tf.where(counts, mine, tf.zeros_like(mine)))

    compiled: Callable[[tf.Tensor], tf.Tensor] = tf.function(
        lambda mine: strategy.run(total, args=(mine,)), reduce_retracing=True
    )
    return compiled


class LostWorkerError(FailureError):
    """A worker was killed, failed, or lost its connection."""


def join(devices: str = "1") -> Team:
    """The team that this process was started for, once all of it is there.

    Args:
        devices: of this machine that take part, see `recipes.distributed.devices.chosen`.

    Raises:
        RequestError: a `TF_CONFIG` or a number of devices that is not possible.
        FailureError: the other workers were not found.
    """
    addresses, rank = read_place(os.environ)
    if len(addresses) < 2:
        return _on_one_machine(devices)

    taken = chosen(devices, visible_gpus(), 1)  # logical devices must not be asked for before the strategy
    use_only(taken if isinstance(taken, list) else [], devices)
    try:
        with native_output_hidden():
            strategy = tf.distribute.MultiWorkerMirroredStrategy()
    except (tf.errors.OpError, RuntimeError) as error:
        raise FailureError(f"worker {rank} did not find the others: {first_line(error)}") from error
    return Team(addresses, rank, strategy)


def check_alone(what: str) -> None:
    """Raises a `RequestError` where `TF_CONFIG` names several workers, for what only one can do."""
    addresses, _ = read_place(os.environ)
    if len(addresses) > 1:
        raise RequestError(f"{what} runs on one machine; TF_CONFIG names {len(addresses)} workers, unset it.")


def _on_one_machine(devices: str) -> Team:
    if devices == "1":  # TensorFlow takes the first by itself, and is not loaded for a request that is refused
        return Team()
    taken = of_this_machine(devices)
    kind, count = ("GPU", len(taken)) if isinstance(taken, list) else ("CPU", taken)
    use_only(taken if isinstance(taken, list) else [], devices)
    if count == 1:
        return Team()
    return Team(strategy=tf.distribute.MirroredStrategy([f"{kind}:{number}" for number in range(count)]))


def read_place(environment: Mapping[str, str]) -> tuple[tuple[str, ...], int]:
    """The addresses of all workers, the chief's first, and which of them is this one's; ((), 0) without a `TF_CONFIG`.

    Raises:
        RequestError: `TF_CONFIG` is not one that a training can go by.
    """
    text = environment.get("TF_CONFIG", "")
    if not text.strip():
        return (), 0
    try:
        config = json.loads(text)
    except json.JSONDecodeError as error:
        raise RequestError(f"TF_CONFIG is not JSON ({error}); an example: {EXAMPLE}.") from None
    cluster = config.get("cluster") if isinstance(config, dict) else None
    if not cluster:
        return (), 0
    roles = _roles(cluster)
    task = config.get("task")
    if not isinstance(task, dict) or not {"type", "index"} <= set(task):
        raise RequestError(f"TF_CONFIG does not say which worker this is; an example: {EXAMPLE}.")
    kind, index = task["type"], task["index"]
    if kind not in roles:
        raise RequestError(_not_allowed("task.type", kind, tuple(roles)))
    if not str(index).isdecimal() or int(index) >= len(roles[kind]):
        raise RequestError(f"TF_CONFIG has task.index={index!r}; allowed: 0 to {len(roles[kind]) - 1}.")
    before = len(roles.get("chief", ())) if kind == "worker" else 0
    return tuple(address for role in roles.values() for address in role), before + int(index)


def _roles(cluster: Any) -> dict[str, list[str]]:
    """The addresses of a cluster by role, the chief first."""
    if not isinstance(cluster, dict):
        raise RequestError(f"TF_CONFIG has no table of addresses in cluster; an example: {EXAMPLE}.")
    for role, addresses in cluster.items():
        if role not in ROLES:
            raise RequestError(_not_allowed("a cluster with", role, ROLES))
        if not isinstance(addresses, list) or not all(_is_address(address) for address in addresses):
            raise RequestError(f"TF_CONFIG has cluster.{role}={addresses!r}; allowed: a list of host:port.")
    roles = {role: cluster[role] for role in ROLES if cluster.get(role)}
    everyone = [address for addresses in roles.values() for address in addresses]
    if twice := next((address for address in everyone if everyone.count(address) > 1), None):
        raise RequestError(f"TF_CONFIG names {twice} more than once; every worker needs an address of its own.")
    if len(roles.get("chief", ())) > 1:
        raise RequestError(f"TF_CONFIG names {len(roles['chief'])} chiefs; allowed: one.")
    return roles


def _is_address(address: Any) -> bool:
    host, _, port = str(address).rpartition(":")
    return isinstance(address, str) and bool(host) and port.isdecimal() and 0 < int(port) < 65536


def _not_allowed(what: str, received: Any, allowed: tuple[str, ...]) -> str:
    return f"TF_CONFIG has {what} {received!r};{nearest(str(received), allowed)} allowed: {', '.join(allowed)}."
