"""Takes the samples: repetitions with fresh workers, interleaved rounds, a control, and the rates to measure against.

In each repetition every implementation on a workload has a worker of its own. The workers stay alive together; only one
computes at a time. `rounds` has how they take turns. The baseline runs twice, the second time as the control. Workers
serve all workloads of the same number of threads, because starting them is expensive; each repetition begins with
another workload, so that what a first call takes is known from processes that had done nothing before.
"""

import random
import time
import traceback
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import count, groupby
from pathlib import Path

from bench.analysis.compare_implementations import look_slower
from bench.analysis.precision import MAX_PROCESSES, narrow_enough
from bench.conditions import Settings, Workload
from bench.records import Outcome, Rate
from bench.runner.candidates import Candidate, Kind, Participant, RateWorkers, WorkerKey
from bench.runner.process import WorkerFailed, WorkerProcess
from bench.runner.rounds import Rounds
from bench.runner.worker_environment import Shared, shared_examples
from bench.system.cpus import cores, places, siblings, usable_cpus
from bench.worker.protocol import Prepare, Prepared, Start, Started
from bench.workloads.problem import Problem
from impls.interface import Array
from impls.support.loading import Target
from impls.support.tracebacks import in_words

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
        self._hung: dict[Target, str] = {}
        self._start = time.monotonic()
        self._done = self._total = 0  # repetitions of workloads

    def run(self) -> None:
        """Take all samples. Ctrl-C, or a failure of the benchmark itself, ends it early and keeps what is finished."""
        for candidate in self._all():
            reason = candidate.entry.unavailable()
            if reason:
                candidate.row.fail(Outcome.UNAVAILABLE, reason)
        try:
            with shared_examples(*self._data) as shared:
                self._run_groups(shared)
                self.ended = True
        except Exception as error:  # The samples so far must not be lost for a fault of the benchmark itself.
            self.ended = True
            traceback.print_exc()
            self.failure = in_words(error)
        except BaseException:  # Ctrl-C, or what a plugin of pytest ends a test with, such as a timeout
            self.interrupted = self.ended = True
        finally:
            self._rates.close()
        for candidate in self._all():
            if candidate.row.outcome == Outcome.PENDING:
                self._close(candidate)
        self._progress("done", 1.0)

    def _close(self, candidate: Candidate) -> None:
        """Record the outcome of a candidate with which nothing went wrong."""
        if any(candidate.row.samples) or not (self.interrupted or self.failure):
            candidate.row.outcome = Outcome.OK
        else:
            ended = "ended early" if self.failure else "was interrupted"
            candidate.row.fail(Outcome.INTERRUPTED, f"the run {ended} before this implementation was timed")

    def rate(self, workload: str, kind: Kind) -> Rate | str:
        """Return the samples of the "peak" or the "reference" rate of a workload, or in words why there are none."""
        return self._rates.rate(workload, kind)

    def _run_groups(self, shared: Shared) -> None:
        """Sample all workloads, those of the same number of threads together, each group in its share of the time."""
        workloads = sorted((candidates[0].workload for candidates in self.candidates.values()), key=lambda w: w.threads)
        self._total = self.settings.generations * len(workloads)
        seconds_each = self.settings.most_seconds / max(1, len(workloads))
        finished = 0
        for _, workloads_of_threads in groupby(workloads, key=lambda w: w.threads):
            group = list(workloads_of_threads)
            finished += len(group)
            self._run_group(group, self._start + finished * seconds_each, shared)
            if self.settings.workload_seconds > 0:
                for workload in group:
                    self._first_calls(workload, shared)

    def _run_group(self, waiting: list[Workload], deadline: float, shared: Shared) -> None:
        """Sample workloads in one process repetition after the other, until none of them asks for more."""
        for generation in count():
            waiting = [workload for workload in waiting if self._asks_for_more(workload, generation)]
            late = self.settings.precision is not None and time.monotonic() > deadline
            if not waiting or (generation >= self.settings.generations and late):
                return
            first = generation % len(waiting)
            try:
                for workload in [*waiting[first:], *waiting[:first]]:
                    self._progress(self._message(workload, generation), self._fraction())
                    self._sample_workload(workload, generation, shared)
                    self._done += 1
            finally:
                self._stop_workers()

    def _fraction(self) -> float:
        """Return how much of the run is done."""
        if self.settings.precision is None:
            return self._done / self._total
        return min(0.99, (time.monotonic() - self._start) / self.settings.most_seconds)

    def _asks_for_more(self, workload: Workload, generations: int) -> bool:
        """Return whether a workload needs more generations than so many."""
        if generations < self.settings.generations:
            return True
        rows = [candidate.row for candidate in self.candidates[workload.name]]
        if generations < 2 * self.settings.generations and look_slower(rows):
            return True  # before it is called slower, it is measured once more
        precision = self.settings.precision
        if precision is None or generations >= MAX_PROCESSES:
            return False
        return not narrow_enough(rows, precision)

    def _message(self, workload: Workload, generation: int) -> str:
        """Return what is being done, in words."""
        total = f" of {self.settings.generations}" if generation < self.settings.generations else ""
        return f"process {generation + 1}{total}: {workload.name}"

    def _sample_workload(self, workload: Workload, generation: int, shared: Shared) -> None:
        """Prepare every candidate of a workload, then take its rounds."""
        for candidate in _open(self.candidates[workload.name]):
            hung = self._hung.get(candidate.entry.target)
            # Where an implementation was sampled before, what hung elsewhere may have been a stall of the machine.
            if hung and not (candidate.is_baseline or candidate.row.processes):
                candidate.row.fail(Outcome.TIMED_OUT, f"not tried again: {hung}")
        candidates = _open(self.candidates[workload.name])
        candidates = self._random.sample(candidates, len(candidates))  # None is always the first to start.
        self._start_workers(candidates, generation)
        self._prepare(_open(candidates), generation, shared)
        ready: list[Participant] = [*_open(candidates)]
        if ready and self.settings.workload_seconds > 0:
            ready += self._rates.ready(workload, generation)
        problem = Problem.make(workload, shared.examples, self.settings.seed)
        Rounds(problem, ready, self.settings, generation, Path(shared.exchange)).run()
        for candidate in candidates:
            self._note_hung(candidate)

    def _prepare(self, waiting: list[Candidate], generation: int | None, shared: Shared) -> None:
        """Have workers construct, check and calibrate the candidates, as many side by side as there are cores for.

        Without a number of the repetition, only what the first calls take is kept.
        """
        while waiting:
            together, waiting = _side_by_side(waiting, generation or 0)
            for candidate, place in together:
                candidate.worker.confine(place)
                candidate.worker.send(self._request(candidate, shared))
            for candidate, _ in together:
                try:
                    prepared = candidate.worker.receive(Prepared)
                except WorkerFailed as failure:
                    candidate.fail(failure)
                    continue
                if prepared.first_call is not None:
                    candidate.row.first_calls.append(prepared.first_call)
                if generation is not None:
                    _begin(candidate, prepared, generation)

    def _request(self, candidate: Candidate, shared: Shared) -> Prepare:
        budgets = BASELINE_BUDGETS if candidate.is_baseline else 1.0
        return Prepare(
            workload=candidate.workload,
            threads=candidate.threads,
            data=shared.examples,
            seed=self.settings.seed,
            sample_seconds=self.settings.sample_seconds,
            budget_seconds=budgets * self.settings.budget_seconds,
            calibration=candidate.calibration,
        )

    def _first_calls(self, workload: Workload, shared: Shared) -> None:
        """Have fresh processes make the first calls that are not known yet."""
        candidates = _open(self.candidates[workload.name])
        missing = [c for c in candidates if any(c.row.samples) and not c.row.first_calls]
        try:
            self._start_workers(missing, generation=0)
            self._prepare(_open(missing), None, shared)
        finally:
            self._stop_workers()

    def _start_workers(self, candidates: list[Candidate], generation: int) -> None:
        """Give each candidate a worker; start those that are missing, as many side by side as there are cores."""
        missing = []
        for candidate in candidates:
            worker = self._workers.get(candidate.worker_key)
            if worker is not None and worker.alive:
                candidate.worker = worker
            else:
                missing.append(candidate)
        cpus = places(cores(), generation)
        while missing:
            together, missing = missing[: len(cpus)], missing[len(cpus) :]
            for candidate, cpu in zip(together, cpus, strict=False):
                place = [cpu] if candidate.threads == 1 else cpus  # OpenBLAS makes no more threads than it finds CPUs.
                self._start_worker(candidate, place)
            for candidate in _open(together):
                try:
                    candidate.worker.receive(Started)
                except WorkerFailed as failure:
                    candidate.worker.close()
                    candidate.fail(failure)
                    self._note_hung(candidate)

    def _start_worker(self, candidate: Candidate, place: list[int]) -> None:
        """Start a worker and have it import the implementation."""
        entry, time_out = candidate.entry, self.settings.time_out
        try:
            candidate.worker = WorkerProcess(candidate.threads, place, time_out, entry.tree, ranks=entry.ranks)
        except WorkerFailed as failure:
            candidate.fail(failure)
            return
        self._workers[candidate.worker_key] = candidate.worker
        candidate.worker.send(Start(entry.target))

    def _note_hung(self, candidate: Candidate) -> None:
        """Remember that an implementation hung, so that it is not waited for on other workloads, too."""
        if candidate.row.outcome == Outcome.TIMED_OUT:
            reason = f"it gave {candidate.row.reason} on {candidate.workload.name}"
            self._hung.setdefault(candidate.entry.target, reason)

    def _stop_workers(self) -> None:
        for worker in self._workers.values():
            worker.close()
        self._workers.clear()

    def _all(self) -> list[Candidate]:
        return [candidate for candidates in self.candidates.values() for candidate in candidates]


def _open(candidates: Iterable[Candidate]) -> list[Candidate]:
    """Return those that can still be sampled."""
    return [candidate for candidate in candidates if candidate.row.open]


def _begin(candidate: Candidate, prepared: Prepared, generation: int) -> None:
    """Keep what a worker found out about an implementation before its first sample."""
    candidate.begin(generation, prepared, prepared.overhead_percent)
    candidate.cost, candidate.children = prepared.cost, prepared.children
    candidate.row.note_tracing(prepared.tracing)
    if generation == 0:
        candidate.row.thread_pools, candidate.row.build = prepared.thread_pools, prepared.build


def _side_by_side(
    candidates: list[Candidate], number: int
) -> tuple[list[tuple[Candidate, list[int]]], list[Candidate]]:
    """Return the first candidates that have room on the usable CPUs, each with its own, and the rest.

    Which CPU comes first depends on a number, so that none is always on the same one. One alone is always among them,
    even where CPUs were taken away since the run began. While it is on its own, one thread has its core to
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
