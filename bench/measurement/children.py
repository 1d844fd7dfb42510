"""The processes that a row started: their CPU time, their memory, and the CPUs that they may run on.

Looking for them takes milliseconds, so a worker looks at times (`look`), and only those that were found are asked at
every sample. Those that have ended are counted by the system.
"""

import contextlib
import os
import signal
from collections.abc import Sequence
from pathlib import Path

import psutil

_found: list[psutil.Process] = []


def look() -> bool:
    """Look for processes that this one started, and for those that they started; return whether there are any."""
    _found[:] = psutil.Process().children(recursive=True)
    return bool(_found)


def cpu_seconds() -> float:
    """Return the CPU time of those that were found and of those that have ended."""
    times = os.times()
    return times.children_user + times.children_system + sum(map(_cpu_seconds, _found))


def own_bytes() -> int:
    """Return the resident memory of those that were found, without what they share with others."""
    total = 0
    for process in _found:
        with contextlib.suppress(psutil.Error):
            memory = process.memory_info()
            total += memory.rss - getattr(memory, "shared", 0)
    return total


def strayed(pid: int, cpus: set[int]) -> str:
    """Return in words which threads of a process, and of those that it started, may run on other CPUs; "" for none."""
    if not hasattr(os, "sched_getaffinity"):
        return ""
    for process in _family(pid):
        for thread in _threads(process):
            with contextlib.suppress(OSError):  # it has ended
                allowed = os.sched_getaffinity(thread)
                if not allowed <= cpus:
                    what = "a thread" if process.pid == pid else "a process that it started"
                    return f"{what} may run on CPUs {_listed(allowed)}, but was given {_listed(cpus)}"
    return ""


def confine(pid: int, cpus: Sequence[int]) -> None:
    """Move the processes that a process started to `cpus`."""
    for process in _family(pid)[1:]:
        for thread in _threads(process):
            with contextlib.suppress(OSError):
                os.sched_setaffinity(thread, cpus)


def kill(pid: int) -> None:
    """Kill the processes that a process started, directly or not."""
    for process in _family(pid)[1:]:
        with contextlib.suppress(psutil.Error):
            process.kill()


def kill_with_children(pid: int) -> None:
    """Kill a process, its group where the system has such things, and what it started."""
    kill(pid)
    if hasattr(os, "killpg"):
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(pid, signal.SIGKILL)
    else:
        with contextlib.suppress(psutil.Error):
            psutil.Process(pid).kill()


def _family(pid: int) -> list[psutil.Process]:
    """Return a process and all that it started, directly or not."""
    with contextlib.suppress(psutil.Error):
        parent = psutil.Process(pid)
        return [parent, *parent.children(recursive=True)]
    return []


def _threads(process: psutil.Process) -> list[int]:
    with contextlib.suppress(psutil.Error):
        return [thread.id for thread in process.threads()]
    return []


def _cpu_seconds(process: psutil.Process) -> float:
    """Return the CPU time of a process: Linux's own count in nanoseconds where there is one."""
    with contextlib.suppress(OSError):
        tasks = Path(f"/proc/{process.pid}/task").iterdir()
        return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks) / 1e9
    with contextlib.suppress(psutil.Error):
        times = process.cpu_times()
        return float(times.user + times.system)
    return 0.0


def _listed(cpus: set[int]) -> str:
    return ", ".join(map(str, sorted(cpus)))
