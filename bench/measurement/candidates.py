"""The candidates of a workload: rows to be filled, each with the registry's entry that its workers load."""

from collections.abc import Iterable
from dataclasses import dataclass

from bench.measurement.process import WorkerFailed
from bench.protocol import Prepared, PreparedRate
from bench.records import CONTROL, Process, Row, Workload
from impls.registry import Entry, find

WorkerKey = tuple[str, bool, int]  # what tells the workers of one generation apart


@dataclass(eq=False)
class Candidate:
    """A row of a workload while it is measured."""

    workload: Workload
    entry: Entry
    row: Row
    calls: int = 0  # of a sample, as its workers are calibrated; 0: none was yet
    call_seconds: float = 0.0
    busiest_threads: tuple[int, ...] = ()
    cost: str = "quadratic"  # that it computes the gradient of
    children: bool = False  # whether its worker has started processes
    details: str = ""  # lines about its failure, such as a traceback; no results file has them

    def fail(self, failure: WorkerFailed) -> None:
        """Record that a worker gave no good reply."""
        self.row.fail(failure.outcome, str(failure))
        self.details = failure.details

    def calibrated(self, prepared: Prepared | PreparedRate) -> None:
        """Keep what a worker told of this generation's calls."""
        self.calls, self.call_seconds = prepared.calls, prepared.call_seconds
        self.busiest_threads = tuple(prepared.busiest_threads)

    @property
    def label(self) -> str:
        """Return the row's label."""
        return self.row.label

    @property
    def threads(self) -> int:
        """Return the cores that the row may use."""
        return self.row.threads

    @property
    def is_baseline(self) -> bool:
        """Return whether the row is the baseline or its control."""
        return self.row.is_control or self.label == self.workload.baseline_label

    @property
    def worker_key(self) -> WorkerKey:
        """Return what tells the workers of one generation apart: the control and each label have one of their own."""
        return self.entry.name, self.row.is_control, self.threads

    @property
    def sample_seconds(self) -> float:
        """Return about how long a sample takes, the untimed call of short ones included."""
        return self.call_seconds * (self.calls + (self.calls > 1))

    @property
    def process(self) -> Process:
        """Return the process that is being sampled."""
        return self.row.processes[-1]


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
    return Candidate(workload, entry, Row(workload.name, label, entry.implementation, threads))
