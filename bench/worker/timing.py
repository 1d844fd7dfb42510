"""Timing calls: whether a call is affordable, how many make a sample, and the sample itself."""

import contextlib
import math
import time
from collections.abc import Callable
from itertools import repeat
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.system.processes import children_cpu_seconds, own_bytes
from bench.worker.protocol import Taken
from bench.workloads import Call

if TYPE_CHECKING:
    from bench.workloads.problem import Problem
    from impls.interface import Implementation

# Taken before an implementation is imported, so that it changes nothing to patch the module `time`, as libraries do.
perf_counter, process_time, monotonic, sleep = time.perf_counter, time.process_time, time.monotonic, time.sleep

MAX_CALLS = 500  # of a sample: the reference has to follow, and one wrong step among them has to show in float32
AFFORDABLE = 1_000_000  # examples x weights that any implementation computes in a fraction of a second
GROWTH = 8  # times more examples in each trial
TRIALS = 3  # that have to be over the budget: the first calls may compile, or be disturbed
Arrangement = tuple[Call, Call]  # the call that goes before the timed ones, and the timed one


class Alone:
    """A worker of one process; `bench.worker.ranks` has one of several ranks."""

    def begin(self) -> None:
        """Wait until all ranks are here."""

    def agreed(self, value: float) -> float:
        """Return rank 0's value, so that all ranks take the same decisions."""
        return value


ALONE = Alone()


def time_calls(
    function: Callable[..., object], arguments: tuple[Any, ...], calls: int, ranks: Alone = ALONE
) -> tuple[float, float]:
    """Return the wall and CPU seconds of so many calls in a row; with several ranks, rank 0's wall seconds."""
    ranks.begin()
    cpu = process_time()
    start = perf_counter()
    for _ in repeat(None, calls):
        function(*arguments)
    seconds = perf_counter() - start
    cpu = process_time() - cpu
    return ranks.agreed(seconds), cpu


def settle(limit: float = 0.5) -> None:
    """Wait until the thread pools of this process have stopped spinning, `limit` seconds at most."""
    deadline = monotonic() + limit
    while monotonic() < deadline:
        cpu = process_time()
        sleep(0.004)
        if process_time() - cpu < 0.001:
            return


def thread_seconds() -> dict[int, float]:
    """Return the CPU time of each thread of this process by its id; nothing where Linux does not tell it."""
    seconds = {}
    with contextlib.suppress(OSError):
        for task in Path("/proc/self/task").iterdir():
            with contextlib.suppress(OSError):  # The thread has ended.
                seconds[int(task.name)] = int((task / "schedstat").read_text().split()[0]) / 1e9
    return seconds


def _cpu_seconds() -> float:
    """Return the CPU time of this process and of all that it started."""
    return process_time() + children_cpu_seconds()


