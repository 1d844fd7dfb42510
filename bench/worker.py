"""The worker: a process of its own that runs one implementation, alone on its cores.

`python -m bench.worker` reads requests from its standard input and writes replies to its standard output, one JSON
object a line. Whatever the implementation prints goes to standard error, so it cannot break the protocol.

    {"do": "start", "implementation": "in_place"}            -> {"import_seconds": …}
    {"do": "prepare", "workload": {…}, "data": "FOLDER", …}  -> checks, first call, calibration
    {"do": "sample"}                                         -> {"seconds": per call, "cpu_seconds": per call}
    {"do": "loop", "seconds": 5}                             -> {"calls": …, "seconds": …}, early if a request waits
    {"do": "verify"}                                         -> {"violations": […]}

A reply with "outcome" tells of a row that cannot be timed: it is wrong, or left out because it is too slow.
"""

import contextlib
import ctypes
import gc
import json
import os
import resource
import select
import sys
import time
from collections.abc import Callable
from itertools import repeat
from pathlib import Path
from typing import Any

LOOP_SAMPLES = 10  # calls between two looks at the requests while looping, in samples: a profiler hardly sees the loop
BARE_RSS_BYTES = 0  # resident memory of the interpreter before anything else is imported


def resident_bytes(field: str) -> int:
    """Return VmRSS (resident memory now) or VmHWM (its highest) in bytes; where there is no /proc, the highest."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith(field):
                return int(line.split()[1]) * 1024
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def forget_highest() -> None:
    """Set VmHWM back to what is resident now, where Linux allows it."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


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


def allow_tracing() -> None:
    """Let any process of this user attach, where Linux's Yama would let only a parent (prctl PR_SET_PTRACER)."""
    with contextlib.suppress(AttributeError):
        ctypes.CDLL(None).prctl(0x59616D61, ctypes.c_ulong(-1 & (2**64 - 1)), 0, 0, 0)


class Case:
    """An implementation, prepared for one workload and checked, or the matrix product that sets the limit."""

    def __init__(
        self, function: Callable[..., object], arguments: tuple[Any, ...], reset: Callable[[], object]
    ) -> None:
        self.function = function
        self.arguments = arguments
        self.reset = reset  # untimed, before each sample
        self.calls = 1
        self.threads = 1
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
        """Return the ids of the threads that compute in a call, as many as the case may have, the busiest first."""
        settle()
        before = thread_seconds()
        time_calls(self.function, self.arguments, self.calls)
        spent = {thread: seconds - before.get(thread, 0.0) for thread, seconds in thread_seconds().items()}
        settle()
        return sorted(spent, key=lambda thread: -spent[thread])[: self.threads]

    def sample(self) -> dict[str, float]:
        """Time the calls of one sample from the same initial parameters, after one untimed call."""
        self.reset()
        if self.calls > 1:
            self.function(*self.arguments)  # fills the caches and wakes the core
        seconds, cpu_seconds = time_calls(self.function, self.arguments, self.calls)
        if self.threads > 1:
            settle()
        taken = {"seconds": seconds / self.calls, "cpu_seconds": cpu_seconds / self.calls}
        if seconds < self.sample_seconds:  # calibrated while the machine was slower
            self.calls = round(self.calls * self.sample_seconds / seconds + 0.5)
        return taken


