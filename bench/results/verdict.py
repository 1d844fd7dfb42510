"""How a row's time changed between two runs, and what can be said of it.

The unit is the process, as within a run. A row's figure in a process is the logarithm of its speed-up over the
baseline of that generation, so that what slowed both counts for nothing; the baseline's own is over the peak. The
change is the difference of the two means with Welch's interval, for two samples of different spread and size.

Two runs of unchanged code differ by a little more than their processes tell: the machine is not quite what it was.
`FLOOR` is added to the standard error of each run. It was measured (results/notes/compare.md) from runs of unchanged
code (`measured_floor`).
"""

import math
import statistics
from collections.abc import Sequence

import msgspec

from bench.records import Estimate, Results
from bench.results.estimates import lower_quartile, pairs

FLOOR = 0.004  # standard deviation between runs of unchanged code, beyond what their processes explain …
PEAK_FLOOR = 0.008  # … and of what is relative to the peak: a core's clock is not the same for scalars and for vectors
CONFIDENCE = 0.95
FASTER, SLOWER, SAME, CANT_TELL = "faster", "slower", "same", "can't tell"


class Change(msgspec.Struct, frozen=True):
    """How many times as long a row takes as before, with its interval, and how clear that is."""

    ratio: Estimate
    clearness: float  # standard errors from 1


def logs(one: Sequence[dict[int, float]], other: Sequence[dict[int, float]]) -> list[float]:
    """Return the logarithm of the ratio of two rows' times in each process that both have."""
    return [math.log(lower_quartile(first) / lower_quartile(second)) for first, second in pairs(one, other)]


def change(old: Sequence[float], new: Sequence[float], floor: float = FLOOR, intervals: int = 1) -> Change | None:
    """Return the change from the per-process logarithms of a row's time relative to the same other row.

    The interval is so wide that all of `intervals` such intervals hold together in 95 of 100 cases (Bonferroni). None
    if a run has one process only.
    """
    if len(old) < 2 or len(new) < 2:
        return None
    from scipy.special import stdtrit

    parts = [statistics.variance(values) / len(values) for values in (old, new)]
    variance = sum(parts) + 2 * floor**2
    # Welch-Satterthwaite; the floor is known, as if from any number of runs
    freedom = variance**2 / max(1e-300, sum(part**2 / (len(v) - 1) for part, v in zip(parts, (old, new), strict=True)))
    error = math.sqrt(variance)
    difference = statistics.fmean(new) - statistics.fmean(old)
    margin = float(stdtrit(min(freedom, 1e6), 1 - (1 - CONFIDENCE) / (2 * intervals))) * error
    ratio = Estimate(math.exp(difference), math.exp(difference - margin), math.exp(difference + margin))
    return Change(ratio, abs(difference) / error if error else math.inf if difference else 0.0)


def verdict(ratio: Estimate | None, margin: float) -> str:
    """Return one word for a ratio of times, new over old, given the margin within which a change does not matter.

    Same: the whole interval is inside the margin. Slower (faster): the interval excludes 1, and the ratio is outside
    the margin. Anything else can't be told.
    """
    if ratio is None or ratio.low is None or ratio.high is None:
        return CANT_TELL
    if 1 / (1 + margin) <= ratio.low and ratio.high <= 1 + margin:
        return SAME
    if ratio.low > 1.0 and ratio.value > 1 + margin:
        return SLOWER
    if ratio.high < 1.0 and ratio.value < 1 / (1 + margin):
        return FASTER
    return CANT_TELL


def measured_floor(runs: Sequence[Results]) -> float:
    """Return the standard deviation between runs of unchanged code beyond what their processes explain.

    It is the median over all rows and workloads that every run has. Raises ValueError for fewer than three runs.
    """
    if len(runs) < 3:
        raise ValueError(f"expected at least 3 runs of unchanged code, found {len(runs)}")
    found = []
    for of in runs[0].workloads:
        for label in {row.label for row in runs[0].rows_of(of.workload.name)} - {of.workload.baseline_label}:
            of_runs = [logs(*(_samples(run, of.workload.name, each) for each in (of.workload.baseline_label, label)))
                       for run in runs]  # fmt: skip
            if all(len(values) > 1 for values in of_runs):
                explained = statistics.fmean(statistics.variance(values) / len(values) for values in of_runs)
                between = statistics.variance([statistics.fmean(values) for values in of_runs])
                found.append(math.sqrt(max(0.0, between - explained)))
    if not found:
        raise ValueError("the runs have no row in common that was timed by several processes")
    return statistics.median(found)


def _samples(results: Results, workload: str, label: str) -> list[dict[int, float]]:
    row = results.row(workload, label)
    return row.samples if row and row.timed else []