class TimedCall:
    """A call that is ready to be timed: of an implementation on its workload, or of what it is measured against."""

    def __init__(
        self,
        call: Call,
        threads: int,
        arrange: Callable[[int], Arrangement] | None = None,
        read: Callable[[], object] = lambda: None,
        compilations: Callable[[], int] = lambda: 0,
        ranks: Alone = ALONE,
    ) -> None:
        """Take a call; how to `arrange` those of a problem instance, if they differ; how to `read` what they computed.

        `compilations` tells how often code was compiled until now.
        """
        self.function, self.arguments = call
        self.threads = threads
        self.calls = 1  # of a sample
        self.sample_seconds = 0.0  # at least, per sample
        self.left: Any = None  # what was read after the calls of the last sample
        self._untimed = call
        self._arrange = arrange
        self._read = read
        self._compilations = compilations
        self._ranks = ranks
        self._read_at_rest_seconds = 0.0
        self._ended: tuple[float, float] | None = None  # wall and CPU seconds when this process came to rest
        self._idle_cpus = 0.0  # since then

    def arrange(self, instance: int) -> None:
        """Make the calls of a problem instance ready, untimed."""
        if self._ended is not None:
            wall, cpu = self._ended
            self._idle_cpus = (_cpu_seconds() - cpu) / (perf_counter() - wall)
        self.left = None
        if self._arrange is not None:
            self._untimed, (self.function, self.arguments) = self._arrange(instance)
        self._seconds_to_read()  # a first reading may be slow for reasons of its own
        self._read_at_rest_seconds = self._seconds_to_read()

    def warm_up(self, seconds: float, calls: int) -> None:
        """Make the calls of a sample, whose number another process found, but for the one that was made before."""
        self.sample_seconds, self.calls = seconds, calls
        self._time(calls - 1)

    def calibrate(self, seconds: float) -> float:
        """Choose the calls of a sample so that it lasts at least `seconds`; return the seconds of a call."""
        self.sample_seconds = seconds
        calls, elapsed = 1, self._time(1)[0]
        while elapsed < seconds / 2 and calls < MAX_CALLS:
            calls = min(MAX_CALLS, max(2 * calls, int(calls * seconds / max(elapsed, 1e-9) / 1.5)))
            elapsed = self._time(calls)[0]
        for _ in range(2 if calls > 1 else 0):  # the least disturbed counts: a sample is then never too short
            elapsed = min(elapsed, self._time(calls)[0])
        per_call = elapsed / calls
        self.calls = min(MAX_CALLS, max(1, round(seconds / per_call + 0.5)))
        return per_call

    def busiest_threads(self) -> list[int]:
        """Return the ids of the threads that compute in a call, the busiest first; none with a single thread."""
        if self.threads == 1:
            return []
        settle()
        before = thread_seconds()
        self._time(self.calls)
        spent = {thread: seconds - before.get(thread, 0.0) for thread, seconds in thread_seconds().items()}
        settle()
        return sorted(spent, key=lambda thread: -spent[thread])[: self.threads]

    def sample(self) -> Taken:
        """Time the calls of one sample, after one untimed call unless a single one is long enough.

        What the calls computed is read as soon as the clock has stopped: if that takes longer than at rest, the work
        was not done.
        """
        start = perf_counter()
        compiled, children_before = self._compilations(), children_cpu_seconds()
        read_after_one_seconds = 0.0
        untimed_calls = int(self.calls > 1)
        if untimed_calls:
            function, arguments = self._untimed
            function(*arguments)  # fills the caches and wakes the core
            read_after_one_seconds = self._seconds_to_read()
        seconds, cpu_seconds = self._time(self.calls)
        read_after_all_seconds = self._seconds_to_read()
        if self.threads > 1:
            settle()
        taken = Taken(
            started=start,
            ended=perf_counter(),
            seconds=seconds,
            cpu_seconds=cpu_seconds + children_cpu_seconds() - children_before,
            calls=self.calls,
            untimed_calls=untimed_calls,
            idle_cpus=self._idle_cpus,
            read_at_rest_seconds=self._read_at_rest_seconds,
            read_after_one_seconds=read_after_one_seconds,
            read_after_all_seconds=read_after_all_seconds,
            own_bytes=own_bytes(),
            compilations=self._compilations() - compiled,
        )
        if seconds < self.sample_seconds:  # calibrated while the machine was slower
            self.calls = min(MAX_CALLS, round(self.calls * self.sample_seconds / seconds + 0.5))
        self.rest()
        return taken

    def rest(self) -> None:
        """Begin to watch what this process computes until the next instance, while others are timed."""
        self._ended = perf_counter(), _cpu_seconds()

    def _time(self, calls: int) -> tuple[float, float]:
        return time_calls(self.function, self.arguments, calls, self._ranks)

    def _seconds_to_read(self) -> float:
        """Read what the calls computed, keep it, and return the seconds that it took."""
        start = perf_counter()
        self.left = self._read()
        return perf_counter() - start


def over_budget(
    cls: "type[Implementation]", problem: "Problem", threads: int, budget_seconds: float, ranks: Alone = ALONE
) -> float | None:
    """Return at least how many seconds a call takes if that is over the budget, else None.

    Makes the call with a part of the examples, eight times as many each time, up to an eighth of all or more: a part
    that is over the budget settles it, and one that is not has all of them take eight budgets or so at most.
    """
    count, instance = first_trial(problem), problem.turn(0)
    with problem.construct(cls, threads) as implementation:
        native_data = problem.native_data(implementation)
        while count < problem.examples:
            call = problem.call(implementation, native_data, instance, count)
            seconds = shortest_seconds(call, budget_seconds, ranks)
            if seconds > budget_seconds:
                return seconds
            count *= GROWTH
    return None


def first_trial(problem: "Problem") -> int:
    """Return the examples of the first trial; a call with no more of them is surely affordable."""
    return max(1, AFFORDABLE // problem.workload.weights)


def shortest_seconds(call: Call, budget_seconds: float, ranks: Alone = ALONE) -> float:
    """Return the time of the first call within the budget, or the shortest of several that are all over it."""
    seconds = math.inf
    for _ in range(TRIALS):
        seconds = min(seconds, time_calls(*call, 1, ranks)[0])
        if seconds <= budget_seconds:
            break
    return seconds
