"""Timing calls: how many make a sample, the sample itself, and which threads compute in it."""

import contextlib
import time
from collections.abc import Callable
from itertools import repeat
from pathlib import Path
from typing import Any

from bench.records import Taken

Call = tuple[Callable[..., object], tuple[Any, ...]]  # a function and its arguments


def time_calls(function: Callable[..., object], arguments: tuple[Any, ...], calls: int) -> tuple[float, float]:
    """Return the wall and CPU seconds of so many calls in a row."""
    cpu = time.process_time()
    start = time.perf_counter()
    for _ in repeat(None, calls):
        function(*arguments)
    seconds = time.perf_counter() - start
    return seconds, time.process_time() - cpu


def settle(limit: float = 0.5) -> None:
    """Wait until the thread pools of this process have stopped spinning, `limit` seconds at most."""
    deadline = time.monotonic() + limit
    while time.monotonic() < deadline:
        cpu = time.process_time()
        time.sleep(0.004)
        if time.process_time() - cpu < 0.001:
            return


def thread_seconds() -> dict[int, float]:
    """Return the CPU time of each thread of this process by its id; nothing where Linux does not tell it."""
    found = {}
    with contextlib.suppress(OSError):
        for task in Path("/proc/self/task").iterdir():
            with contextlib.suppress(OSError):  # it has ended
                found[int(task.name)] = int((task / "schedstat").read_text().split()[0]) / 1e9
    return found


class TimedCall:
    """A call that is ready to be timed: of an implementation on its workload, or of the product behind the limit."""

    def __init__(self, call: Call, threads: int, reset: Callable[[], object] = lambda: None) -> None:
        self.function, self.arguments = call
        self.threads = threads
        self.reset = reset  # untimed, before each sample
        self.calls = 1  # of a sample
        self.sample_seconds = 0.0  # at least, per sample

    def calibrate(self, seconds: float) -> float:
        """Choose the calls of a sample so that it lasts at least `seconds`; return the seconds of a call."""
        self.sample_seconds = seconds
        self.reset()
        calls, elapsed = 1, time_calls(self.function, self.arguments, 1)[0]
        while elapsed < seconds / 2:
            calls = max(2 * calls, int(calls * seconds / max(elapsed, 1e-9) / 1.5))
            elapsed = time_calls(self.function, self.arguments, calls)[0]
        for _ in range(2 if calls > 1 else 0):  # the least disturbed counts: a sample is then never too short
            elapsed = min(elapsed, time_calls(self.function, self.arguments, calls)[0])
        per_call = elapsed / calls
        self.calls = max(1, round(seconds / per_call + 0.5))
        return per_call

    def busiest_threads(self) -> list[int]:
        """Return the ids of the threads that compute in a call, the busiest first; none with a single thread."""
        if self.threads == 1:
            return []
        settle()
        before = thread_seconds()
        time_calls(self.function, self.arguments, self.calls)
        spent = {thread: seconds - before.get(thread, 0.0) for thread, seconds in thread_seconds().items()}
        settle()
        return sorted(spent, key=lambda thread: -spent[thread])[: self.threads]

    def sample(self) -> Taken:
        """Time the calls of one sample from the same initial parameters, after one untimed call."""
        self.reset()
        if self.calls > 1:
            self.function(*self.arguments)  # fills the caches and wakes the core
        seconds, cpu_seconds = time_calls(self.function, self.arguments, self.calls)
        if self.threads > 1:
            settle()
        taken = Taken(seconds / self.calls, cpu_seconds / self.calls, 0)
        if seconds < self.sample_seconds:  # calibrated while the machine was slower
            self.calls = round(self.calls * self.sample_seconds / seconds + 0.5)
        return taken
