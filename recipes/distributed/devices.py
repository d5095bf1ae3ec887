"""The devices of this machine: which there are, which of them are taken, and how they share rows."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from zoo.backend import tf
from zoo.errors import RequestError


@dataclass(frozen=True)
class Gpu:
    """A GPU of this machine.

    Attributes:
        number: among all GPUs of the machine that TensorFlow sees, from 0.
        name: of the card.
        capability: CUDA's compute capability, major and minor; None where it is not known.
    """

    number: int
    name: str = "a GPU"
    capability: tuple[int, int] | None = None


def visible_gpus() -> tuple[Gpu, ...]:
    """The GPUs that TensorFlow uses in this process, in its order; it is not begun by this."""
    every = tf.config.list_physical_devices("GPU")
    found = []
    for device in tf.config.get_visible_devices("GPU"):
        details = tf.config.experimental.get_device_details(device)
        found.append(Gpu(every.index(device), details.get("device_name", "a GPU"), details.get("compute_capability")))
    return tuple(found)


def chosen(devices: str, gpus: Sequence[Gpu], cpus: int) -> list[Gpu] | int:
    """The devices that a text names: GPUs, or how many CPUs.

    Args:
        devices: a number, `all`, `cpu`, or GPUs by number as in `gpu:0,gpu:2`.
        gpus: that are there.
        cpus: how many there are, as TensorFlow counts; all cores are one.

    Raises:
        RequestError: no such device.

    Example:
        >>> [gpu.number for gpu in chosen("gpu:2,gpu:0", [Gpu(0), Gpu(1), Gpu(2)], cpus=1)]
        [2, 0]
        >>> chosen("all", [], cpus=1)
        1
    """
    if devices == "cpu":
        return 1
    count = len(gpus) or cpus
    wanted = str(count) if devices == "all" else devices
    if wanted.isdecimal() and 1 <= int(wanted) <= count:
        return list(gpus[: int(wanted)]) if gpus else int(wanted)
    by_name = {f"gpu:{gpu.number}": gpu for gpu in gpus}
    names = devices.lower().split(",")
    if all(name in by_name for name in names) and len(set(names)) == len(names):
        return [by_name[name] for name in names]
    there = [f"{name} ({gpu.name})" for name, gpu in by_name.items()]
    others = f"cpu, or some of {', '.join(there)}" if gpus else "or cpu; there is no GPU"
    raise RequestError(
        f"devices={devices!r} is not possible; allowed: all, or 1 to {count} ({'GPU' if gpus else 'CPU'}), {others}."
    )


def use_only(gpus: Sequence[Gpu], devices: str) -> None:
    """Has TensorFlow use no other GPUs in this process.

    Raises:
        RequestError: it has begun with others.
    """
    every = tf.config.list_physical_devices("GPU")
    wanted = [every[gpu.number] for gpu in gpus]
    visible = tf.config.get_visible_devices("GPU")
    if wanted == visible:
        return
    try:
        tf.config.set_visible_devices(wanted, "GPU")
    except RuntimeError:  # TensorFlow has begun; without more it takes the first
        if not wanted or wanted != visible[: len(wanted)]:
            raise RequestError(
                f"devices={devices!r} is not possible any more: TensorFlow has begun with other devices in this "
                "process; choose them in a new one."
            ) from None


def of_this_machine(devices: str) -> list[Gpu] | int:
    """What `chosen` takes of this machine. TensorFlow begins where it has no GPU.

    Raises:
        RequestError: no such device.
    """
    gpus = visible_gpus()
    return chosen(devices, gpus, 1 if gpus else len(tf.config.list_logical_devices("CPU")))


def separately(devices: str) -> list[tuple[str, Gpu | None]]:
    """The devices that a text names, each as a text of its own, for a process a device; a CPU is no GPU.

    Where there are several, this process leaves the GPUs to the others.

    Raises:
        RequestError: no such device, or this process has begun with the GPUs.
    """
    if devices == "1":  # TensorFlow takes the first by itself, and is not loaded for a request that is refused
        return [(devices, None)]
    taken = of_this_machine(devices)
    if isinstance(taken, int):
        return [("cpu", None)] * taken
    if len(taken) > 1:
        use_only([], devices)
    return [(f"gpu:{gpu.number}", gpu) for gpu in taken]


def on_each(devices: Sequence[str], rows: slice, compute: Callable[[slice], np.ndarray]) -> np.ndarray:
    """What is computed of some rows, of which every device computes consecutive ones while the others compute theirs.

    Args:
        devices: TensorFlow's names; with fewer than two of them all is computed here.
        rows: from where to where.
        compute: gives the array (n, ...) of a slice of n rows. It is called in threads, each with its device in force;
            what it runs must take nothing that lies on another one, see `zoo.keras_internals.as_constants`.
    """
    used = devices[: rows.stop - rows.start]
    if len(used) < 2:
        return compute(rows)
    cuts = [rows.start + (rows.stop - rows.start) * number // len(used) for number in range(len(used) + 1)]

    def computed(device: str, start: int, stop: int) -> np.ndarray:
        with tf.device(device):
            return compute(slice(start, stop))

    with ThreadPoolExecutor(len(used)) as threads:
        return np.concatenate(list(threads.map(computed, used, cuts, cuts[1:])))
