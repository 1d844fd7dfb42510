"""What a worker does for each request: it holds one class and at most one call that is ready to be timed."""

import contextlib
import gc
import os
from collections.abc import Callable, Generator, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench import conditions, records
from bench.system import processes, tracers
from bench.worker import protocol, timing
from bench.worker.timing import ALONE, Alone, TimedCall, perf_counter, time_calls
from bench.workloads import Call

if TYPE_CHECKING:
    from bench.workloads.problem import Problem
    from impls.interface import Implementation
    from impls.support.loading import Target

LOOP_SAMPLES = 10  # calls between two looks at the requests while looping, in samples: a profiler hardly sees the loop
EMPTY_CALLS = 1000  # of a function that does nothing, to tell the harness's own share


class Refused(Exception):
    """The implementation cannot be timed: an outcome and its reason."""

    def __init__(self, outcome: records.Outcome, reason: str) -> None:
        super().__init__(reason)
        self.failure = protocol.Failure(outcome, reason)


class Worker:
    """Answers the requests; holds one class and at most one call that is ready to be timed."""

    def __init__(self, waiting: Callable[[], bool], bare_rss_bytes: int = 0, ranks: Alone = ALONE) -> None:
        """Ask `waiting` whether the next request is there; `bare_rss_bytes` are the interpreter's own.

        `ranks` are the processes that answer in step with this one.
        """
        self._waiting = waiting
        self._ranks = ranks
        self._bare_rss_bytes = bare_rss_bytes
        self._target: Target | None = None
        self._import_seconds = 0.0
        self._class: type[Implementation]
        self._tracing: list[str] = []  # what traced or checks this process, in words
        self._used = False  # whether this process has computed anything with the implementation
        self._implementation: Implementation | None = None
        self._native_data: Any = None
        self._timed: TimedCall | None = None

    def answer(self, request: protocol.AnyRequest) -> protocol.Reply:
        """Return the reply to a request. Raises Refused if the implementation cannot be timed."""
        match request:
            case protocol.Start():
                return self._start(request.target)
            case protocol.Prepare():
                return self._prepare(request)
            case protocol.PrepareRate():
                return self._prepare_rate(request)
            case protocol.Arrange():
                self._ready().arrange(request.instance)
                return protocol.Arranged()
            case protocol.Take():
                return self._ready().sample()
            case protocol.HandOver():
                return self._hand_over(request.path)
            case protocol.Loop():
                return self._loop(request.seconds)
            case protocol.Pause():
                return protocol.Paused()
            case protocol.Verify():
                return self._verify(request)

    def _start(self, target: "Target | None") -> protocol.Started:
        """Import the implementation."""
        self._target = target
        self._tracing = tracers.agents()
        start = perf_counter()
        if target is not None:
            from impls.support.loading import load_target

            self._class = load_target(target)
        self._import_seconds = perf_counter() - start
        self._tracing += tracers.switch_off()
        gc.collect()
        gc.freeze()  # what the imports made is not looked at again
        return protocol.Started(self._import_seconds, os.getpid())

    def _prepare(self, request: protocol.Prepare) -> protocol.Prepared:
        """Construct and call once; then check and calibrate, or warm up where an earlier process was checked."""
        from bench.workloads.problem import Problem

        self.release()
        workload, threads = request.workload, request.threads
        if workload.dtype not in self._class.dtypes:
            dtypes = " and ".join(self._class.dtypes)
            raise Refused(records.Outcome.UNAVAILABLE, f"computes in {dtypes}, not in {workload.dtype}")
        problem = Problem.make(workload, request.data, request.seed)
        budget = request.budget_seconds if request.calibration is None else None
        with self._explained(problem, threads):
            self._check_parts(problem, threads, budget)
            fresh, self._used = not self._used, True
            first_call, call = self._first_call(problem, threads)
        if budget is not None and first_call.first_call_seconds > budget:
            _check_budget(timing.shortest_seconds(call, budget, self._ranks), budget)

        self._timed = self._timed_call(problem, threads, call)
        self._tracing += tracers.switch_off()
        if request.calibration is not None:
            call_seconds = request.calibration.call_seconds
            self._timed.warm_up(request.sample_seconds, request.calibration.calls)
        else:
            if words := self._what_is_wrong(problem):
                raise Refused(records.Outcome.INCORRECT, words)
            gc.collect()
            call_seconds = self._timed.calibrate(request.sample_seconds)
            _check_budget(call_seconds, request.budget_seconds)
        empty_seconds = time_calls(_empty, self._timed.arguments, EMPTY_CALLS, self._ranks)[0] / EMPTY_CALLS
        return protocol.Prepared(
            calibration=protocol.Calibration(self._timed.calls, call_seconds),
            busiest_threads=self._timed.busiest_threads(),
            overhead_percent=100 * empty_seconds / call_seconds,
            thread_pools=_thread_pools(),
            build={str(name): str(words) for name, words in self._class.build().items()},
            cost=str(self._class.cost),
            children=processes.look_for_children(),
            first_call=first_call if fresh else None,
            tracing=list(dict.fromkeys(self._tracing)),
        )

    def _check_parts(self, problem: "Problem", threads: int, budget_seconds: float | None) -> None:
        """Call with parts of the examples where a whole call may take long. Raises Refused if it is over the budget."""
        if budget_seconds is not None and timing.first_trial(problem) < problem.examples:
            self._used = True
            seconds = timing.over_budget(self._class, problem, threads, budget_seconds, self._ranks)
            _check_budget(seconds or 0.0, budget_seconds)

    def _first_call(self, problem: "Problem", threads: int) -> tuple[records.FirstCall, Call]:
        """Construct the implementation and call it once; return what that took, and the call."""
        processes.forget_highest()
        instance = problem.turn(0)
        start = perf_counter()
        self._implementation = problem.construct(self._class, threads)
        setup_seconds = perf_counter() - start
        self._native_data = problem.native_data(self._implementation)
        call = problem.call(self._implementation, self._native_data, instance)
        seconds = time_calls(*call, 1, self._ranks)[0]
        peak_rss_bytes = max(0, processes.resident_bytes("VmHWM") - self._bare_rss_bytes)
        return records.FirstCall(self._import_seconds, setup_seconds, seconds, peak_rss_bytes), call

    @contextlib.contextmanager
    def _explained(self, problem: "Problem", threads: int) -> Generator[None]:
        """Have the gate look where a call raises: a wrong gradient often makes the step raise that subtracts it.

        Raises Refused for what the gate finds; if it finds nothing, the exception goes on.
        """
        try:
            yield
        except Refused:
            raise
        except Exception as error:
            words = ""
            with contextlib.suppress(Exception):  # The same exception comes again where nothing is wrong before it.
                if self._implementation is None:
                    self._implementation = problem.construct(self._class, threads)
                words = self._what_is_wrong(problem)
            if words:
                raise Refused(records.Outcome.INCORRECT, words) from error
            raise

    def _what_is_wrong(self, problem: "Problem") -> str:
        """Return what the gate finds, "" for nothing."""
        from impls.conformance.kit import check_workload
        from impls.conformance.violation import summary

        assert self._implementation is not None
        instance, epoch = problem.turn(0), problem.workload.timed == "epoch"
        x, y = (problem.x, problem.y) if epoch else next(problem.mini_batches(instance))
        rate = instance.learning_rate
        return summary(check_workload(self._implementation, instance.parameters, x, y, rate, epoch=epoch))

    def _timed_call(self, problem: "Problem", threads: int, call: Call) -> TimedCall:
        """Return the call with what makes it ready for each problem instance."""
        implementation, native_data = self._implementation, self._native_data
        assert implementation is not None

        def arrange(number: int) -> tuple[Call, Call]:
            instance = problem.turn(number)
            implementation.load(instance.parameters)
            function, arguments = problem.call(implementation, native_data, instance)
            return (function, (*arguments[:-1], instance.untimed_learning_rate)), (function, arguments)

        return TimedCall(call, threads, arrange, implementation.parameters, implementation.compilations, self._ranks)

    def _prepare_rate(self, request: protocol.PrepareRate) -> protocol.PreparedRate:
        """Prepare what implementations are measured against. Raises Refused if that is not possible here."""
        from bench.worker import rates
        from impls.support.errors import Unavailable

        self.release()
        try:
            rate = rates.prepare(request.kind, request.dtype, request.threads, request.sample_seconds)
        except Unavailable as reason:
            raise Refused(records.Outcome.UNAVAILABLE, str(reason)) from reason
        self._timed = rate.timed
        return protocol.PreparedRate(
            what=rate.what,
            flops=rate.flops,
            calibration=protocol.Calibration(rate.timed.calls, rate.call_seconds),
            busiest_threads=rate.timed.busiest_threads(),
        )

    def _ready(self) -> TimedCall:
        """Return the call that is ready to be timed. Raises RuntimeError if none was prepared."""
        if self._timed is None:
            raise RuntimeError("expected a request to prepare before this one, found none")
        return self._timed

    def _hand_over(self, path: str) -> protocol.HandedOver:
        """Write the parameters that the calls of the last sample left behind to a file."""
        import numpy as np

        timed = self._ready()
        with Path(path).open("r+b") as file:

            def write(tensors: Iterable[Any]) -> list[protocol.Tensor]:
                arrays = [np.asarray(tensor) for tensor in tensors]
                for array in arrays:
                    file.write(np.ascontiguousarray(array, np.float64).data)
                return [protocol.Tensor(array.dtype.name, array.shape) for array in arrays]

            weights, biases = write(timed.left.weights), write(timed.left.biases)
        handed_over = protocol.HandedOver(weights, biases, children=processes.look_for_children())
        timed.rest()
        return handed_over

    def _loop(self, seconds: float) -> protocol.Looped:
        """Call until `seconds` have passed or the next request waits; let a profiler attach meanwhile."""
        processes.allow_tracing()
        timed = self._ready()
        timed.arrange(0)
        at_once = LOOP_SAMPLES * timed.calls
        calls, elapsed = 0, 0.0
        while elapsed < seconds and not self._waiting():
            elapsed += time_calls(timed.function, timed.arguments, at_once, self._ranks)[0]
            calls += at_once
        return protocol.Looped(calls, elapsed)

    def _verify(self, request: protocol.Verify) -> protocol.Verified:
        """Run the whole conformance kit on the implementation."""
        from impls.conformance.kit import check, numerical_warnings

        violations, programs = check(self._class), 0
        if not violations and request.examples:
            os.environ["HYPOTHESIS_STORAGE_DIRECTORY"] = request.folder  # or it makes one where the user stands
            from impls.conformance.exploration import explore

            exploration = explore(
                self._class,
                str(self._target),
                examples=request.examples,
                seed=request.seed,
                seconds=request.seconds,
                shrink_seconds=request.seconds,
                begin=lambda text: Path(request.folder, request.PROGRAM).write_text(text, encoding="utf-8"),
            )
            violations, programs = [exploration.violation] if exploration.violation else [], exploration.programs
        return protocol.Verified(violations, programs, [] if violations else numerical_warnings(self._class))

    def release(self) -> None:
        """Free the prepared call and what it holds."""
        if self._implementation is not None:
            self._implementation.close()
            self._implementation = self._native_data = None
        self._timed = None
        processes.give_back()


def _empty(*arguments: object) -> None:
    """Do nothing: what a call of this takes is the harness's own share of a sample."""


def _check_budget(seconds: float, budget_seconds: float) -> None:
    """Raise Refused if a call takes longer than the budget."""
    if seconds > budget_seconds:
        words = f"at least {seconds:.2g} s per call, over the budget of {budget_seconds:g} s"
        raise Refused(records.Outcome.TOO_SLOW, words)


def _thread_pools() -> list[conditions.ThreadPool]:
    """Return the BLAS and OpenMP libraries of this process with the threads that they will use."""
    import threadpoolctl

    known = set(conditions.ThreadPool.__struct_fields__)
    return [
        conditions.ThreadPool(Path(pool["filepath"]).name, **{key: pool[key] for key in known & pool.keys()})
        for pool in threadpoolctl.threadpool_info()
    ]
