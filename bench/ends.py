"""What may end a run before its time: Ctrl-C, a batch system, a closed terminal."""

import signal
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager


@contextmanager
def ended_by_signals(ended: Callable[[], bool]) -> Generator[None]:
    """Take SIGTERM and SIGHUP for Ctrl-C: a batch system's end of time and a closed terminal lose nothing, either.

    Once the samples have `ended` by one of them, the next ones are not heeded: what was finished is being kept.
    """

    def end(_signal: int, _frame: object) -> None:
        if not ended():
            raise KeyboardInterrupt

    numbers = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]
    if threading.current_thread() is not threading.main_thread():
        numbers = []  # handlers are the main thread's
    heeded = [number for number in numbers if signal.getsignal(number) is not signal.SIG_IGN]  # SIGHUP under nohup
    before = {number: signal.signal(number, end) for number in heeded}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
