"""What a worker asks of Linux for its process. Elsewhere nothing is asked, and nothing happens."""

import contextlib
import ctypes
import signal


def die_with_the_parent(by: signal.Signals = signal.SIGKILL) -> None:
    """Have Linux send this process a signal when its parent ends: one that no busy or stuck process can miss.

    This is prctl's PR_SET_PDEATHSIG.
    """
    with contextlib.suppress(AttributeError, OSError):
        ctypes.CDLL(None).prctl(1, by)


def adopt_orphans() -> None:
    """Keep what the row starts among this process's descendants, where it is found (prctl PR_SET_CHILD_SUBREAPER)."""
    with contextlib.suppress(AttributeError):
        ctypes.CDLL(None).prctl(36, 1)


def allow_tracing() -> None:
    """Let any process of this user attach, where Linux's Yama would let only a parent (prctl PR_SET_PTRACER)."""
    with contextlib.suppress(AttributeError):
        ctypes.CDLL(None).prctl(0x59616D61, ctypes.c_ulong(-1 & (2**64 - 1)), 0, 0, 0)
