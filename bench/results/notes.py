"""What a reader should know before believing the figures, in words."""

from collections.abc import Iterable, Mapping, Sequence
from statistics import median

from bench.records import NOT_TIMED_HERE, Machine, Outcome, Process, Rate, Row, WorkloadResult
from bench.results import estimates
from bench.results.controls import controls_off

MIN_PROCESSES = 3  # for a claim
NOISY_SPREAD = 0.10  # interquartile range of the baseline's samples over their median
NOISY_STEAL_PERCENT = 1.0  # of the CPU time, given to others
MAX_THROTTLED = 0.01  # of a run's time, or of a row's samples, in which a CPU quota stopped processes
BUSY_CPUS = 0.1  # that other processes use, from which on it is said
WIDE = 0.03  # half-width of an interval over its value
JITTER = 1.05  # upper over lower quartile, relative to the baseline's, from which on it is said where it is sure
OVER_SHARE = 1.05  # cores used over cores given
MAX_OVERHEAD_PERCENT = 1.0  # of a sample
MIN_GROWTH_BYTES = 64  # of a process's memory, per call …
MIN_GROWN_BYTES = 1e6  # … and over all its calls: less may be the allocator's own; over fewer than FEW_CALLS …
FEW_CALLS, MIN_GROWN_BYTES_OF_FEW = 20, 64e6  # … it may be the heap, which grows to what a problem needs


def notes_on_run(
    interrupted: bool, steal_percent: float | None, other_cpus: float | None, failure: str = ""
) -> list[str]:
    """Return what holds for a run as a whole; `failure` is what ended it early, if anything did."""
    notes = ["the run was interrupted: the figures come from what was finished"] if interrupted else []
    if failure:
        notes.append(
            f"the run ended early, by a fault of the benchmark: {failure}; the figures come from what was finished"
        )
    if steal_percent is not None and steal_percent > NOISY_STEAL_PERCENT:
        notes.append(f"the hypervisor gave {steal_percent:.1f} % of the CPU time to others during the run")
    if other_cpus is not None and other_cpus > BUSY_CPUS:
        notes.append(
            f"other processes kept {other_cpus:.1f} CPUs busy during the run; calls take longer then, and rows may be "
            "left out as too slow: repeat it on an idle machine"
        )
    return notes


def notes_on_quota(machine: Machine, seconds: float, throttled_seconds: float | None) -> list[str]:
    """Return what a CPU quota meant for a run of so many seconds, for some of which it stopped processes."""
    notes = []
    if machine.cpu_quota is not None and machine.cores is not None:
        cores = _count(machine.cores, "core")
        notes.append(f"a CPU quota of {machine.cpu_quota:.4g} allows {cores}: no row was given more threads than that")
    if throttled_seconds is not None and throttled_seconds > MAX_THROTTLED * seconds:
        notes.append(
            f"the CPU quota stopped processes for {throttled_seconds:.1f} s, summed over CPUs, of {seconds:.1f} s: "
            "samples that it stopped were taken again, but first calls took longer, and rows may be left out as too "
            "slow; allow one CPU more than the most threads that are timed (docker run --cpus)"
        )
    return notes


def note_on_cpus(before: Sequence[int], after: Sequence[int]) -> list[str]:
    """Return that the CPUs which this process may run on are others at the end of a run, if they are."""
    if before == after:
        return []
    words = f"the run began on CPUs {_listed(before)} and ended on {_listed(after)}"
    return [f"{words}: its figures mix both, and rows on several threads may be left out as too slow; repeat it"]


def notes_on_peaks(workloads: Sequence[WorkloadResult]) -> list[str]:
    """Return why workloads have no peak, those of the same reason together."""
    return _by_reason([(of.workload.name, no_peak_text(of.no_peak) if of.no_peak else "") for of in workloads])


def notes_on_references(references: Mapping[str, Rate | str]) -> list[str]:
    """Return why workloads, by name, have no reference rate, those of the same reason together."""
    return _by_reason(
        [(name, f"no reference rate: {rate}" if isinstance(rate, str) else "") for name, rate in references.items()]
    )


def _by_reason(reasons: Sequence[tuple[str, str]]) -> list[str]:
    """Return the reasons of workloads by their names, "" for none, each once and with the workloads that have it."""
    by_reason: dict[str, list[str]] = {}
    for name, reason in reasons:
        by_reason.setdefault(reason, []).append(name)
    return [
        reason if len(names) == len(reasons) else f"{', '.join(names)}: {reason}"
        for reason, names in by_reason.items()
        if reason
    ]