class Worker:
    """Answers the requests; holds one class and at most one prepared case."""

    def __init__(self, waiting: Callable[[], bool]) -> None:
        self.waiting = waiting  # whether the next request is there
        self.implementation_class: Any = None
        self.implementation: Any = None
        self.case: Case | None = None

    def start(self, implementation: str) -> dict[str, Any]:
        """Import the implementation."""
        start = time.perf_counter()
        if implementation != "limit":
            from impls import load

            self.implementation_class = load(implementation)
        seconds = time.perf_counter() - start
        gc.collect()
        gc.freeze()  # what the imports made is not looked at again
        return {"import_seconds": seconds, "pid": os.getpid()}

    def prepare(
        self,
        workload: dict[str, Any],
        threads: int,
        data: str,
        seed: int,
        sample_seconds: float,
        budget_seconds: float | None,
    ) -> dict[str, Any]:
        """Construct, call once, check and calibrate."""
        from bench.asynchrony import asynchronous
        from bench.cases import Problem, estimate_seconds, thread_pools
        from bench.workloads import Workload
        from impls.conformance import check_workload

        self.release()
        cls, dtype = self.implementation_class, workload["dtype"]
        if dtype not in cls.dtypes:
            return {"outcome": "left out", "reason": f"computes in {' and '.join(cls.dtypes)}, not in {dtype}"}
        problem = Problem.make(Workload(**workload | {"sizes": tuple(workload["sizes"])}), Path(data), seed)
        if budget_seconds is not None:
            seconds = estimate_seconds(cls, problem, threads, budget_seconds)
            if seconds > budget_seconds:
                return _too_slow(seconds, budget_seconds)

        forget_highest()
        start = time.perf_counter()
        self.implementation = implementation = problem.construct(cls, threads)
        setup_seconds = time.perf_counter() - start
        function, arguments = problem.call(implementation)
        first_call_seconds = time_calls(function, arguments, 1)[0]
        peak_rss_bytes = resident_bytes("VmHWM") - BARE_RSS_BYTES

        violations = check_workload(
            implementation,
            problem.parameters,
            problem.x,
            problem.y,
            problem.learning_rate,
            epoch=problem.workload.timed == "epoch",
        )
        if violations:
            return {"outcome": "wrong", "reason": "; ".join(map(str, violations))}

        unfinished = budget_seconds and asynchronous(lambda: function(*arguments), implementation.parameters)
        if unfinished:
            return {"outcome": "wrong", "reason": f"asynchronous: {unfinished}"}

        self.case = case = Case(function, arguments, lambda: implementation.load(problem.parameters))
        case.threads = threads
        gc.collect()
        call_seconds = case.calibrate(sample_seconds)
        if budget_seconds is not None and call_seconds > budget_seconds:
            return _too_slow(call_seconds, budget_seconds)
        empty_seconds = time_calls(_empty, arguments, 1000)[0] / 1000
        return {
            "setup_seconds": setup_seconds,
            "first_call_seconds": first_call_seconds,
            "call_seconds": call_seconds,
            "calls": case.calls,
            "busiest_threads": case.busiest_threads() if threads > 1 else [],
            "peak_rss_bytes": peak_rss_bytes,
            "overhead_percent": 100 * empty_seconds / call_seconds,
            "thread_pools": thread_pools(),
            "build": cls.build(),
        }

    def prepare_limit(self, dtype: str, threads: int, size: int | None, sample_seconds: float) -> dict[str, Any]:
        """Prepare the matrix product whose rate is the limit; choose its size if none is given."""
        from bench.cases import GEMM_SIZES, gemm

        self.release()
        best, best_rate = None, 0.0
        for n in [size] if size else GEMM_SIZES:
            case = Case(*gemm(n, dtype), reset=lambda: None)
            case.threads = threads
            rate = max(2 * n**3 / case.calibrate(sample_seconds) for _ in range(1 if size else 3))
            if rate > best_rate:
                best, best_rate, best_size = case, rate, n
        self.case = best
        assert best is not None
        return {
            "size": best_size,
            "calls": best.calls,
            "call_seconds": 2 * best_size**3 / best_rate,
            "busiest_threads": best.busiest_threads() if threads > 1 else [],
        }

    def sample(self) -> dict[str, float]:
        """Time one sample; tell how often code was compiled meanwhile."""
        assert self.case is not None
        compiled = self.implementation.compilations() if self.implementation else 0
        taken = self.case.sample()
        compilations = self.implementation.compilations() - compiled if self.implementation else 0
        return taken | {"compilations": compilations}

    def loop(self, seconds: float) -> dict[str, float]:
        """Call until `seconds` have passed or the next request waits; let a profiler attach meanwhile."""
        assert self.case is not None
        allow_tracing()
        self.case.reset()
        at_once = LOOP_SAMPLES * self.case.calls
        calls, elapsed = 0, 0.0
        while elapsed < seconds and not self.waiting():
            elapsed += time_calls(self.case.function, self.case.arguments, at_once)[0]
            calls += at_once
        return {"calls": calls, "seconds": elapsed}

    def pause(self) -> dict[str, Any]:
        """Do nothing: the request that ends a loop."""
        return {}

    def verify(self) -> dict[str, list[str]]:
        """Run the whole conformance kit on the implementation."""
        from impls.conformance import check

        return {"violations": [str(violation) for violation in check(self.implementation_class)]}

    def release(self) -> None:
        """Free the prepared case."""
        self.case = None
        if self.implementation is not None:
            self.implementation.close()
            self.implementation = None
        with contextlib.suppress(AttributeError):
            ctypes.CDLL(None).malloc_trim(0)  # glibc: give freed memory back, or the next case's peak would hold it


def _empty(*arguments: object) -> None:
    """Do nothing: what a call of this takes is the harness's own share of a sample."""


def _too_slow(seconds: float, budget_seconds: float) -> dict[str, str]:
    return {"outcome": "left out", "reason": f"{seconds:.2g} s a call or more, over the budget of {budget_seconds:g} s"}


def main() -> None:
    """Answer requests until standard input ends."""
    global BARE_RSS_BYTES  # noqa: PLW0603 (set once, as early as can be)
    BARE_RSS_BYTES = resident_bytes("VmRSS")
    replies = os.fdopen(os.dup(1), "w")
    requests = os.fdopen(os.dup(0))
    os.dup2(2, 1)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    worker = Worker(waiting=lambda: bool(select.select([requests], [], [], 0)[0]))
    for line in requests:
        request = json.loads(line)
        try:
            reply = getattr(worker, request.pop("do"))(**request)
        except BaseException as error:  # even SystemExit is the row's failure, told in words
            words = " ".join(str(error).split()) or "no message"
            reply = {"outcome": "crashed", "reason": f"{type(error).__name__}: {words}"}
            import traceback

            traceback.print_exc()
        replies.write(json.dumps(reply) + "\n")
        replies.flush()
    with contextlib.suppress(Exception):
        worker.release()


if __name__ == "__main__":
    main()
