"""What is asked of the operating system about this process and about those that it started.

A function that only Linux can serve does nothing elsewhere. Looking for started processes takes milliseconds, so a
worker looks at times (`look_for_children`), and only those that were found are asked at every sample.
"""

import contextlib
import ctypes
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

import psutil

PARENT = "BACKPROP_PARENT"  # the environment variable that names the process which started this one
HERE = sys.platform == "linux"
ELSEWHERE = (AttributeError, TypeError)  # a C library without prctl, and Windows, where it has no such name
_children: list[psutil.Process] = []


# --- This process ------------------------------------------------------------------------------------------------


def die_with_the_parent(by: signal.Signals | None = None, parent: int | None = None) -> None:
    """Have Linux send this process a signal, or kill it, when its parent ends, however busy it is then.

    If the parent, which `parent` or else PARENT names, has ended already, the signal comes at once (prctl
    PR_SET_PDEATHSIG).
    """
    with contextlib.suppress(*ELSEWHERE, OSError):
        by = by or signal.SIGKILL
        ctypes.CDLL(None).prctl(1, by)
        named = int(os.environ.pop(PARENT, os.getppid()))
        if os.getppid() != (parent or named):
            os.kill(os.getpid(), by)


def adopt_orphans() -> None:
    """Keep what an implementation starts among this process's descendants (prctl PR_SET_CHILD_SUBREAPER)."""
    with contextlib.suppress(*ELSEWHERE):
        ctypes.CDLL(None).prctl(36, 1)


def allow_tracing() -> None:
    """Let any process of this user attach, where Linux's Yama would let only a parent (prctl PR_SET_PTRACER)."""
    with contextlib.suppress(*ELSEWHERE):
        ctypes.CDLL(None).prctl(0x59616D61, ctypes.c_ulong(-1 & (2**64 - 1)), 0, 0, 0)


def tracer() -> str:
    """Return the name of the program that is attached to this process by ptrace, as strace and gdb are; "" for none."""
    pid = _status("TracerPid")
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/comm").read_text().strip() if pid else ""
    return ""


def resident_bytes(field: str) -> int:
    """Return VmRSS (resident memory now), RssAnon (without files) or VmHWM (the highest VmRSS) in bytes.

    Where there is no /proc, all three are the resident memory now; on Windows, the highest.
    """
    kibibytes = _status(field)
    if kibibytes is not None:
        return kibibytes * 1024
    memory = psutil.Process().memory_info()
    return int(getattr(memory, "peak_wset", memory.rss))


def forget_highest() -> None:
    """Set VmHWM back to what is resident now, where Linux allows it."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def give_back() -> None:
    """Have glibc give freed memory back to the system: the next peak would hold it."""
    with contextlib.suppress(*ELSEWHERE):
        ctypes.CDLL(None).malloc_trim(0)


def _status(field: str) -> int | None:
    """Return a number of /proc/self/status, None where it does not stand there."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith(f"{field}:"):
                return int(line.split()[1])
    return None


# --- This process and those that it started ----------------------------------------------------------------------


def look_for_children() -> bool:
    """Look for processes that this one started, and for those that they started; return whether there are any."""
    _children[:] = psutil.Process().children(recursive=True)
    return bool(_children)


def children_cpu_seconds() -> float:
    """Return the CPU time of the children that were found and of those that have ended."""
    times = os.times()
    return times.children_user + times.children_system + sum(map(_cpu_seconds, _children))


def own_bytes() -> int:
    """Return the resident memory of this process and of its children, without what they share in files."""
    total = resident_bytes("RssAnon")
    for process in _children:
        with contextlib.suppress(psutil.Error):
            memory = process.memory_info()
            total += memory.rss - getattr(memory, "shared", 0)
    return total


def _cpu_seconds(process: psutil.Process) -> float:
    """Return the CPU time of a process: Linux's own count in nanoseconds where there is one."""
    with contextlib.suppress(OSError):
        tasks = Path(f"/proc/{process.pid}/task").iterdir()
        return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks) / 1e9
    with contextlib.suppress(psutil.Error):
        times = process.cpu_times()
        return float(times.user + times.system)
    return 0.0


# --- Another process and those that it started -------------------------------------------------------------------


def strayed(pid: int, cpus: set[int]) -> str:
    """Return in words which threads of a process, and of those that it started, may run on other CPUs; "" for none."""
    if not hasattr(os, "sched_getaffinity"):
        return ""
    for process in _family(pid):
        for thread in _threads(process):
            with contextlib.suppress(OSError):  # The thread has ended.
                allowed = os.sched_getaffinity(thread)
                if not allowed <= cpus:
                    what = "a thread" if process.pid == pid else "a process that it started"
                    actual, given = (", ".join(map(str, sorted(numbers))) for numbers in (allowed, cpus))
                    return f"{what} may run on CPUs {actual}, but was given {given}"
    return ""


def confine_children(pid: int, cpus: Sequence[int]) -> None:
    """Move the processes that a process started to `cpus`."""
    for process in _family(pid)[1:]:
        for thread in _threads(process):
            with contextlib.suppress(OSError):
                os.sched_setaffinity(thread, cpus)


def kill_children(pid: int) -> None:
    """Kill the processes that a process started, directly or not."""
    for process in _family(pid)[1:]:
        with contextlib.suppress(psutil.Error):
            process.kill()


def kill_with_children(pid: int) -> None:
    """Kill a process, its group where the system has such things, and what it started."""
    kill_children(pid)
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