def no_peak_text(reason: str) -> str:
    """Return in words that the per cent of the peak are missing, and why."""
    return f"no % of peak: {reason}"


def notes_on_workloads(workloads: Iterable[list[Row]], precision: float | None = None) -> list[str]:
    """Return what holds for the rows of each workload of a run; the baseline is the first of a workload's rows.

    `precision` is the one that was asked for, if any.
    """
    by_workload = list(workloads)
    off = controls_off([row for rows in by_workload for row in rows])
    return [note for rows in by_workload for note in notes_on_rows(rows, off, precision)]


def failure_text(row: Row) -> str:
    """Return in one line that a row failed, and why."""
    return f"{row.workload}, {row.label}: {row.outcome_text}: {row.reason}"


def notes_on_rows(rows: list[Row], off: Sequence[str] | None = None, precision: float | None = None) -> list[str]:
    """Return what holds for the rows of one workload, the baseline first among them.

    `off` are the workloads of the run whose control does not hold, by default of a run that has no other workload.
    """
    name = rows[0].workload
    off = controls_off(rows) if off is None else off
    notes = [failure_text(row) for row in rows if row.outcome not in (Outcome.OK, *NOT_TIMED_HERE)]
    notes += [f"{name}: {note}" for note in _notes_on_lost_baseline(rows)]
    timed = [row for row in rows if row.timed]
    for row in timed:
        notes += [
            f"{name}, {row.label}: {note}" for note in _notes_on_row(row, rows[0], row.is_control and name in off)
        ]
    throttled = [row.label for row in timed if row.throttled_samples > MAX_THROTTLED * _samples(row)]
    if throttled:
        notes.append(
            f"{name}: the CPU quota stopped {', '.join(throttled)} in more than {100 * MAX_THROTTLED:g} % of the "
            "samples, although they were taken again: their times are too long; raise the quota (docker run --cpus)"
        )
    widest = WIDE if precision is None else precision
    wide = [row.label for row in timed if _is_wider(row, widest) and not (row.is_control and name in off)]
    if wide:
        remedy = "run longer" if precision is None else "run longer (--most-seconds)"
        notes.append(
            f"{name}: intervals wider than ± {100 * widest:g} % for {', '.join(wide)}: {remedy}, or on an idle machine"
        )
    notes += [f"{name}: {note}" for note in _notes_on_few(timed, rows[0])]
    if rows[0].timed and (rows[0].spread or 0) > NOISY_SPREAD:
        notes.append(
            f"{name}: noisy machine: the middle half of the baseline's samples spans "
            f"{100 * (rows[0].spread or 0):.0f} % of their median"
        )
    return notes


def jittery(rows: Sequence[Row]) -> dict[str, float]:
    """Return the rows of one workload whose own jitter their lower quartiles forgive, with `estimates.jitter` of each.

    The baseline is the first of the rows. On the reference runs, with a few hundred rows, one is among them.
    """
    found = {}
    for row in rows[1:]:
        jitter = estimates.jitter(row.samples, rows[0].samples) if row.timed else None
        if jitter is not None and jitter.low is not None and jitter.low > JITTER:
            found[row.label] = jitter.value
    return found


def few_processes_text(processes: int) -> str:
    """Return in words what so few processes mean."""
    return f"only {_count(processes, 'process')} per row; at least {MIN_PROCESSES} are needed for a claim"


def few_rounds_text(fewest: int, most: int) -> str:
    """Return in words what so few rounds per process mean."""
    counted = _count(most, "round") if fewest == most else f"{fewest} to {most} rounds"
    return (
        f"only {counted} per process: with fewer than {estimates.FEW_ROUNDS}, the lower quartile is close to the "
        "minimum; give more --seconds"
    )


def _notes_on_lost_baseline(rows: list[Row]) -> list[str]:
    """Return how far the speed-ups go where the baseline did not last until the end."""
    baseline = rows[0]
    if baseline.outcome == Outcome.OK or not any(row.speed_up for row in rows):
        return []
    last = baseline.processes[-1].generation
    latest = max(baseline.samples[last])
    midway = any(len(row.samples) > last and max(row.samples[last], default=0) > latest for row in rows)
    before = "rounds before that" if midway else f"{_count(last + 1, 'generation')} before"
    return [f"the baseline {baseline.outcome} in generation {last + 1 + (not midway)}: speed-ups are from the {before}"]


