"""What takes part in the rounds of a workload while it is measured: implementations, and rates to compare them with."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from bench.conditions import Settings, Workload
from bench.records import CONTROL, Outcome, Process, Rate, Result, Sample
from bench.runner.audit import Answered, Left
from bench.runner.process import WorkerFailed, WorkerProcess
from bench.system.cpus import cores, places
from bench.worker.protocol import Calibration, Prepared, PreparedRate, PrepareRate, Start, Started
from impls.registry import Entry, find

Kind = Literal["implementation", "peak", "reference"]
PEAK: Kind = "peak"  # of the cores in use
REFERENCE: Kind = "reference"  # what a library reaches
WorkerKey = tuple[str, bool, int]  # what tells the workers of one process repetition apart
RateKey = tuple[str, str, int]  # kind, dtype, threads


@dataclass(eq=False, kw_only=True)
class Participant:
    """A result that is being sampled, with the worker that samples it."""

    workload: Workload
    row: Result
    kind: Kind
    worker: WorkerProcess = field(init=False)
    calibration: Calibration | None = None
    busiest_threads: tuple[int, ...] = ()
    cost: str = "quadratic"  # that it computes the gradient of
    children: bool = False  # whether its worker has started processes
    details: str = ""  # lines about its failure, such as a traceback; no results file has them
    # What the worker's process showed while it was sampled:
    answered: list[Answered] = field(default_factory=list)
    left: Left | None = None  # by the calls of the round that is compared

    def fail(self, failure: WorkerFailed) -> None:
        """Record that a worker gave no good reply."""
        self.row.fail(failure.outcome, str(failure), failure.outcome_detail)
        self.details = failure.details

    def begin(self, generation: int, prepared: Prepared | PreparedRate, overhead_percent: float = 0.0) -> None:
        """Keep what a worker found out before its first sample."""
        self.calibration = prepared.calibration
        self.busiest_threads = tuple(prepared.busiest_threads)
        self.answered, self.left = [], None
        self.row.processes.append(Process(generation, prepared.calibration.calls, overhead_percent))

    def add_sample(self, round_number: int, answered: Answered) -> None:
        """Keep the sample of a round."""
        taken = answered.taken
        self.answered.append(answered)
        self.process.samples.append(Sample(round_number, taken.seconds / taken.calls, taken.cpu_seconds / taken.calls))
        self.row.compilations += taken.compilations
        self.row.throttled_samples += answered.throttled

    @property
    def label(self) -> str:
        """Return the label of the result."""
        return self.row.label

    @property
    def threads(self) -> int:
        """Return the cores that may be used."""
        return self.row.threads

    @property
    def is_baseline(self) -> bool:
        """Return whether this is the baseline or its control."""
        return self.row.is_control or self.label == self.workload.baseline_label

    @property
    def sample_seconds(self) -> float:
        """Return about how long a sample takes, the untimed call of short ones included."""
        assert self.calibration is not None
        calls = self.calibration.calls
        return self.calibration.call_seconds * (calls + (calls > 1))

    @property
    def process(self) -> Process:
        """Return the process that is being sampled."""
        return self.row.processes[-1]


@dataclass(eq=False, kw_only=True)
class Candidate(Participant):
    """An implementation on a workload, with the registry's entry that its workers load."""

    kind: Kind = "implementation"
    entry: Entry

    @property
    def worker_key(self) -> WorkerKey:
        """Return what tells the workers of one repetition apart: the control and each label have one of their own."""
        return self.entry.name, self.row.is_control, self.threads


def plan(workload: Workload, entries: Iterable[Entry]) -> list[Candidate]:
    """Return the candidates of a workload: the baseline, its control, and the implementations."""
    baseline = find(workload.baseline)
    labels = (workload.baseline_label, CONTROL)
    candidates = [_candidate(workload, baseline, label, workload.baseline_threads) for label in labels]
    return candidates + [
        _candidate(workload, entry, entry.name, workload.threads)
        for entry in entries
        if entry.name != workload.baseline_label
    ]


def _candidate(workload: Workload, entry: Entry, label: str, threads: int) -> Candidate:
    row = Result(workload.name, label, entry.implementation, threads)
    return Candidate(workload=workload, row=row, entry=entry)


class RateWorkers:
    """The rates of all workloads, with their workers.

    There is one for each kind of rate, dtype and number of threads, for the whole run: no luck of a process's memory
    shows in multiply-adds in registers, hardly any in the product of large matrices.
    """

    def __init__(self, candidates: Mapping[str, Sequence[Candidate]], settings: Settings) -> None:
        """Take the candidates by workload name."""
        self._settings = settings
        self._workers: dict[RateKey, WorkerProcess] = {}
        self._prepared: dict[RateKey, PreparedRate] = {}
        self._rates = {
            (name, kind): _rate(participants[0].workload, kind)
            for name, participants in candidates.items()
            for kind in (PEAK, REFERENCE)
        }

    def ready(self, workload: Workload, generation: int) -> list[Participant]:
        """Return the rates of a workload, those that can be sampled."""
        rates = [self._rates[workload.name, kind] for kind in (PEAK, REFERENCE)]
        for rate in rates:
            if rate.row.open:
                self._prepare(rate, generation)
        return [rate for rate in rates if rate.row.open]

    def rate(self, workload: str, kind: Kind) -> Rate | str:
        """Return the samples of the "peak" or the "reference" rate of a workload, or in words why there are none."""
        rate = self._rates[workload, kind]
        if not rate.row.open or not any(rate.row.samples):
            return rate.row.reason or "it was not sampled"
        prepared = self._prepared[_key(rate)]
        return Rate(prepared.what, prepared.flops, rate.row.processes)

    def close(self) -> None:
        """End the workers."""
        for worker in self._workers.values():
            worker.close()
        self._workers.clear()

    def _prepare(self, rate: Participant, generation: int) -> None:
        """Have a worker that can sample the rate, or record why there is none."""
        key = _key(rate)
        try:
            if key not in self._prepared:
                self._prepared[key] = self._start(rate, generation)
            rate.worker = self._workers[key]
            if not rate.worker.alive:
                raise WorkerFailed(Outcome.CRASHED, "its worker has ended")
        except WorkerFailed as failure:
            if key in self._workers:
                self._workers[key].close()
            rate.fail(failure)
        else:
            rate.begin(generation, self._prepared[key])

    def _start(self, rate: Participant, generation: int) -> PreparedRate:
        """Start a worker, which chooses how the rate is reached. Raises WorkerFailed."""
        worker = WorkerProcess(rate.threads, places(cores(), generation), self._settings.time_out)
        self._workers[_key(rate)] = worker
        worker.ask(Start(None), Started)
        worker.confine(places(rate.threads, generation))
        request = PrepareRate(rate.kind, rate.workload.dtype, rate.threads, self._settings.sample_seconds)
        return worker.ask(request, PreparedRate)


def _rate(workload: Workload, kind: Kind) -> Participant:
    return Participant(workload=workload, row=Result(workload.name, kind, kind, workload.threads), kind=kind)


def _key(rate: Participant) -> RateKey:
    return rate.kind, rate.workload.dtype, rate.threads
