"""Takes from a process what Windows lacks as well: signals, groups of processes, `select` on pipes. For PYTHONPATH.

Libraries keep theirs, which have ways of their own there: only this project's modules do not see these names.
"""

import ctypes
import os
import runpy
import select
import signal
import socket
import subprocess
import sys
import types
from collections.abc import Iterable
from pathlib import Path
from typing import Any

runpy.run_path(str(Path(__file__).parent.with_name("without_linux") / "sitecustomize.py"))
OURS = ("__main__", "bench", "impls", "profiles")
GONE = {
    "os": {"fork", "getloadavg", "getpgid", "killpg", "setsid", "sysconf", "uname", "wait4", "waitpid"},
    "signal": {"SIGHUP", "SIGKILL", "SIGSTOP", "SIGUSR1", "alarm", "pthread_sigmask", "setitimer"},
}


def ours(frame: types.FrameType) -> bool:
    return str(frame.f_globals.get("__name__", "")).partition(".")[0] in OURS


class Less(types.ModuleType):
    """A module without some names, for this project's own modules."""

    def __getattribute__(self, name: str) -> Any:
        if name in GONE[super().__getattribute__("__name__")] and ours(sys._getframe(1)):
            raise AttributeError(name)
        return super().__getattribute__(name)


for module in (os, signal):
    module.__class__ = Less
sys.modules["resource"] = None  # type: ignore[assignment] # to import it raises ImportError

system_select = select.select


def select_sockets(*lists: Any) -> Any:
    """Select among sockets, as Windows does; of any other file it knows nothing."""
    waited_for: list[Iterable[object]] = list(lists[:3])
    if any(not isinstance(file, socket.socket) for files in waited_for for file in files):
        raise OSError(10038, "An operation was attempted on something that is not a socket")
    return system_select(*lists)


select.select = select_sockets

system_popen = subprocess.Popen.__init__


def popen(self: Any, *arguments: Any, **options: Any) -> None:
    """Start a process; there is no `preexec_fn`, and a session of its own is not made."""
    if options.get("preexec_fn") is not None:
        raise ValueError("preexec_fn is not supported on Windows platforms")
    system_popen(self, *arguments, **{**options, "start_new_session": False})


subprocess.Popen.__init__ = popen  # type: ignore[method-assign]


class Library(ctypes.CDLL):
    """A library, which has a name: `None` is none."""

    def __init__(self, name: str | None, *arguments: Any, **options: Any) -> None:
        if name is None and ours(sys._getframe(1)):
            raise TypeError("bad argument type for built-in operation")
        super().__init__(name, *arguments, **options)


ctypes.CDLL = Library  # type: ignore[misc]