def _notes_on_few(timed: list[Row], baseline: Row) -> list[str]:
    """Return which rows have few processes or few rounds."""
    notes = []
    if timed and len(timed[0].processes) < MIN_PROCESSES:
        notes.append(few_processes_text(len(timed[0].processes)))
    counts = {row.label: _rounds(row, baseline) for row in timed if row is not baseline}
    few = {label: count for label, count in counts.items() if count < estimates.FEW_ROUNDS}
    if few:
        which = "all rows" if len(few) == len(counts) else ", ".join(few)
        notes.append(f"{which}: {few_rounds_text(min(few.values()), max(few.values()))}")
    return notes


def _rounds(row: Row, baseline: Row) -> int:
    """Return how many rounds of a typical process a row's figures come from."""
    return estimates.typical_rounds(
        estimates.pairs(baseline.samples, row.samples) or estimates.pairs(row.samples, row.samples)
    )


def _notes_on_row(row: Row, baseline: Row, is_off: bool) -> list[str]:
    notes = []
    if is_off and row.speed_up is not None:
        notes.append(
            f"identical code differed by {row.speed_up.low:.3f} to {row.speed_up.high:.3f}: "
            "do not trust differences of this size here"
        )
    if row.label in (jitter := jittery([baseline, row])):
        notes.append(
            f"jitter: a quarter of its samples took at least {100 * (jitter[row.label] - 1):.0f} % longer than its "
            "time says, which is their lower quartile"
        )
    if row.cores_used is not None and row.cores_used > row.threads * OVER_SHARE:
        notes.append(f"used {row.cores_used:.2f} cores, but was given {row.threads}")
    if row.device:
        notes.append(f"computes on {row.device}, and not on the CPU whose peak the others are measured against")
    peak = row.percent_of_peak
    if peak is not None and (peak.low or peak.value) > 100:
        notes.append(
            f"faster than the peak ({peak.value:.0f} %), which cannot be: the peak was measured while the machine was "
            "slower; repeat the run on an idle machine"
        )
    if row.worst_error is not None and row.worst_error > 1.0:
        notes.append("what its timed calls left behind cannot be judged: after so many steps, rounding decides")
    if row.strayed:
        notes.append(f"{row.strayed}: its times may not be those of the CPUs that it was given")
    growth_bytes = median(process.growth_bytes for process in row.processes)
    if growth_bytes >= MIN_GROWTH_BYTES and sum(map(_has_grown, row.processes)) > len(row.processes) / 2:
        notes.append(f"its memory grows by {_bytes_text(growth_bytes)} per call")
    outliers = estimates.outliers(row.samples)
    if row.compilations or outliers:
        what = _count(row.compilations, "compilation") if row.compilations else _count(outliers, "outlier")
        notes.append(f"{what} within the samples: a compilation or a disturbance fell into the timing")
    overhead_percent = max(process.overhead_percent for process in row.processes)
    if overhead_percent > MAX_OVERHEAD_PERCENT:
        notes.append(f"the harness's own share of a sample is {overhead_percent:.1f} %")
    return notes


def _has_grown(process: Process) -> bool:
    """Return whether a process's memory grew by more over all its samples than it may without a leak."""
    calls = process.calls * len(process.samples)
    return process.growth_bytes * calls >= (MIN_GROWN_BYTES if calls >= FEW_CALLS else MIN_GROWN_BYTES_OF_FEW)


def _listed(cpus: Sequence[int]) -> str:
    return ", ".join(map(str, cpus))


def _bytes_text(count: float) -> str:
    """Return a number of bytes with its unit: 240 bytes, 24.3 kB, 1.9 MB."""
    for unit, scale in (("MB", 1e6), ("kB", 1e3)):
        if count >= scale:
            return f"{count / scale:.1f} {unit}"
    return f"{count:.0f} bytes"


def _count(number: int, what: str) -> str:
    """Return a number of things: 1 process, 2 processes, 3 rounds."""
    plural = "es" if what.endswith("s") else "s"
    return f"{number} {what}{plural * (number != 1)}"


def _samples(row: Row) -> int:
    """Return the number of a row's samples."""
    return sum(len(process.samples) for process in row.processes)


def _is_wider(row: Row, widest: float) -> bool:
    half_width = row.speed_up.half_width if row.speed_up else None
    return half_width is not None and half_width > widest
