"""Takes the samples: generations of fresh workers, interleaved rounds, a control, a limit.

In each generation every row of a workload has a worker of its own, all alive together; a round takes one sample of
each, in random order, so that samples of one round are pairs. The baseline runs twice, the second time as the
control. One worker computes at a time; the others sleep. Workers serve all workloads of the same number of threads,
because starting them is what costs.
"""

import random
import statistics
import tempfile
from collections.abc import Callable, Generator, Iterable, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np

from bench.process import WorkerFailed, WorkerProcess
from bench.workloads import Workload, usable_cpus
from impls import find
from impls.interface import Array

CONTROL = "control"
SLOW = 3  # times a typical row's sample, from which a row is sampled less often …
MOST_STRIDE = 5  # … but at least in every fifth round
LIMIT = "limit"
BASELINE_BUDGETS = 4.0  # that a call of the baseline may take


@dataclass(frozen=True)
class Settings:
    """How much to measure. Times are in seconds."""

    generations: int = 7
    workload_seconds: float = 6.0  # of sampling per workload, over all generations
    sample_seconds: float = 0.005  # at least, per sample
    budget_seconds: float = 0.1  # a call that takes longer leaves its row out
    time_out: float = 120.0  # for any answer of a worker
    fewest_rounds: int = 3
    most_rounds: int = 40
    seed: int = 0


@dataclass(repr=False, eq=False)
class Row:
    """One implementation on one workload, with all that was found out about it."""

    workload: Workload
    label: str  # the implementation's name, "control", or "name@1" where it has not the workload's threads
    implementation: str
    threads: int
    outcome: str = "pending"  # then: ok, wrong, crashed, timed out, unavailable, left out, interrupted
    reason: str = ""
    samples: list[dict[int, float]] = field(default_factory=list)  # seconds per call by round, of each generation
    cpu_seconds: list[dict[int, float]] = field(default_factory=list)  # likewise
    compilations: int = 0  # during samples: those hold the compiler's time, too
    facts: list[dict[str, Any]] = field(default_factory=list)  # what the worker told, by generation

    def __repr__(self) -> str:
        return f"{self.workload.name}-{self.label}"

    @property
    def open(self) -> bool:
        """Return whether the row can still be sampled."""
        return self.outcome in ("pending", "ok")

    @property
    def worker_key(self) -> tuple[str, bool, int]:
        """Return what tells the workers of one generation apart: the control has one of its own."""
        return self.implementation, self.label == CONTROL, self.threads

    @property
    def sample_seconds(self) -> float:
        """Return about how long a sample takes, the untimed call of short ones included."""
        calls: int = self.facts[-1]["calls"]
        seconds: float = self.facts[-1]["call_seconds"]
        return seconds * (calls + (calls > 1))

    def fail(self, outcome: str, reason: str) -> None:
        """Record why the row cannot be timed."""
        self.outcome, self.reason = outcome, reason


def plan(workload: Workload, implementations: Iterable[str]) -> list[Row]:
    """Return the rows of a workload: the baseline, its control, and the implementations."""
    baseline = workload.baseline
    label = baseline if workload.baseline_threads == workload.threads else f"{baseline}@{workload.baseline_threads}"
    rows = [
        Row(workload, label, baseline, workload.baseline_threads),
        Row(workload, CONTROL, baseline, workload.baseline_threads),
    ]
    for spec in implementations:
        name = find(spec).name
        if name != label:
            rows.append(Row(workload, name, spec, workload.threads))
    return rows


@contextmanager
def examples_folder(x: Array, y: Array) -> Generator[str]:
    """Give a folder in which workers find x (N, 784) and one-hot y (N, 10)."""
    with tempfile.TemporaryDirectory(prefix="backprop-bench-") as folder:
        np.save(Path(folder) / "x.npy", x)
        np.save(Path(folder) / "y.npy", y)
        yield folder


