"""What a reader should know before believing the figures."""

from collections.abc import Iterable, Mapping, Sequence
from statistics import median

from bench.analysis import estimates
from bench.analysis.estimates import controls_off
from bench.records import CONTROL, NOT_TIMED_HERE, Machine, Note, Outcome, Process, Rate, Row, WorkloadResult

MIN_PROCESSES = 3  # for a claim
NOISY_SPREAD = 0.10  # interquartile range of the baseline's samples over their median
NOISY_STEAL_PERCENT = 1.0  # of the CPU time, which the hypervisor gave to others
MAX_THROTTLED = 0.01  # share of a run's time, or of an implementation's samples, in which a CPU quota stopped processes
BUSY_CPUS = 0.1  # that other processes use
WIDE = 0.03  # half-width of an interval over its value
JITTER = 1.05  # upper over lower quartile, relative to the baseline's
OVER_SHARE = 1.05  # cores used over cores given
MAX_OVERHEAD_PERCENT = 1.0  # of a sample
MIN_GROWTH_BYTES = 64  # of a process's memory, per call …
MIN_GROWN_BYTES = 1e6  # … and over all its calls: less may be the allocator's own; over fewer than FEW_CALLS …
FEW_CALLS, MIN_GROWN_BYTES_OF_FEW = 20, 64e6  # … it may be the heap, which grows to what a problem needs


def notes_on_run(
    interrupted: bool, steal_percent: float | None, other_cpus: float | None, failure: str = ""
) -> list[Note]:
    """Return what disturbed a run as a whole; `failure` is what ended it early, if anything did."""
    texts = []
    if interrupted:
        texts.append("the run was interrupted: the figures come from what was finished")
    if failure:
        texts.append(
            f"the run ended early, by a fault of the benchmark: {failure}; the figures come from what was finished"
        )
    if steal_percent is not None and steal_percent > NOISY_STEAL_PERCENT:
        texts.append(f"the hypervisor gave {steal_percent:.1f} % of the CPU time to others during the run")
    if other_cpus is not None and other_cpus > BUSY_CPUS:
        texts.append(
            f"other processes kept {other_cpus:.1f} CPUs busy during the run; calls take longer then, and "
            "implementations may be left out as too slow: repeat it on an idle machine"
        )
    return list(map(Note, texts))


def notes_on_quota(machine: Machine, seconds: float, throttled_seconds: float | None) -> list[Note]:
    """Return what a CPU quota meant for a run of so many seconds, for some of which it stopped processes."""
    notes = []
    if machine.cpu_quota is not None and machine.cores is not None:
        allowed = f"a CPU quota of {machine.cpu_quota:.4g} allows {_count(machine.cores, 'core')}"
        notes.append(Note(f"{allowed}: no implementation was given more threads than that"))
    if throttled_seconds is not None and throttled_seconds > MAX_THROTTLED * seconds:
        notes.append(
            Note(
                f"the CPU quota stopped processes for {throttled_seconds:.1f} s, summed over CPUs, of {seconds:.1f} s: "
                "samples that it stopped were taken again, but first calls took longer, and implementations may be "
                "left out as too slow; allow one CPU more than the most threads that are timed (docker run --cpus)"
            )
        )
    return notes


def note_on_cpus(before: Sequence[int], after: Sequence[int]) -> list[Note]:
    """Return that the CPUs which this process may run on are others at the end of a run, if they are."""
    if before == after:
        return []
    began, ended = (", ".join(map(str, cpus)) for cpus in (before, after))
    return [
        Note(
            f"the run began on CPUs {began} and ended on {ended}: its figures mix both, and implementations on several "
            "threads may be left out as too slow; repeat it"
        )
    ]


def notes_on_peaks(workloads: Sequence[WorkloadResult]) -> list[Note]:
    """Return why workloads have no peak, those of the same reason together."""
    return _by_reason({each.workload.name: no_peak_text(each.no_peak) if each.no_peak else "" for each in workloads})


