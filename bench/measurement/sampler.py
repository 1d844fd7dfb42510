"""Takes the samples: generations of fresh workers, interleaved rounds, a control, a limit.

In each generation every row of a workload has a worker of its own. The workers stay alive together; only one computes
at a time. A round takes one sample of each, in random order, so that samples of one round are pairs. The baseline runs
twice, the second time as the control. Workers serve all workloads of the same number of threads, because starting them
is expensive.
"""

import random
import statistics
from collections.abc import Callable, Mapping, Sequence
from itertools import groupby

from bench.cpus import usable_cpus
from bench.measurement.candidates import Candidate
from bench.measurement.examples import shared_examples
from bench.measurement.process import WorkerFailed, WorkerProcess
from bench.records import (
    OK,
    PENDING,
    Limit,
    Prepare,
    Prepared,
    PreparedLimit,
    PrepareLimit,
    Process,
    Row,
    Sample,
    Settings,
    Start,
    Started,
    Take,
    Taken,
    Workload,
)
from impls.interface import Array
from impls.registry import Entry

SLOW = 3  # times a typical row's sample, from which a row is sampled less often …
MAX_STRIDE = 5  # … but at least in every fifth round
LIMIT = "limit"
BASELINE_BUDGETS = 4.0  # that a call of the baseline may take: without it there is no speed-up


class Sampler:
    """Samples the candidates of several workloads: their rows, and `limits`, fill up while `run` is going."""

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
        self.data_examples = len(data[0])
        self._limits = {name: _limit_of(of[0].workload) for name, of in candidates.items()}
        self._data = data
        self._progress = progress
        self._random = random.Random(settings.seed)
        self._workers: dict[tuple[str, bool, int], WorkerProcess] = {}
        self._limit_sizes: dict[tuple[str, int], int] = {}
        self._hung: dict[str, str] = {}

    def run(self) -> None:
        """Take all samples. Ctrl-C ends it early and keeps the rounds that are finished."""
        for candidate in self._all():
            reason = candidate.entry.unavailable()
            if reason:
                candidate.row.fail("unavailable", reason)
        workloads = sorted((of[0].workload for of in self.candidates.values()), key=lambda w: w.threads)
        groups = [list(group) for _, group in groupby(workloads, key=lambda w: w.threads)]
        total, done = self.settings.generations * len(workloads), 0
        with shared_examples(*self._data) as data:
            try:
                for group in groups:
                    for generation in range(self.settings.generations):
                        try:
                            for workload in group:
                                self._progress(
                                    f"generation {generation + 1} of {self.settings.generations}: {workload.name}",
                                    done / total,
                                )
                                self._sample_workload(workload, generation, data)
                                done += 1
                        finally:
                            self._stop_workers()
            except KeyboardInterrupt:
                self.interrupted = True
        for candidate in self._all():
            if candidate.row.outcome == PENDING:
                if self.interrupted and not any(candidate.row.samples):
                    candidate.row.fail("interrupted", "the run was interrupted before this row was timed")
                else:
                    candidate.row.outcome = OK
        self._progress("done", 1.0)

    def limit(self, workload: str) -> Limit | None:
        """Return the samples of the matrix product that sets a workload's limit; None if there are none."""
        candidate = self._limits[workload]
        size = self._limit_sizes.get((candidate.workload.dtype, candidate.threads))
        if size is None or not candidate.row.open or not any(candidate.row.samples):
            return None
        return Limit(size, candidate.row.processes)

    def _sample_workload(self, workload: Workload, generation: int, data: tuple[str, str]) -> None:
        """Prepare every candidate of a workload, then take its rounds."""
        for candidate in self.candidates[workload.name]:
            if candidate.row.open and candidate.entry.target in self._hung:
                candidate.row.fail("timed out", f"not tried again: {self._hung[candidate.entry.target]}")
        candidates = [candidate for candidate in self.candidates[workload.name] if candidate.row.open]
        limit = self._limits[workload.name]
        self._start_workers([*candidates, limit])
        ready = self._prepare([candidate for candidate in candidates if candidate.row.open], generation, data)
        if ready and self.settings.workload_seconds > 0 and self._prepare_limit(limit, generation):
            ready.append(limit)
        strides = self._strides(ready)
        for number in range(self._rounds(ready, strides)):
            cpus = _cpus_of_round(workload.threads, generation + number)
            self._round(number, [c for c in ready if c.row.open and number % strides[c.label] == 0], cpus)

    def _round(self, number: int, candidates: list[Candidate], cpus: list[int]) -> None:
        """Take one sample of each on the same CPUs, in random order; an interrupted round counts for nothing."""
        taken: list[tuple[Candidate, Taken]] = []
        for candidate in self._random.sample(candidates, len(candidates)):
            worker = self._workers[candidate.worker_key]
            worker.confine(cpus[: candidate.threads], candidate.busiest_threads)
            try:
                taken.append((candidate, worker.ask(Take(), Taken)))
            except WorkerFailed as failure:
                self._record(candidate, failure)
        for candidate, sample in taken:
            candidate.process.samples.append(Sample(number, sample.seconds, sample.cpu_seconds))
            candidate.row.compilations += sample.compilations

    def _strides(self, candidates: list[Candidate]) -> dict[str, int]:
        """Return for each row that it is sampled in every n-th round: slow rows less often, they stretch the rounds.

        The baseline, its control and the limit are in every round, so that every sample has its pair.
        """
        typical = statistics.median(candidate.sample_seconds for candidate in candidates) if candidates else 1.0
        return {
            candidate.label: 1
            if candidate.label == LIMIT or candidate.is_baseline
            else min(MAX_STRIDE, max(1, round(candidate.sample_seconds / (SLOW * typical))))
            for candidate in candidates
        }

    def _rounds(self, candidates: list[Candidate], strides: Mapping[str, int]) -> int:
        """Return how many rounds of these candidates fit into the time of a generation."""
        if not candidates or self.settings.workload_seconds <= 0:
            return 0
        round_seconds = sum(candidate.sample_seconds / strides[candidate.label] for candidate in candidates)
        fitting = int(self.settings.workload_seconds / self.settings.generations / round_seconds)
        return min(self.settings.max_rounds, max(self.settings.min_rounds, fitting))

    def _prepare(self, waiting: list[Candidate], generation: int, data: tuple[str, str]) -> list[Candidate]:
        """Have workers construct, check and calibrate the candidates, as many side by side as there are cores for.

        Returns those that can be sampled; records why the others cannot.
        """
        ready = []
        while waiting:
            together, waiting = _side_by_side(waiting)
            for candidate, place in together:
                worker = self._workers[candidate.worker_key]
                worker.confine(place)
                worker.send(
                    Prepare(
                        workload=candidate.workload,
                        threads=candidate.threads,
                        data=data,
                        seed=self.settings.seed,
                        sample_seconds=self.settings.sample_seconds,
                        budget_seconds=None if candidate.prepared else self._budget(candidate),
                    )
                )
            for candidate, _ in together:
                worker = self._workers[candidate.worker_key]
                try:
                    prepared = worker.receive(Prepared)
                except WorkerFailed as failure:
                    self._record(candidate, failure)
                    continue
                _calibrated(candidate, prepared)
                candidate.row.processes.append(
                    Process(
                        generation=generation,
                        calls=prepared.calls,
                        setup_seconds=prepared.setup_seconds,
                        import_seconds=worker.import_seconds,
                        first_call_seconds=prepared.first_call_seconds,
                        peak_rss_bytes=prepared.peak_rss_bytes,
                        overhead_percent=prepared.overhead_percent,
                    )
                )
                if generation == 0:
                    candidate.row.thread_pools, candidate.row.build = prepared.thread_pools, prepared.build
                ready.append(candidate)
        return ready

    def _budget(self, candidate: Candidate) -> float:
        """Return the longest call that a candidate may take, in seconds."""
        return self.settings.budget_seconds * (BASELINE_BUDGETS if candidate.is_baseline else 1.0)

    def _prepare_limit(self, limit: Candidate, generation: int) -> bool:
        """Have a worker prepare the matrix product that sets the limit; its size is chosen once per run."""
        key = (limit.workload.dtype, limit.threads)
        request = PrepareLimit(
            dtype=limit.workload.dtype,
            threads=limit.threads,
            size=self._limit_sizes.get(key),
            sample_seconds=self.settings.sample_seconds,
        )
        try:
            prepared = self._workers[limit.worker_key].ask(request, PreparedLimit)
        except WorkerFailed as failure:
            self._record(limit, failure)
            return False
        self._limit_sizes[key] = prepared.size
        _calibrated(limit, prepared)
        limit.row.processes.append(Process(generation, prepared.calls))
        return True

    def _start_workers(self, candidates: list[Candidate]) -> None:
        """Start the workers that are missing, as many side by side as there are cores."""
        missing = [c for c in candidates if c.worker_key not in self._workers or not self._workers[c.worker_key].alive]
        cpus = usable_cpus()
        while missing:
            together, missing = missing[: len(cpus)], missing[len(cpus) :]
            for candidate, cpu in zip(together, cpus, strict=False):
                place = [cpu] if candidate.threads == 1 else cpus  # OpenBLAS makes no more threads than it finds CPUs
                worker = WorkerProcess(candidate.threads, place, self.settings.time_out)
                self._workers[candidate.worker_key] = worker
                worker.send(Start(candidate.entry.target))
            for candidate in together:
                worker = self._workers[candidate.worker_key]
                try:
                    worker.import_seconds = worker.receive(Started).import_seconds
                except WorkerFailed as failure:
                    worker.close()
                    self._record(candidate, failure)

    def _record(self, candidate: Candidate, failure: WorkerFailed) -> None:
        candidate.row.fail(failure.outcome, str(failure))
        if failure.outcome == "timed out":
            self._hung[candidate.entry.target] = f"it gave {failure} on {candidate.workload.name}"

    def _stop_workers(self) -> None:
        for worker in self._workers.values():
            worker.close()
        self._workers.clear()

    def _all(self) -> list[Candidate]:
        return [candidate for of in self.candidates.values() for candidate in of]


