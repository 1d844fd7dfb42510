"""The memory of this process, as the system tells it."""

import contextlib
import ctypes
import sys
from pathlib import Path


def resident_bytes(field: str) -> int:
    """Return VmRSS (resident memory now), RssAnon (without files) or VmHWM (the highest VmRSS) in bytes.

    Where there is no /proc, the highest.
    """
    with contextlib.suppress(OSError):
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith(field):
                return int(line.split()[1]) * 1024
    try:
        import resource
    except ImportError:  # Windows
        import psutil

        told = psutil.Process().memory_info()
        return int(getattr(told, "peak_wset", told.rss))
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def own_bytes() -> int:
    """Return the resident memory that is this process's own: pages of files that it only reads do not count."""
    return resident_bytes("RssAnon")


def forget_highest() -> None:
    """Set VmHWM back to what is resident now, where Linux allows it."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def give_back() -> None:
    """Have glibc give freed memory back to the system: the next peak would hold it."""
    with contextlib.suppress(AttributeError, TypeError):  # another C library; Windows, where it has no such name
        ctypes.CDLL(None).malloc_trim(0)
