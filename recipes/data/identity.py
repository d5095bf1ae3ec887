"""Whether a file is still the one that was looked at, told without reading it wherever that is safe."""

import os
import sys
import time
from dataclasses import dataclass
from pathlib import Path

SETTLED = 60 * 10**9  # ns; more than the grain of a clock, and than mapped pages wait until they are written (30 s)
# File systems that one machine alone writes, whose kernel sets the time of change itself, and whose inodes last. Not
# those of a network or of removable media; nor tmpfs, which does not note what is written through a mapping; nor
# overlays, whose lower folders may be anywhere.
_TRUSTED = frozenset({"ext2", "ext3", "ext4", "xfs", "btrfs", "zfs", "f2fs", "jfs", "bcachefs"})


@dataclass(frozen=True)
class Identity:
    """What tells files apart, by following links to where they lead.

    Attributes:
        facts: device, inode, size in bytes, times of the last change of content and of anything, in ns.
        settled: the last change was long enough ago that another one would have another time.
    """

    facts: tuple[int, int, int, int, int]
    settled: bool


def identity(path: str) -> Identity | None:
    """Of a file as it is now; None where there is none."""
    try:
        facts = os.stat(path)
    except OSError:
        return None
    last = max(facts.st_mtime_ns, facts.st_ctime_ns)
    return Identity(
        (facts.st_dev, facts.st_ino, facts.st_size, facts.st_mtime_ns, facts.st_ctime_ns),
        settled=time.time_ns() - last > SETTLED,
    )


def trusted_devices() -> frozenset[int]:
    """The devices that hold a file system of `_TRUSTED`, where no program can set the time of change; as mounted now.

    Empty where Linux does not tell: files are read then, to see whether they have changed.
    """
    if sys.platform != "linux":
        return frozenset()
    try:
        lines = Path("/proc/self/mountinfo").read_text("utf-8", "surrogateescape").splitlines()
    except OSError:
        return frozenset()
    devices = set()
    for line in lines:
        before, _, after = line.partition(" - ")
        if after.split(" ")[0] in _TRUSTED:
            major, minor = before.split(" ")[2].split(":")
            devices.add(os.makedev(int(major), int(minor)))
    return frozenset(devices)