def _limit_of(workload: Workload) -> Candidate:
    """Return the candidate behind the limit of a workload: a worker without an implementation."""
    return Candidate(workload, Entry(LIMIT, "", ""), Row(workload.name, LIMIT, LIMIT, workload.threads))


def _calibrated(candidate: Candidate, prepared: Prepared | PreparedLimit) -> None:
    """Keep what a worker told of this generation's calls."""
    candidate.prepared = True
    candidate.calls, candidate.call_seconds = prepared.calls, prepared.call_seconds
    candidate.busiest_threads = tuple(prepared.busiest_threads)


def _cpus_of_round(threads: int, number: int) -> list[int]:
    """Return the CPUs of a round: neighbours, another set each time, so that no single CPU biases the result."""
    cpus = usable_cpus()
    start = number * threads % len(cpus)
    return (cpus + cpus)[start : start + threads]


def _side_by_side(candidates: list[Candidate]) -> tuple[list[tuple[Candidate, list[int]]], list[Candidate]]:
    """Return the first candidates that have room on the usable CPUs, each with its own, and the rest."""
    cpus, together = usable_cpus(), []
    for candidate in candidates:
        if len(cpus) < candidate.threads:
            break
        together.append((candidate, cpus[: candidate.threads]))
        cpus = cpus[candidate.threads :]
    return together, candidates[len(together) :]
