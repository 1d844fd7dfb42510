"""Processes that tests start or find."""

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import psutil

BACKPROP = Path(sys.executable).with_name("backprop")
QUICK = ("--workload=20-8-4:16", "--generations=1", "--seconds=0.2", "--data=digits")
HANDED_DOWN = ("MAKEFLAGS", "MAKELEVEL", "MAKEOVERRIDES", "MFLAGS", "PYTHON")  # by `make PYTHON=python3.13 test`


def outside_of_make() -> dict[str, str]:
    """Return this process's environment without what a make that runs the tests hands down to one that a test runs."""
    return {name: value for name, value in os.environ.items() if name not in HANDED_DOWN}


def run_backprop(
    *arguments: str | Path, folder: Path | None = None, environment: Mapping[str, str] | None = None
) -> "subprocess.CompletedProcess[str]":
    """Run the command in a process of its own."""
    command, env = [BACKPROP, *arguments], None if environment is None else dict(environment)
    return subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, timeout=300, check=False)


def wait_for(condition: Callable[[], object], seconds: float) -> bool:
    """Return whether a condition holds within so many seconds."""
    until = time.monotonic() + seconds
    while not (holds := condition()) and time.monotonic() < until:
        time.sleep(0.02)
    return bool(holds)


def gone(processes: Iterable[psutil.Process], seconds: float) -> bool:
    """Return whether all end within so many seconds; one that only waits to be asked how it ended has ended."""
    _, alive = psutil.wait_procs(list(processes), timeout=seconds)
    return not [process for process in alive if _runs(process)]


def _runs(process: psutil.Process) -> bool:
    try:
        return process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:  # it has just ended
        return False


def of_run(mark: str) -> list[tuple[psutil.Process, list[str]]]:
    """Return the processes that are alive and have the mark in their environment, each with its command."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get("BACKPROP_MARK") == mark and process.status() != psutil.STATUS_ZOMBIE:
                found.append((process, process.cmdline() or [""]))
        except psutil.Error:
            continue
    return found


def kill(process: psutil.Process) -> None:
    with contextlib.suppress(psutil.NoSuchProcess):
        process.kill()


def workers_of(parent: int) -> list[psutil.Process]:
    """Return the workers that a process has started."""
    return [child for child in psutil.Process(parent).children() if "bench.worker.main" in " ".join(child.cmdline())]
