"""Takes from a process what only Linux has: CPU affinity, /proc, files in memory, prctl. For PYTHONPATH."""

import builtins
import ctypes
import io
import os
import sys
from collections.abc import Callable
from typing import Any

import psutil  # noqa: F401 (has ways of its own elsewhere: it keeps /proc)

for name in ("sched_getaffinity", "sched_setaffinity", "memfd_create", "pidfd_open"):
    if hasattr(os, name):
        delattr(os, name)


def without_proc(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function of paths to which there is no /proc, unless psutil asks."""

    def call(path: Any = ".", *arguments: Any, **options: Any) -> Any:
        text = os.fspath(path) if isinstance(path, str | os.PathLike) else ""
        if str(text).startswith("/proc") and not sys._getframe(1).f_globals["__name__"].startswith("psutil"):
            raise FileNotFoundError(2, "No such file or directory", str(text))
        return function(path, *arguments, **options)

    return call


builtins.open = io.open = without_proc(io.open)
for name in ("listdir", "open", "readlink", "scandir", "stat"):
    setattr(os, name, without_proc(getattr(os, name)))


class Library(ctypes.CDLL):
    """A C library without Linux's own functions."""

    def __getattr__(self, name: str) -> Any:
        if name == "prctl":
            raise AttributeError(name)
        return super().__getattr__(name)


ctypes.CDLL = Library  # type: ignore[misc]
