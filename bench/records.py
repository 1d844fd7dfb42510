"""The records that all parts of the benchmark read and write: workloads, settings, samples, results.

Everything that becomes JSON is declared here, once; msgspec encodes, decodes and validates it and says where in a file
something is wrong. A results file is pytest-benchmark's JSON with one more key, `backprop_bench`, that holds `Results`.

Times are in seconds, memory in bytes. In a process repetition, samples of the same round are pairs.
"""

from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated, ClassVar, Literal

import msgspec

from bench.conditions import (
    MAX_LABEL,
    MAX_NAME,
    MAX_REASON,
    Count,
    Generation,
    Machine,
    Positive,
    Seconds,
    Settings,
    ThreadPool,
    Threads,
    Workload,
    printable,
)

SCHEMA = 4  # of `Results`
CONTROL = "control"  # the label of the baseline's second result
UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)  # raised for bytes that are no such JSON
BEFORE = "-before"  # after a label: the implementation as it was in another revision


class Outcome(StrEnum):
    """What became of an implementation on a workload."""

    PENDING = "pending"
    OK = "ok"
    INCORRECT = "incorrect"
    INCORRECT_AFTER_TIMING = "incorrect after timing"
    RETURNED_EARLY = "returned early (work pending)"
    INCONSISTENT_TIMING = "inconsistent timing"
    CRASHED = "crashed"
    TIMED_OUT = "timed out"
    UNAVAILABLE = "unavailable"
    TOO_SLOW = "skipped (too slow)"
    INTERRUPTED = "interrupted"


NOT_TIMED_HERE = (Outcome.UNAVAILABLE, Outcome.TOO_SLOW, Outcome.INTERRUPTED)  # These are no fault of the code.


class FirstCall(msgspec.Struct, frozen=True):
    """What it takes to start with an implementation, in a process that has done nothing else before."""

    import_seconds: float
    setup_seconds: float  # of the constructor and of loading the parameters
    first_call_seconds: float
    peak_rss_bytes: Count  # up to the end of the first call, over those of the bare interpreter


class Sample(msgspec.Struct, frozen=True, array_like=True):
    """One timing: k calls in a row, divided by k. In JSON an array [round, seconds, CPU seconds]."""

    round: Count
    seconds: Seconds
    cpu_seconds: float | None = None


class Process(msgspec.Struct):
    """What one worker measured, and what was found out about it."""

    generation: Generation
    calls: Count  # of a sample
    overhead_percent: float = 0.0
    growth_bytes: float = 0.0  # of the resident memory, per call
    samples: list[Sample] = []


class Estimate(msgspec.Struct, frozen=True):
    """A value with its 95 % confidence interval; low and high are None where one process alone gives no interval."""

    value: Positive
    low: Positive | None = None
    high: Positive | None = None

    @property
    def half_width(self) -> float | None:
        """Return half of the interval's width relative to the value."""
        return None if self.low is None or self.high is None else (self.high - self.low) / (2 * self.value)

    @property
    def ends(self) -> tuple[float, float]:
        """Return the ends of the interval; the value twice where there is none."""
        return self.low or self.value, self.high or self.value

    def holds(self, value: float) -> bool:
        """Return whether there is an interval and the value lies in it."""
        return self.low is not None and self.high is not None and self.low <= value <= self.high

    def scaled(self, factor: float) -> "Estimate":
        """Return the estimate of a multiple."""
        return Estimate(self.value * factor, *(x if x is None else x * factor for x in (self.low, self.high)))


class Result(msgspec.Struct):
    """One implementation on one workload, with all that was found out about it."""

    workload: str
    label: str  # the implementation's name, "control", or "name@1" where it has not the workload's threads
    implementation: str
    threads: Threads
    outcome: Outcome = Outcome.PENDING
    reason: str = ""
    outcome_detail: str = ""  # such as the number of calls after which the parameters were incorrect
    processes: list[Process] = []
    thread_pools: list[ThreadPool] = []
    build: dict[str, str] = {}
    compilations: int = 0  # during samples: those hold the compiler's time, too
    first_calls: list[FirstCall] = []  # of fresh processes
    throttled_samples: Count = 0  # in which a CPU quota stopped the process, although they were taken again
    strayed: str = ""  # threads and processes that left the CPUs they were given, in words
    tracing: list[str] = []  # what traced or checked its processes, in words
    worst_error: float | None = None  # of the parameters that timed calls left behind, as a share of what is allowed
    # Made from the samples:
    seconds: Seconds | None = None
    spread: float | None = None  # interquartile range / median within a process
    cores_used: float | None = None  # CPU time / wall time
    speed_up: Estimate | None = None  # over the baseline
    percent_of_peak: Estimate | None = None

    def __post_init__(self) -> None:
        self.workload = printable(self.workload, MAX_NAME)
        self.label = printable(self.label, MAX_LABEL)
        self.reason = printable(self.reason, MAX_REASON) if self.reason else ""

    @property
    def open(self) -> bool:
        """Return whether more samples can be taken."""
        return self.outcome in (Outcome.PENDING, Outcome.OK)

    @property
    def outcome_text(self) -> str:
        """Return the outcome with its detail: `incorrect after timing (501 calls)`."""
        return f"{self.outcome} ({self.outcome_detail})" if self.outcome_detail else self.outcome

    @property
    def is_control(self) -> bool:
        """Return whether this is the A/A control: the baseline a second time."""
        return self.label == CONTROL

    @property
    def device(self) -> str:
        """Return where the implementation computes, if that is not the CPU."""
        device = self.build.get("device")
        return printable(device, MAX_NAME) if device else ""

    @property
    def timed(self) -> bool:
        """Return whether there is a time, and samples that it is made from."""
        return self.seconds is not None and any(process.samples for process in self.processes)

    @property
    def samples(self) -> list[dict[int, float]]:
        """Return the seconds by round, of each process repetition; empty for one without samples."""
        return seconds_by_round(self.processes)

    def note_tracing(self, words: list[str]) -> None:
        """Record what traced or checked a process, in words that may hold the implementation's own."""
        self.tracing = list(dict.fromkeys([*self.tracing, *(printable(line, MAX_REASON) for line in words)]))

    def fail(self, outcome: Outcome, reason: str, detail: str = "") -> None:
        """Record why the implementation cannot be timed."""
        self.outcome, self.reason, self.outcome_detail = outcome, reason, detail


