"""Takes the samples: generations of fresh workers, interleaved rounds, a control, and the rates to measure against.

In each generation every row of a workload has a worker of its own. The workers stay alive together; only one computes
at a time. `rounds` has how they take turns. The baseline runs twice, the second time as the control. Workers serve all
workloads of the same number of threads, because starting them is expensive; each generation begins with another
workload, so that what a first call takes is known from processes that had done nothing before.
"""

import random
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from itertools import count, groupby
from pathlib import Path

from bench.cpus import cores, places, siblings, usable_cpus
from bench.measurement.candidates import Candidate, WorkerKey
from bench.measurement.examples import Shared, shared_examples
from bench.measurement.process import WorkerFailed, WorkerProcess
from bench.measurement.rate_workers import RateWorkers
from bench.measurement.rounds import Rounds
from bench.problem.problem import Problem
from bench.protocol import FirstCalled, Prepare, Prepared, PrepareFirst, Start, Started
from bench.records import OK, PENDING, Process, Rate, Settings, Workload
from bench.results.before import look_slower
from bench.results.precision import MAX_GENERATIONS, narrow_enough
from impls.interface import Array
from impls.tracebacks import in_words

BASELINE_BUDGETS = 4.0  # that a call of the baseline may take: without it there is no speed-up


class Sampler:
    """Samples the candidates of several workloads: their rows, and the rates, fill up while `run` is going."""

    def __init__(
        self,
        candidates: Mapping[str, Sequence[Candidate]],
        settings: Settings,
        data: tuple[Array, Array],
        progress: Callable[[str, float], None],
    ) -> None:
        """Take the candidates by workload name, and the data set's x (N, 784) and one-hot y (N, 10)."""
        self.candidates = candidates
        self.settings = settings
        self.interrupted = False
        self.ended = False  # no sample will be taken any more, and an interrupt would lose those that were
        self.failure = ""  # of the benchmark itself: what ended the run early
        self.data_examples = len(data[0])
        self._rates = RateWorkers(candidates, settings)
        self._data = data
        self._random = random.Random(settings.seed)
        self._progress = progress
        self._workers: dict[WorkerKey, WorkerProcess] = {}
        self._hung: dict[str, str] = {}

    def run(self) -> None:
        """Take all samples. Ctrl-C, or a failure of the benchmark itself, ends it early and keeps what is finished."""
        for candidate in self._all():
            reason = candidate.entry.unavailable()
            if reason:
                candidate.row.fail("unavailable", reason)
        try:
            with shared_examples(*self._data) as shared:
                self._run_groups(shared)
                self.ended = True
        except Exception as error:  # not a row's: those are WorkerFailed; hours of samples must not be lost for it
            self.ended = True
            traceback.print_exc()
            self.failure = in_words(error)
        except BaseException:  # Ctrl-C, or what a plugin of pytest ends a test with, such as a timeout
            self.interrupted = self.ended = True
        finally:
            self._rates.close()
        ended = "ended early" if self.failure else "was interrupted"
        for candidate in self._all():
            if candidate.row.outcome == PENDING:
                if (self.interrupted or self.failure) and not any(candidate.row.samples):
                    candidate.row.fail("interrupted", f"the run {ended} before this row was timed")
                else:
                    candidate.row.outcome = OK
        self._progress("done", 1.0)

    def rate(self, workload: str, kind: str) -> Rate | str:
        """Return the samples of the "peak" or the "reference" rate of a workload, or in words why there are none."""
        return self._rates.rate(workload, kind)

    def _run_groups(self, shared: Shared) -> None:
        """Sample all workloads, those of the same number of threads together, each group in its share of the time."""
        workloads = sorted((of[0].workload for of in self.candidates.values()), key=lambda w: w.threads)
        start, seconds = time.monotonic(), self.settings.most_seconds / max(1, len(workloads))
        total, done = self.settings.generations * len(workloads), 0
        for _, of_threads in groupby(workloads, key=lambda w: w.threads):
            group = waiting = list(of_threads)
            for generation in count():
                waiting = [of for of in waiting if self._asks_for_more(of, generation)]
                finished = workloads.index(group[-1]) + 1
                late = self.settings.precision is not None and _over(start + finished * seconds)
                if not waiting or (generation >= self.settings.generations and late):
                    break
                try:
                    for workload in _beginning_with(generation, waiting):
                        fraction = done / total
                        if self.settings.precision is not None:
                            fraction = min(0.99, (time.monotonic() - start) / self.settings.most_seconds)
                        self._progress(self._message(workload, generation), fraction)
                        self._sample_workload(workload, generation, shared)
                        done += 1
                finally:
                    self._stop_workers()
            if self.settings.workload_seconds > 0:
                for workload in group:
                    self._first_calls(workload, shared)

    def _asks_for_more(self, workload: Workload, generations: int) -> bool:
        """Return whether a workload needs more generations than so many."""
        if generations < self.settings.generations:
            return True
        rows = [candidate.row for candidate in self.candidates[workload.name]]
        if generations < 2 * self.settings.generations and look_slower(rows):
            return True  # before it is called slower, it is measured once more
        precision = self.settings.precision
        if precision is None or generations >= MAX_GENERATIONS:
            return False
        return not narrow_enough(rows, precision)

    def _message(self, workload: Workload, generation: int) -> str:
        """Return what is being done, in words."""
        if generation < self.settings.generations:
            return f"generation {generation + 1} of {self.settings.generations}: {workload.name}"
        if self.settings.precision is None:
            return f"generation {generation + 1}: {workload.name}, a row seems to have become slower"
        return f"generation {generation + 1}: {workload.name}, not yet ± {100 * self.settings.precision:g} %"

    def _sample_workload(self, workload: Workload, generation: int, shared: Shared) -> None:
        """Prepare every candidate of a workload, then take its rounds."""
        for candidate in self.candidates[workload.name]:
            hung = self._hung.get(candidate.entry.target)
            needed = candidate.is_baseline or candidate.row.processes  # it worked here: what hung may have been a stall
            if candidate.row.open and hung and not needed:
                candidate.row.fail("timed out", f"not tried again: {hung}")
        candidates = [candidate for candidate in self.candidates[workload.name] if candidate.row.open]
        candidates = self._random.sample(candidates, len(candidates))  # no row is always the first to start
        self._start_workers(candidates, generation)
        ready = self._prepare([candidate for candidate in candidates if candidate.row.open], generation, shared)
        if ready and self.settings.workload_seconds > 0:
            ready += self._rates.ready(workload, generation)
        problem = Problem.make(workload, shared.examples, self.settings.seed)
        workers = self._workers | self._rates.workers
        Rounds(problem, ready, workers, self.settings, generation, Path(shared.exchange)).run()
        for candidate in ready:
            if candidate.row.outcome == "timed out":
                self._note_hung(candidate, candidate.row.reason)

    def _prepare(self, waiting: list[Candidate], generation: int, shared: Shared) -> list[Candidate]:
        """Have workers construct, check and calibrate the candidates, as many side by side as there are cores for.

        Returns those that can be sampled; records why the others cannot.
        """
        ready = []
        while waiting:
            together, waiting = _side_by_side(waiting, generation)
            for candidate, place in together:
                worker = self._workers[candidate.worker_key]
                worker.confine(place)
                worker.send(
                    Prepare(
                        workload=candidate.workload,
                        threads=candidate.threads,
                        data=shared.examples,
                        seed=self.settings.seed,
                        sample_seconds=self.settings.sample_seconds,
                        budget_seconds=None if candidate.calls else self._budget(candidate),
                        calls=candidate.calls,
                        call_seconds=candidate.call_seconds,
                    )
                )
            for candidate, _ in together:
                try:
                    prepared = self._workers[candidate.worker_key].receive(Prepared)
                except WorkerFailed as failure:
                    self._record(candidate, failure)
                    continue
                candidate.calibrated(prepared)
                candidate.cost, candidate.children = prepared.cost, prepared.children
                row = candidate.row
                row.processes.append(Process(generation, prepared.calls, prepared.overhead_percent))
                row.note_tracing(prepared.tracing)
                if prepared.first_call is not None:
                    row.first_calls.append(prepared.first_call)
                if generation == 0:
                    row.thread_pools, row.build = prepared.thread_pools, prepared.build
                ready.append(candidate)
        return ready

    def _budget(self, candidate: Candidate) -> float:
        """Return the longest call that a candidate may take, in seconds."""
        return self.settings.budget_seconds * (BASELINE_BUDGETS if candidate.is_baseline else 1.0)

    def _first_calls(self, workload: Workload, shared: Shared) -> None:
        """Have fresh processes make the first calls that are not known yet, each nothing else."""
        missing = [c for c in self.candidates[workload.name] if any(c.row.samples) and not c.row.first_calls]
        while missing:
            together, missing = _side_by_side([candidate for candidate in missing if candidate.row.open], number=0)
            try:
                self._start_workers([candidate for candidate, _ in together], generation=0)
                started = [candidate for candidate, _ in together if candidate.row.open]
                for candidate in started:
                    request = PrepareFirst(workload, candidate.threads, shared.examples, self.settings.seed)
                    self._workers[candidate.worker_key].send(request)
                for candidate in started:
                    try:
                        reply = self._workers[candidate.worker_key].receive(FirstCalled)
                        candidate.row.first_calls.append(reply.first_call)
                    except WorkerFailed as failure:
                        self._record(candidate, failure)
            finally:
                self._stop_workers()

    def _start_workers(self, candidates: list[Candidate], generation: int) -> None:
        """Start the workers that are missing, as many side by side as there are cores."""
        missing = [c for c in candidates if c.worker_key not in self._workers or not self._workers[c.worker_key].alive]
        cpus = places(cores(), generation)
        while missing:
            together, missing = missing[: len(cpus)], missing[len(cpus) :]
            for candidate, cpu in zip(together, cpus, strict=False):
                place = [cpu] if candidate.threads == 1 else cpus  # OpenBLAS makes no more threads than it finds CPUs
                entry, time_out = candidate.entry, self.settings.time_out
                try:
                    worker = WorkerProcess(candidate.threads, place, time_out, entry.tree, ranks=entry.ranks)
                except WorkerFailed as failure:
                    self._record(candidate, failure)
                    continue
                self._workers[candidate.worker_key] = worker
                worker.send(Start(candidate.entry.target))
            for candidate in (candidate for candidate in together if candidate.row.open):
                worker = self._workers[candidate.worker_key]
                try:
                    worker.receive(Started)
                except WorkerFailed as failure:
                    worker.close()
                    self._record(candidate, failure)

    def _record(self, candidate: Candidate, failure: WorkerFailed) -> None:
        candidate.fail(failure)
        if failure.outcome == "timed out":
            self._note_hung(candidate, str(failure))

    def _note_hung(self, candidate: Candidate, reason: str) -> None:
        if not candidate.is_baseline:
            self._hung.setdefault(candidate.entry.target, f"it gave {reason} on {candidate.workload.name}")

    def _stop_workers(self) -> None:
        for worker in self._workers.values():
            worker.close()
        self._workers.clear()

    def _all(self) -> list[Candidate]:
        return [candidate for of in self.candidates.values() for candidate in of]


def _over(deadline: float) -> bool:
    return time.monotonic() > deadline


def _beginning_with(number: int, workloads: Sequence[Workload]) -> list[Workload]:
    """Return the workloads in turn, beginning with the one of that number."""
    first = number % len(workloads)
    return [*workloads[first:], *workloads[:first]]


def _side_by_side(
    candidates: list[Candidate], number: int
) -> tuple[list[tuple[Candidate, list[int]]], list[Candidate]]:
    """Return the first candidates that have room on the usable CPUs, each with its own, and the rest.

    Which CPU comes first depends on a number, so that no row is always on the same one. One alone is always among them,
    even where CPUs were taken away since the run began. While it is on its own, a row on one thread has its core to
    itself. No more of them compute than a CPU quota allows.
    """
    free, together = places(min(len(siblings()), cores()), number), []
    for candidate in candidates:
        if len(free) < candidate.threads:
            break
        place, free = free[: candidate.threads], free[candidate.threads :]
        together.append((candidate, place))
    if candidates and not together:
        together = [(candidates[0], usable_cpus()[: candidates[0].threads])]
    return together, candidates[len(together) :]