def notes_on_references(references: Mapping[str, Rate | str]) -> list[Note]:
    """Return why workloads, by name, have no large-GEMM rate, those of the same reason together."""
    return _by_reason(
        {name: f"no reference rate: {rate}" if isinstance(rate, str) else "" for name, rate in references.items()}
    )


def _by_reason(reasons: Mapping[str, str]) -> list[Note]:
    """Return each reason once, with the workloads that have it unless all have; "" is none."""
    names: dict[str, list[str]] = {}
    for name, reason in reasons.items():
        names.setdefault(reason, []).append(name)
    return [
        Note(reason, () if len(having) == len(reasons) else tuple(having)) for reason, having in names.items() if reason
    ]


def no_peak_text(reason: str) -> str:
    """Return in words that the per cent of the peak are missing, and why."""
    return f"no % of peak: {reason}"


def notes_on_workloads(workloads: Iterable[list[Row]], precision: float | None = None) -> list[Note]:
    """Return what holds for the results on each workload of a run; the baseline is the first of a workload.

    `precision` is the one that was asked for, if any.
    """
    by_workload = list(workloads)
    off = controls_off([row for rows in by_workload for row in rows])
    return [note for rows in by_workload for note in notes_on_rows(rows, off, precision)]


def notes_on_rows(rows: list[Row], off: Sequence[str] | None = None, precision: float | None = None) -> list[Note]:
    """Return what holds for the results on one workload, the baseline first among them.

    `off` are the workloads of the run whose A/A control failed, by default of a run that has no other workload.
    """
    name, baseline = rows[0].workload, rows[0]
    control_is_off = name in (controls_off(rows) if off is None else off)
    timed = [row for row in rows if row.timed]
    notes = [failure_note(row) for row in rows if row.outcome not in (Outcome.OK, *NOT_TIMED_HERE)]
    if baseline.outcome != Outcome.OK and any(row.speed_up for row in rows):
        until_then = f"its {_count(len(baseline.processes), 'process')} until then"
        notes.append(Note(f"the baseline {baseline.outcome}: speed-ups are from {until_then}", (name,)))
    for row in timed:
        notes += [Note(text, (name,), row.label) for text in _about_one(row, baseline, control_is_off)]
    return notes + [Note(text, (name,)) for text in _about_several(timed, baseline, control_is_off, precision)]


def failure_note(row: Row) -> Note:
    """Return why an implementation could not be timed."""
    return Note(f"{row.outcome_text}: {row.reason}", (row.workload,), row.label, "failure")


def jittery(rows: Sequence[Row]) -> dict[str, float]:
    """Return the labels of results whose own jitter their lower quartiles forgive, with `estimates.jitter` of each.

    The baseline is the first of the rows. On the reference runs, with a few hundred results, one is among them.
    """
    factors = {}
    for row in rows[1:]:
        jitter = estimates.jitter(row.samples, rows[0].samples) if row.timed else None
        if jitter is not None and jitter.low is not None and jitter.low > JITTER:
            factors[row.label] = jitter.value
    return factors


def few_processes_text(processes: int) -> str:
    """Return in words what so few processes mean."""
    return f"only {_count(processes, 'process')} per row; at least {MIN_PROCESSES} are needed for a claim"


def few_rounds_text(rounds: int) -> str:
    """Return in words what so few rounds per process mean."""
    return (
        f"only {_count(rounds, 'round')} per process: with fewer than {estimates.FEW_ROUNDS}, the lower quartile is "
        "close to the minimum; give more --seconds"
    )


