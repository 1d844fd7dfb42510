"""The CPUs that this process may use, and which of them are threads of the same core."""

import os
from collections.abc import Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path

from bench.quota import smallest_quota, whole_cores
from impls.text import one_line

TOPOLOGY = Path("/sys/devices/system/cpu")


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
    cpus = [cpu for of_rank in _ranks(siblings()) for cpu in of_rank]
    start = number % len(cpus)
    free: list[int] = []
    shared: list[int] = []
    for cpu in cpus[start:] + cpus[:start]:
        taken = core_of(cpu) in {core_of(other) for other in free}
        (shared if taken else free).append(cpu)
    return (free + shared)[:threads]


def _ranks(cores_of_cpus: Sequence[Sequence[int]]) -> list[list[int]]:
    """Return the first CPUs of all cores, then the second ones, and so on."""
    most = max(map(len, cores_of_cpus))
    return [[of_core[rank] for of_core in cores_of_cpus if rank < len(of_core)] for rank in range(most)]
