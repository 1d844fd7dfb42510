"""What implementations leave running when their worker or the benchmark has ended, known by a variable.

A process has the environment of the one that started it, also in a session of its own and after that one's end. Only a
program that is started with another environment is not found, and nothing is where there is no /proc.

As a program, `leftovers.py MARK` waits for the end of its input, then kills what has the mark.
"""

import atexit
import contextlib
import itertools
import os
import secrets
import signal
import sys
import time
from functools import cache
from pathlib import Path

VARIABLE = "BACKPROP_RUN"
ATTEMPTS, PAUSE_SECONDS = 50, 0.02  # what is killed may just have started another process
_numbers = itertools.count()


def new_mark() -> str:
    """Return a mark for the environment of a worker. From the first one on, a process waits for this one's end."""
    return f"{_watched()}.{next(_numbers)}"


def kill(mark: str) -> None:
    """Kill the processes whose mark this is, or begins with this and a dot."""
    for _ in range(ATTEMPTS):
        pids = [pid for pid in _processes() if pid != os.getpid() and _has(pid, f"{VARIABLE}={mark}".encode())]
        for pid in pids:
            with contextlib.suppress(OSError):
                os.kill(pid, signal.SIGKILL)
        if not pids:
            return
        time.sleep(PAUSE_SECONDS)


@cache
def _watched() -> str:
    """Return this process's own mark, and have what has it killed when this process has ended, however it does."""
    mark = f"{os.getpid()}-{secrets.token_hex(8)}"
    if Path("/proc").is_dir():
        from bench.system.files import start_watcher  # not where this file is the watcher's program

        watcher = start_watcher(__file__, mark)
        atexit.register(watcher.communicate)
    return mark


def _processes() -> list[int]:
    with contextlib.suppress(OSError):
        return [int(path.name) for path in Path("/proc").iterdir() if path.name.isdecimal()]
    return []


def _has(pid: int, entry: bytes) -> bool:
    with contextlib.suppress(OSError):  # it has ended, or is another user's
        environment = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
        return any(variable == entry or variable.startswith(entry + b".") for variable in environment)
    return False


if __name__ == "__main__":
    sys.stdin.read()
    kill(sys.argv[1])