def _about_several(timed: Sequence[Row], baseline: Row, control_is_off: bool, precision: float | None) -> Iterable[str]:
    """Return what is said once, with the labels of all results on a workload that it holds for."""
    throttled = [row.label for row in timed if row.throttled_samples > MAX_THROTTLED * sum(map(len, row.samples))]
    if throttled:
        yield (
            f"the CPU quota stopped {', '.join(throttled)} in more than {100 * MAX_THROTTLED:g} % of the samples, "
            "although they were taken again: their times are too long; raise the quota (docker run --cpus)"
        )
    widest = WIDE if precision is None else precision
    half_widths = {row.label: row.speed_up.half_width or 0.0 for row in timed if row.speed_up}
    wide = [row.label for row in timed if half_widths.get(row.label, 0.0) > widest]
    if control_is_off:
        wide = [label for label in wide if label != CONTROL]
    if wide:
        remedy = "run longer" if precision is None else "run longer (--most-seconds)"
        yield f"intervals wider than ± {100 * widest:g} % for {', '.join(wide)}: {remedy}, or on an idle machine"
    if timed and len(timed[0].processes) < MIN_PROCESSES:
        yield few_processes_text(len(timed[0].processes))
    rounds = {row.label: _rounds(row, baseline) for row in timed if row is not baseline}
    few = {label: count for label, count in rounds.items() if count < estimates.FEW_ROUNDS}
    if few:
        labels = "all rows" if len(few) == len(rounds) else ", ".join(few)
        yield f"{labels}: {few_rounds_text(min(few.values()))}"
    if baseline.timed and (baseline.spread or 0.0) > NOISY_SPREAD:
        percent = 100 * (baseline.spread or 0.0)
        yield f"noisy machine: the middle half of the baseline's samples spans {percent:.0f} % of their median"


def _rounds(row: Row, baseline: Row) -> int:
    """Return how many rounds of a typical process a result's figures come from."""
    return estimates.typical_rounds(
        estimates.pairs(baseline.samples, row.samples) or estimates.pairs(row.samples, row.samples)
    )


def _about_one(row: Row, baseline: Row, control_is_off: bool) -> Iterable[str]:
    """Return what is said of one result."""
    if row.is_control and control_is_off and row.speed_up is not None:
        yield (
            f"identical code differed by {row.speed_up.low:.3f} to {row.speed_up.high:.3f}: "
            "do not trust differences of this size here"
        )
    for factor in jittery([baseline, row]).values():
        yield (
            f"jitter: a quarter of its samples took at least {100 * (factor - 1):.0f} % longer than its time says, "
            "which is their lower quartile"
        )
    if row.cores_used is not None and row.cores_used > row.threads * OVER_SHARE:
        yield f"used {row.cores_used:.2f} cores, but was given {row.threads}"
    if row.device:
        yield f"computes on {row.device}, and not on the CPU whose peak the others are measured against"
    peak = row.percent_of_peak
    if peak is not None and (peak.low or peak.value) > 100:
        yield (
            f"above 100 % of the peak ({peak.value:.0f} %): the machine was slower while the peak was measured; repeat "
            "the run on an idle machine"
        )
    if row.worst_error is not None and row.worst_error > 1.0:
        yield "final parameters not verifiable: rounding dominates after this many steps"
    if row.strayed:
        yield f"{row.strayed}: its times may not be those of the CPUs that it was given"
    growth_bytes = median(process.growth_bytes for process in row.processes)
    if growth_bytes >= MIN_GROWTH_BYTES and sum(map(_has_grown, row.processes)) > len(row.processes) / 2:
        yield f"its memory grows by {growth_bytes / 1000:,.1f} kB per call"
    outliers = estimates.outliers(row.samples)
    if row.compilations or outliers:
        what = _count(row.compilations, "compilation") if row.compilations else _count(outliers, "outlier")
        yield f"{what} within the samples: a compilation or a disturbance fell into the timing"
    overhead_percent = max(process.overhead_percent for process in row.processes)
    if overhead_percent > MAX_OVERHEAD_PERCENT:
        yield f"the harness's own share of a sample is {overhead_percent:.1f} %"


def _has_grown(process: Process) -> bool:
    """Return whether a process's memory grew by more over all its samples than it may without a leak."""
    calls = process.calls * len(process.samples)
    return process.growth_bytes * calls >= (MIN_GROWN_BYTES if calls >= FEW_CALLS else MIN_GROWN_BYTES_OF_FEW)


def _count(number: int, what: str) -> str:
    """Return a number of things: 1 process, 2 processes, 3 rounds."""
    plural = "es" if what.endswith("s") else "s"
    return f"{number} {what}{plural * (number != 1)}"