class Rate(msgspec.Struct):
    """What implementations are measured against: the FMA peak of the cores in use, or the large-GEMM rate."""

    what: str  # was done, in words
    flops: Annotated[int, msgspec.Meta(gt=0, le=1 << 53)]  # of a call
    processes: list[Process] = []
    flops_per_second: Positive | None = None  # from the samples

    @property
    def samples(self) -> list[dict[int, float]]:
        """Return the seconds by round, of each generation."""
        return seconds_by_round(self.processes)


class WorkloadResult(msgspec.Struct):
    """A workload as it was run."""

    workload: Workload
    examples: Annotated[int, msgspec.Meta(gt=0, le=1 << 53)]  # that one timed call goes through
    flops: Annotated[int, msgspec.Meta(gt=0, le=1 << 53)]  # of one timed call
    peak: Rate | None = None  # multiply-adds in registers on all cores in use at once: no implementation can be faster
    no_peak: str = ""  # why there is none, in words
    reference: Rate | None = None  # NumPy's product of large square matrices: what a library reaches

    @property
    def peak_seconds(self) -> float | None:
        """Return the seconds that the operations of a call take at the peak, if it was measured."""
        return self._seconds_at(self.peak)

    @property
    def reference_seconds(self) -> float | None:
        """Return the seconds that the operations of a call take at the reference rate, if it was measured."""
        return self._seconds_at(self.reference)

    @property
    def reference_percent(self) -> float | None:
        """Return the reference rate in per cent of the peak, if both were measured."""
        rates = [rate.flops_per_second for rate in (self.reference, self.peak) if rate and rate.flops_per_second]
        return 100 * rates[0] / rates[1] if len(rates) == 2 else None

    def _seconds_at(self, rate: Rate | None) -> float | None:
        return self.flops / rate.flops_per_second if rate and rate.flops_per_second else None


class Note(msgspec.Struct, frozen=True):
    """What a reader should know before believing the figures; as text, one line that begins with what it is about."""

    text: str
    workloads: tuple[str, ...] = ()  # empty where it is about the whole run
    implementation: str = ""  # the label of the one that it is about, if it is about one alone
    kind: Literal["warning", "failure"] = "warning"  # a failure: the implementation could not be timed, for this reason

    def __str__(self) -> str:
        """Return the note as one line: `book, in_place: crashed: it did`."""
        about = ", ".join(filter(None, (*self.workloads, self.implementation)))
        return f"{about}: {self.text}" if about else self.text


class Results(msgspec.Struct):
    """What a run found."""

    KEY: ClassVar[str] = "backprop_bench"  # in a results file

    schema: int
    date: str  # ISO 8601, with the time zone
    duration_seconds: float
    data: str  # the data set's name
    interrupted: bool
    settings: Settings
    machine: Machine
    load_average_before: float | None
    steal_percent: float | None
    workloads: list[WorkloadResult]
    rows: list[Result]
    notes: list[Note]
    other_cpus: float | None = None  # that other processes kept busy meanwhile, on average
    throttled_seconds: float | None = None  # for which a CPU quota stopped processes meanwhile; None without a quota
    against: str = ""  # the revision or the folder that the rows `…-before` are of

    @property
    def started(self) -> datetime:
        """Return when the run began, in UTC if the date has no time zone. Raises ValueError if it is no ISO 8601."""
        date = datetime.fromisoformat(self.date)
        return date if date.tzinfo else date.replace(tzinfo=UTC)

    def rows_of(self, workload: str) -> list[Result]:
        """Return the rows of a workload, the baseline and its control first."""
        return [row for row in self.rows if row.workload == workload]

    def workload(self, name: str) -> WorkloadResult | None:
        """Return the workload of that name, or None."""
        return next((result for result in self.workloads if result.workload.name == name), None)

    def row(self, workload: str, label: str) -> Result | None:
        """Return the row of a workload with that label, or None."""
        return next((row for row in self.rows if (row.workload, row.label) == (workload, label)), None)

    def speed_up_at(self, workload_result: WorkloadResult, seconds: float | None) -> float | None:
        """Return the speed-up over a workload's baseline at so many seconds a call; None if either is not known."""
        workload = workload_result.workload
        baseline = self.row(workload.name, workload.baseline_label)
        return baseline.seconds / seconds if baseline and baseline.seconds and seconds else None


def seconds_by_round(processes: list[Process]) -> list[dict[int, float]]:
    """Return the seconds by round of each generation, empty for a generation without a process."""
    count = 1 + max((process.generation for process in processes), default=-1)
    seconds: list[dict[int, float]] = [{} for _ in range(count)]
    for process in processes:
        seconds[process.generation] |= {sample.round: sample.seconds for sample in process.samples}
    return seconds
