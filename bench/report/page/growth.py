"""How cost grows: what a call takes before the first example, and for each; and when a slow start has paid."""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from bench.records import FirstCall, Results, Row, WorkloadResult, threads_text
from bench.results.estimates import CONFIDENCE, lower_quartile

SWEEPS = ("batch", "batch-grid")
HOLDS = 0.2  # of a time: how far the line may be from it
FEWEST = 4  # batch sizes for a fit
ROUNDING = 1e-12  # of a product: a difference below has no right digit
WORKLOAD, THAN = "book", "in_place"  # where, and compared with which row, a start-up has to pay


@dataclass(frozen=True)
class Fit:
    """t = overhead + per_example * B of a row, in seconds, with 95 % intervals over processes."""

    label: str
    where: str  # dtype and threads
    overhead: tuple[float, float, float]  # value, low, high
    per_example: tuple[float, float, float]
    worst: float  # the largest distance of the line from a time, as a share of the time …
    worst_at: int  # … and the batch size where that is

    @property
    def holds(self) -> bool:
        """Return whether the line is close enough to every time."""
        return self.worst <= HOLDS


@dataclass(frozen=True)
class StartUp:
    """What a row needs before its first step is done, and after how many steps that has paid."""

    label: str
    seconds: float  # of import, set-up and first call
    steps: float | None  # None: it never does


def fits(results: Results) -> list[Fit]:
    """Return the fits of every row on every combination of dtype and threads of a batch sweep."""
    groups: dict[tuple[str, int], list[WorkloadResult]] = {}
    for of in results.workloads:
        if of.workload.sweep in SWEEPS:
            groups.setdefault((of.workload.dtype, of.workload.threads), []).append(of)
    found = []
    for (dtype, threads), group in groups.items():
        where = f"{dtype}, {threads_text(threads)}"
        labels = dict.fromkeys(row.label for of in group for row in results.rows_of(of.workload.name))
        for label in labels:
            rows = [(of.workload.batch_size, results.row(of.workload.name, label)) for of in group]
            timed = [(size, row) for size, row in rows if row is not None and row.timed and not row.is_control]
            fit = _fit(label, where, timed) if "@" not in label else None
            if fit is not None:
                found.append(fit)
    return found


def start_ups(results: Results) -> list[StartUp]:
    """Return after how many steps rows are ahead of in_place on the book's network, slow starts included."""
    than = results.row(WORKLOAD, THAN)
    if than is None or not than.timed or not than.first_calls or than.seconds is None:
        return []
    found = []
    for row in results.rows_of(WORKLOAD):
        if row is than or not row.timed or not row.first_calls or row.seconds is None:
            continue
        gain, more = than.seconds - row.seconds, _start(row.first_calls) - _start(than.first_calls)
        if gain > 0 or more > 0.05:
            found.append(StartUp(row.label, _start(row.first_calls), max(0.0, more / gain) if gain > 0 else None))
    return sorted(found, key=lambda each: each.seconds)


def _start(calls: Sequence[FirstCall]) -> float:
    return statistics.median(each.import_seconds + each.setup_seconds + each.first_call_seconds for each in calls)


def _fit(label: str, where: str, rows: Sequence[tuple[int, Row]]) -> Fit | None:
    """Return the fit of a row's times, each generation by itself; None if there are too few."""
    if len(rows) < FEWEST:
        return None
    generations = min(len(row.samples) for _, row in rows)
    lines = []
    for generation in range(generations):
        points = [(size, lower_quartile(list(row.samples[generation].values()))) for size, row in rows
                  if row.samples[generation]]  # fmt: skip
        found = line(points) if len({size for size, _ in points}) >= FEWEST else None
        if found is not None:
            lines.append(found)
    if not lines:
        return None
    overhead, slope = (_interval([each[which] for each in lines]) for which in (0, 1))
    off = {size: abs(overhead[0] + slope[0] * size - (row.seconds or 0.0)) / (row.seconds or 1.0) for size, row in rows}
    worst_at = max(off, key=lambda size: off[size])
    return Fit(label, where, overhead, slope, off[worst_at], worst_at)


def line(points: Sequence[tuple[int, float]]) -> tuple[float, float] | None:
    """Return the overhead t0 and the cost per example c with the smallest sum of ((t0 + c B) / t - 1)^2.

    None if the batch sizes B are too close to each other to tell the two apart.
    """
    a11 = sum(1 / t**2 for _, t in points)
    a12 = sum(size / t**2 for size, t in points)
    a22 = sum((size / t) ** 2 for size, t in points)
    b1, b2 = sum(1 / t for _, t in points), sum(size / t for size, t in points)
    determinant = a11 * a22 - a12**2
    if determinant <= ROUNDING * a11 * a22:
        return None
    return (b1 * a22 - b2 * a12) / determinant, (b2 * a11 - b1 * a12) / determinant


def _interval(values: Sequence[float]) -> tuple[float, float, float]:
    """Return the mean with Student's interval; NaN where one value alone gives none."""
    mean = statistics.fmean(values)
    if len(values) < 2:
        return mean, math.nan, math.nan
    from scipy.special import stdtrit

    margin = float(stdtrit(len(values) - 1, (1 + CONFIDENCE) / 2)) * statistics.stdev(values) / math.sqrt(len(values))
    return mean, mean - margin, mean + margin
