"""What a worker asks of Linux for its process. Elsewhere nothing is asked, and nothing happens."""

import contextlib
import ctypes
import os
import signal
import sys
from pathlib import Path

PARENT = "BACKPROP_PARENT"  # the environment variable that tells a process who started it
HERE = sys.platform == "linux"
ELSEWHERE = (AttributeError, TypeError)  # a C library without prctl, and Windows, where it has no such name


def die_with_the_parent(by: signal.Signals | None = None, parent: int | None = None) -> None:
    """Have Linux send this process a signal, or kill it, when its parent ends, however busy it is then.

    If the parent, which `parent` or else PARENT names, has ended already, the signal comes at once (prctl
    PR_SET_PDEATHSIG).
    """
    with contextlib.suppress(*ELSEWHERE, OSError):
        by = by or signal.SIGKILL
        ctypes.CDLL(None).prctl(1, by)
        named = os.environ.pop(PARENT, None)
        if parent is None and named is not None:
            parent = int(named)
        if parent is not None and os.getppid() != parent:
            os.kill(os.getpid(), by)


def adopt_orphans() -> None:
    """Keep what the row starts among this process's descendants, where it is found (prctl PR_SET_CHILD_SUBREAPER)."""
    with contextlib.suppress(*ELSEWHERE):
        ctypes.CDLL(None).prctl(36, 1)


def allow_tracing() -> None:
    """Let any process of this user attach, where Linux's Yama would let only a parent (prctl PR_SET_PTRACER)."""
    with contextlib.suppress(*ELSEWHERE):
        ctypes.CDLL(None).prctl(0x59616D61, ctypes.c_ulong(-1 & (2**64 - 1)), 0, 0, 0)


def tracer() -> str:
    """Return the name of the program that is attached to this process by ptrace, as strace and gdb are; "" for none."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("TracerPid:") and (pid := int(line.split()[1])):
                return Path(f"/proc/{pid}/comm").read_text().strip()
    return ""
