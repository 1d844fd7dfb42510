"""Processes that tests start or find."""

from collections.abc import Iterable

import psutil


def gone(processes: Iterable[psutil.Process], seconds: float) -> bool:
    """Return whether all end within so many seconds; one that only waits to be asked how it ended has ended."""
    _, alive = psutil.wait_procs(list(processes), timeout=seconds)
    return not [process for process in alive if _runs(process)]


def _runs(process: psutil.Process) -> bool:
    try:
        return process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:  # it has just ended
        return False