class Sampler:
    """Samples the rows of several workloads; `rows` and `limits` fill up while `run` is going."""

    def __init__(
        self,
        rows: Mapping[str, list[Row]],
        settings: Settings,
        data: tuple[Array, Array],
        progress: Callable[[str, float], None],
    ) -> None:
        """Take the rows by workload name, and the data set's x (N, 784) and one-hot y (N, 10)."""
        self.rows = rows
        self.limits = {name: Row(of[0].workload, LIMIT, LIMIT, of[0].workload.threads) for name, of in rows.items()}
        self.settings = settings
        self.interrupted = False
        self.data_examples = len(data[0])
        self._data = data
        self._progress = progress
        self._random = random.Random(settings.seed)
        self._workers: dict[tuple[str, bool, int], WorkerProcess] = {}
        self._limit_sizes: dict[tuple[str, int], int] = {}
        self._hung: dict[str, str] = {}

    def run(self) -> None:
        """Take all samples. Ctrl-C ends it early and keeps the rounds that are finished."""
        for row in self._all_rows():
            reason = find(row.implementation).unavailable()
            if reason:
                row.fail("unavailable", reason)
        workloads = sorted((rows[0].workload for rows in self.rows.values()), key=lambda w: w.threads)
        groups = [list(group) for _, group in groupby(workloads, key=lambda w: w.threads)]
        total, done = self.settings.generations * len(workloads), 0
        with examples_folder(*self._data) as folder:
            try:
                for group in groups:
                    for generation in range(self.settings.generations):
                        try:
                            for workload in group:
                                self._progress(
                                    f"generation {generation + 1} of {self.settings.generations}: {workload.name}",
                                    done / total,
                                )
                                self._sample_workload(workload, generation, folder)
                                done += 1
                        finally:
                            self._stop_workers()
            except KeyboardInterrupt:
                self.interrupted = True
        for row in [*self._all_rows(), *self.limits.values()]:
            if row.outcome == "pending":
                if self.interrupted and not any(row.samples):
                    row.fail("interrupted", "the run was interrupted before this row was timed")
                else:
                    row.outcome = "ok"
        self._progress("done", 1.0)

    def _sample_workload(self, workload: Workload, generation: int, folder: str) -> None:
        """Prepare every row of a workload, then take its rounds."""
        for row in self.rows[workload.name]:
            if row.open and row.implementation in self._hung:
                row.fail("timed out", f"not tried again: {self._hung[row.implementation]}")
        rows = [row for row in self.rows[workload.name] if row.open]
        self._start_workers([*rows, self.limits[workload.name]])
        ready = self._prepare_rows([row for row in rows if row.open], folder)
        rows = [row for row in rows if row.label in ready]
        limit = self.limits[workload.name]
        if rows and self.settings.workload_seconds > 0:
            worker = self._prepare_limit(limit)
            if worker is not None:
                ready[LIMIT] = worker
                rows.append(limit)
        for row in rows:
            row.samples.append({})
            row.cpu_seconds.append({})
        strides = self._strides(rows)
        for number in range(self._rounds(rows, strides)):
            cpus = _cpus_of_round(workload.threads, generation + number)
            self._round(number, [row for row in rows if row.open and number % strides[row.label] == 0], ready, cpus)

    def _round(self, number: int, rows: list[Row], ready: Mapping[str, WorkerProcess], cpus: list[int]) -> None:
        """Take one sample of each row on the same CPUs, in random order; an interrupted round counts for nothing."""
        taken = {}
        for row in self._random.sample(rows, len(rows)):
            ready[row.label].confine(cpus[: row.threads], row.facts[-1]["busiest_threads"])
            try:
                taken[row.label] = ready[row.label].ask("sample")
            except WorkerFailed as failure:
                self._record(row, failure)
        for row in rows:
            if row.label in taken:
                row.samples[-1][number] = taken[row.label]["seconds"]
                row.cpu_seconds[-1][number] = taken[row.label]["cpu_seconds"]
                row.compilations += int(taken[row.label]["compilations"])

    def _strides(self, rows: list[Row]) -> dict[str, int]:
        """Return for each row that it is sampled in every n-th round: slow rows less often, they stretch the rounds.

        The baseline, its control and the limit are in every round, so that every sample has its pair.
        """
        typical = statistics.median(row.sample_seconds for row in rows) if rows else 1.0
        return {
            row.label: 1
            if row.label == LIMIT or self._is_baseline(row)
            else min(MOST_STRIDE, max(1, round(row.sample_seconds / (SLOW * typical))))
            for row in rows
        }

    def _rounds(self, rows: list[Row], strides: Mapping[str, int]) -> int:
        """Return how many rounds of these rows fit into the time of a generation."""
        if not rows or self.settings.workload_seconds <= 0:
            return 0
        round_seconds = sum(row.sample_seconds / strides[row.label] for row in rows)
        fitting = int(self.settings.workload_seconds / self.settings.generations / round_seconds)
        return min(self.settings.most_rounds, max(self.settings.fewest_rounds, fitting))

    def _prepare_rows(self, rows: list[Row], folder: str) -> dict[str, WorkerProcess]:
        """Have workers construct, check and calibrate the rows, as many side by side as there are cores for.

        Returns the workers of those that can be sampled; records why the others cannot.
        """
        ready = {}
        while rows:
            together, rows = _side_by_side(rows)
            for row, place in together:
                self._workers[row.worker_key].confine(place)
                self._workers[row.worker_key].send(
                    "prepare",
                    workload=asdict(row.workload),
                    threads=row.threads,
                    data=folder,
                    seed=self.settings.seed,
                    sample_seconds=self.settings.sample_seconds,
                    budget_seconds=self._budget(row) if not row.facts else None,  # decided once
                )
            for row, _ in together:
                worker = self._workers[row.worker_key]
                try:
                    row.facts.append(worker.started | worker.receive())
                    ready[row.label] = worker
                except WorkerFailed as failure:
                    self._record(row, failure)
        return ready

    def _budget(self, row: Row) -> float:
        """Return the longest call that a row may take; the baseline, without which all is lost, has more."""
        return self.settings.budget_seconds * (BASELINE_BUDGETS if self._is_baseline(row) else 1.0)

    def _is_baseline(self, row: Row) -> bool:
        """Return whether the row is the baseline or its control."""
        return row.label == CONTROL or row is self.rows[row.workload.name][0]

    def _prepare_limit(self, row: Row) -> WorkerProcess | None:
        """Have a worker prepare the matrix product that sets the limit; its size is chosen once per run."""
        key = (row.workload.dtype, row.threads)
        try:
            worker = self._workers[row.worker_key]
            facts = worker.ask(
                "prepare_limit",
                dtype=row.workload.dtype,
                threads=row.threads,
                size=self._limit_sizes.get(key),
                sample_seconds=self.settings.sample_seconds,
            )
        except WorkerFailed as failure:
            self._record(row, failure)
            return None
        self._limit_sizes[key] = facts["size"]
        row.facts.append(facts)
        return worker

    def _start_workers(self, rows: list[Row]) -> None:
        """Start the workers that are missing, as many side by side as there are cores."""
        missing = [
            row for row in rows if row.worker_key not in self._workers or not self._workers[row.worker_key].alive
        ]
        cpus = usable_cpus()
        while missing:
            together, missing = missing[: len(cpus)], missing[len(cpus) :]
            for row, cpu in zip(together, cpus, strict=False):
                place = [cpu] if row.threads == 1 else cpus  # OpenBLAS makes no more threads than it finds CPUs
                worker = WorkerProcess(row.threads, place, self.settings.time_out)
                self._workers[row.worker_key] = worker
                worker.send("start", implementation=row.implementation)
            for row in together:
                worker = self._workers[row.worker_key]
                try:
                    worker.started = worker.receive()
                except WorkerFailed as failure:
                    worker.close()
                    self._record(row, failure)

    def _record(self, row: Row, failure: WorkerFailed) -> None:
        row.fail(failure.outcome, str(failure))
        if failure.outcome == "timed out":
            self._hung[row.implementation] = f"it gave {failure} on {row.workload.name}"

    def _stop_workers(self) -> None:
        for worker in self._workers.values():
            worker.close()
        self._workers.clear()

    def _all_rows(self) -> list[Row]:
        return [row for rows in self.rows.values() for row in rows]


def _cpus_of_round(threads: int, number: int) -> list[int]:
    """Return the CPUs of a round: neighbours, another set each time, so that no one of them decides."""
    cpus = usable_cpus()
    start = number * threads % len(cpus)
    return (cpus + cpus)[start : start + threads]


def _side_by_side(rows: list[Row]) -> tuple[list[tuple[Row, list[int]]], list[Row]]:
    """Return the first rows that have room on the usable CPUs, each with its own, and the rest."""
    cpus, together = usable_cpus(), []
    for row in rows:
        if len(cpus) < row.threads:
            break
        together.append((row, cpus[: row.threads]))
        cpus = cpus[row.threads :]
    return together, rows[len(together) :]
