"""The CPUs that this process may use: its affinity, the cores that they are threads of, and Linux's CPU quotas.

A control group with a quota may use so much CPU time in each period, over all its CPUs, as containers have it; whoever
wants more is stopped until the next period begins. Versions 1 and 2 of control groups exist beside each other. Groups
are nested: a process is held to the quota of its own group and to those of all groups around it.
"""

import os
import re
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from itertools import zip_longest
from pathlib import Path, PurePosixPath

from impls.support.text import one_line

TOPOLOGY = Path("/sys/devices/system/cpu")
PROCESS = Path("/proc/self")
THROTTLED = {"throttled_time": 1e-9, "throttled_usec": 1e-6}  # fields of cpu.stat, versions 1 and 2, in seconds


def usable_cpus() -> list[int]:
    """Return the numbers of the CPUs that this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))


def cores() -> int:
    """Return how many CPUs this process may keep busy: those that it may run on, or fewer under a CPU quota."""
    group = smallest_quota()
    return whole_cores(len(usable_cpus()), group.cpus if group else None)


def cores_text() -> str:
    """Return in words how many CPUs this process may keep busy, and what allows it no more."""
    count, usable, all_cpus, group = cores(), len(usable_cpus()), os.cpu_count() or 1, smallest_quota()
    words = f"this process may use {count} core{'s' * (count != 1)}"
    if count < usable and group is not None:
        return f"{words}: a CPU quota of {group.cpus:.4g} (control group {one_line(str(group.folder))})"
    if usable < all_cpus:
        return f"{words}: its CPU affinity has {usable} of {all_cpus} CPUs (taskset, docker --cpuset-cpus)"
    return f"{words}, all that this machine has"


@cache
def core_of(cpu: int) -> str:
    """Return the name of the core that a CPU is a hardware thread of: the list of them all, as Linux writes it."""
    with suppress(OSError):
        return (TOPOLOGY / f"cpu{cpu}/topology/thread_siblings_list").read_text().strip()
    return str(cpu)  # not known: a core of its own


def siblings() -> list[list[int]]:
    """Return the usable CPUs by core: those in one list share a core."""
    by_core: dict[str, list[int]] = {}
    for cpu in usable_cpus():
        by_core.setdefault(core_of(cpu), []).append(cpu)
    return list(by_core.values())


def places(threads: int, number: int) -> list[int]:
    """Return CPUs for so many threads, the set of that number: over all numbers, each CPU comes first equally often.

    No two threads share a core while a free one is left.
    """
    cpus = [
        cpu for rank in zip_longest(*siblings()) for cpu in rank if cpu is not None
    ]  # all first ones of cores first
    start = number % len(cpus)
    first_of_core: dict[str, int] = {}
    rotated = cpus[start:] + cpus[:start]
    others = [cpu for cpu in rotated if first_of_core.setdefault(core_of(cpu), cpu) != cpu]
    return [*first_of_core.values(), *others][:threads]


@dataclass(frozen=True)
class LimitedGroup:
    """A control group with a CPU quota."""

    folder: Path
    cpus: float  # CPU time that it may use, over the time that passes
    period_seconds: float

    def throttled_seconds(self) -> float:
        """Return for how long the quota has stopped its processes so far, summed over CPUs; 0 if it cannot be read."""
        for name, _, value in (line.partition(" ") for line in _lines(self.folder / "cpu.stat")):
            if name in THROTTLED:
                with suppress(ValueError):
                    return int(value) * THROTTLED[name]
        return 0.0


def limited_groups(process: Path = PROCESS) -> list[LimitedGroup]:
    """Return the control groups with a CPU quota that a process is in; `process` is its folder in /proc.

    Files that are missing, or that hold something else than Linux writes, tell of no quota.
    """
    return [group for folder in control_groups(process) if (group := _limited(folder)) is not None]


def smallest_quota(process: Path = PROCESS) -> LimitedGroup | None:
    """Return the control group that allows a process the least CPU time; None if none has a quota."""
    return min(limited_groups(process), key=lambda group: group.cpus, default=None)


def whole_cores(cpus: int, quota: float | None) -> int:
    """Return how many of so many CPUs can compute all the time under a quota of CPUs, at least one.

    A fraction does not count: with a quota of 1.5, the second of two threads would be stopped half of the time.
    """
    return cpus if quota is None else max(1, min(cpus, int(quota)))


def throttled_seconds(groups: list[LimitedGroup]) -> float:
    """Return for how long the quotas of all these groups have stopped processes so far."""
    return sum(group.throttled_seconds() for group in groups)


def control_groups(process: Path = PROCESS) -> list[Path]:
    """Return the folders of the control groups of a process that may have a CPU quota, as far as they are mounted.

    Its own group comes before those around it. Lines of /proc/PID/mountinfo: `32 31 0:29 /docker/0123
    /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu`, where the path in front is the group that is mounted.
    """
    own = _own_groups(_lines(process / "cgroup"))
    folders: dict[str, list[Path]] = {}  # of the first mount of each version
    for line in _lines(process / "mountinfo"):
        mount_fields, _, file_system = line.partition(" - ")
        kind, *_, options = file_system.split()
        if kind == "cgroup2" or (kind == "cgroup" and "cpu" in options.split(",")):
            _, _, _, root, mount, *_ = map(_unescaped, mount_fields.split())
            root_group = PurePosixPath(root)
            folders.setdefault(kind, _group_and_ancestors(Path(mount), root_group, own.get(kind, root_group)))
    return [folder for group_and_ancestors in folders.values() for folder in group_and_ancestors]


def _own_groups(lines: list[str]) -> dict[str, PurePosixPath]:
    """Return the paths of a process's control groups by the type of file system that has the CPU quota of each.

    Lines of /proc/PID/cgroup: `1:cpu,cpuacct:/docker/0123` (version 1), `0::/docker/0123` (version 2).
    """
    paths = {}
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if not controllers:
            paths["cgroup2"] = PurePosixPath(path)
        elif "cpu" in controllers.split(","):
            paths["cgroup"] = PurePosixPath(path)
    return paths


def _group_and_ancestors(mount: Path, root: PurePosixPath, path: PurePosixPath) -> list[Path]:
    """Return the folder of a group and those of the groups around it, up to the one that is mounted, `root`.

    In a container, the path may be one of the host, of which nothing is mounted but the container's own group.
    """
    inside = path.relative_to(root) if path.is_relative_to(root) else PurePosixPath()
    if ".." in inside.parts or not os.access(mount / inside, os.R_OK | os.X_OK):
        inside = PurePosixPath()
    return [mount / part for part in (inside, *inside.parents)]


def _limited(folder: Path) -> LimitedGroup | None:
    """Return a control group if it has a CPU quota: `50000 100000` in cpu.max, or two files in version 1."""
    words = " ".join(_lines(folder / "cpu.max")).split()
    if not words:
        words = _lines(folder / "cpu.cfs_quota_us") + _lines(folder / "cpu.cfs_period_us")
    try:
        quota, period = map(int, words)  # "max" and -1 are no quota
        return LimitedGroup(folder, quota / period, period / 1e6) if quota > 0 and period > 0 else None
    except (ValueError, OverflowError):
        return None


def _lines(path: Path) -> list[str]:
    """Return the lines of a file; none if it cannot be read."""
    with suppress(OSError):
        return path.read_text(encoding="utf-8", errors="surrogateescape").splitlines()
    return []


def _unescaped(text: str) -> str:
    r"""Return a path of mountinfo, where a space is `\040`."""
    return re.sub(r"\\([0-7]{3})", lambda code: chr(int(code[1], 8)), text)
