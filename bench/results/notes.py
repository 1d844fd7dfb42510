"""What a reader should know before believing the figures, in words."""

from bench.records import NOT_TIMED_HERE, OK, Row
from bench.results import estimates

MIN_PROCESSES = 3  # for a claim
NOISY_SPREAD = 0.10  # interquartile range of the baseline's samples over their median
NOISY_STEAL_PERCENT = 1.0  # of the CPU time, given to others
BUSY_CPUS = 0.1  # that other processes use, from which on it is said
WIDE = 0.03  # half-width of an interval over its value
OVER_SHARE = 1.05  # cores used over cores given
MAX_OVERHEAD_PERCENT = 1.0  # of a sample


def notes_on_run(interrupted: bool, steal_percent: float | None, other_cpus: float | None) -> list[str]:
    """Return what holds for a run as a whole."""
    notes = ["the run was interrupted: the figures come from what was finished"] if interrupted else []
    if steal_percent is not None and steal_percent > NOISY_STEAL_PERCENT:
        notes.append(f"the hypervisor gave {steal_percent:.1f} % of the CPU time to others during the run")
    if other_cpus is not None and other_cpus > BUSY_CPUS:
        notes.append(
            f"other processes kept {other_cpus:.1f} CPUs busy during the run; calls take longer then, and rows may be "
            "left out as too slow: repeat it on an idle machine"
        )
    return notes


def notes_on_rows(rows: list[Row]) -> list[str]:
    """Return what holds for the rows of one workload, the baseline first among them."""
    name = rows[0].workload
    notes = [
        f"{name}, {row.label}: {row.outcome}: {row.reason}" for row in rows if row.outcome not in (OK, *NOT_TIMED_HERE)
    ]
    timed = [row for row in rows if row.timed]
    for row in timed:
        notes += [f"{name}, {row.label}: {note}" for note in _notes_on_row(row)]
    wide = [row.label for row in timed if _is_wide(row) and not _is_off(row)]
    if wide:
        notes.append(
            f"{name}: intervals wider than ± {100 * WIDE:.0f} % for {', '.join(wide)}: "
            "run longer, or on an idle machine"
        )
    if timed:
        if len(timed[0].processes) < MIN_PROCESSES:
            processes = "1 process" if len(timed[0].processes) == 1 else f"{len(timed[0].processes)} processes"
            notes.append(f"{name}: only {processes} per row; at least {MIN_PROCESSES} are needed for a claim")
        if (timed[0].spread or 0) > NOISY_SPREAD:
            notes.append(
                f"{name}: noisy machine: the middle half of the baseline's samples spans "
                f"{100 * (timed[0].spread or 0):.0f} % of their median"
            )
    return notes


def _notes_on_row(row: Row) -> list[str]:
    notes = []
    if _is_off(row) and row.speed_up is not None:
        notes.append(
            f"identical code differed by {row.speed_up.low:.3f} to {row.speed_up.high:.3f}: "
            "do not trust differences of this size here"
        )
    if row.cores_used is not None and row.cores_used > row.threads * OVER_SHARE:
        notes.append(f"used {row.cores_used:.2f} cores, but was given {row.threads}")
    outliers = estimates.outliers(row.samples)
    if row.compilations or outliers:
        what = _count(row.compilations, "compilation") if row.compilations else _count(outliers, "outlier")
        notes.append(f"{what} within the samples: a compilation or a disturbance fell into the timing")
    overhead_percent = max(process.overhead_percent for process in row.processes)
    if overhead_percent > MAX_OVERHEAD_PERCENT:
        notes.append(f"the harness's own share of a sample is {overhead_percent:.1f} %")
    return notes


def _count(number: int, what: str) -> str:
    return f"{number} {what}" + "s" * (number != 1)


def _is_off(row: Row) -> bool:
    """Return whether the row is the control and its interval excludes 1."""
    estimate = row.speed_up if row.is_control else None
    return estimate is not None and estimate.half_width is not None and not estimate.holds(1.0)


def _is_wide(row: Row) -> bool:
    half_width = row.speed_up.half_width if row.speed_up else None
    return half_width is not None and half_width > WIDE
