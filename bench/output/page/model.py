"""How cost grows: the line of time over batch size, a model of a step from its work, and when a slow start has paid."""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from bench.analysis.estimates import CONFIDENCE, lower_quartile, student_quantile
from bench.output.page.roofline import least_bytes
from bench.records import FirstCall, Results, Row, Workload, WorkloadResult, threads_text
from impls.interface import Array

BATCH_SWEEPS = ("batch", "batch-grid")
SWEEPS = (*BATCH_SWEEPS, "width", "width-grid")  # networks of one depth, so that a call's overhead is one number
CLOSE = 0.2  # of a time: how far the line or a prediction may be from it
MIN_SIZES = 4  # batch sizes for a line
MIN_POINTS = 7  # for a model of four numbers with one point held out
ROUNDING = 1e-12  # of a product: a difference below has no right digit
CACHES = tuple(1 << exponent for exponent in range(18, 29))  # bytes tried, 256 KiB to 256 MiB: what fits best
NO_MARK = 1e-6  # of the longest time: a term below is rounding
WORKLOAD, THAN = "book", "in_place"  # where, and compared with what, a start-up has to pay
Interval = tuple[float, float, float]  # value, low, high


@dataclass(frozen=True)
class Fit:
    """t = overhead + per_example * B, in seconds, with 95 % intervals over processes."""

    label: str
    where: str  # dtype and threads
    overhead: Interval
    per_example: Interval
    worst: float  # the largest distance of the line from a time, as a share of the time …
    worst_at: int  # … and the batch size where that is

    @property
    def holds(self) -> bool:
        """Return whether the line is close enough to every time."""
        return self.worst <= CLOSE


@dataclass(frozen=True)
class Model:
    """t = overhead + flops / rate + (bytes - cache) / bandwidth, and how it predicts what it has not seen."""

    label: str
    where: str  # dtype and threads
    overhead: float  # seconds
    rate: float | None  # flops per second; None where the work left no mark
    bandwidth: float | None  # bytes per second, of those beyond the cache; None where no more are needed
    cache: int  # bytes
    points: int
    close: int  # points that the model of all others predicts within CLOSE
    worst: float  # the largest distance of such a prediction, as a share of the time, with its sign …
    worst_at: str  # … and where that is

    @property
    def holds(self) -> bool:
        """Return whether every point is predicted closely by the others."""
        return self.close == self.points


@dataclass(frozen=True)
class StartUp:
    """What an implementation needs before its first step is done, and after how many steps that has paid."""

    label: str
    seconds: float  # of import, set-up and first call
    steps: float | None  # None: it never does


Swept = list[tuple[WorkloadResult, Row]]  # one implementation on the workloads of sweeps, where it was timed


def _swept(results: Results, sweeps: Sequence[str]) -> dict[tuple[str, str], Swept]:
    """Return what was timed on sweeps over the step, by dtype and threads in words and by label."""
    groups: dict[tuple[str, str], Swept] = {}
    for workload_result in results.workloads:
        workload = workload_result.workload
        if workload.sweep in sweeps and workload.timed == "step":
            for row in results.rows_of(workload.name):
                if row.timed and not row.is_control and "@" not in row.label:
                    groups.setdefault((_where(workload), row.label), []).append((workload_result, row))
    return groups


def _where(workload: Workload) -> str:
    return f"{workload.dtype}, {threads_text(workload.threads)}"


# --- The line ----------------------------------------------------------------------------------------------------


def fits(results: Results) -> list[Fit]:
    """Return the line of each implementation, for every combination of dtype and threads of a batch sweep."""
    groups = _swept(results, BATCH_SWEEPS).items()
    return [fit for (where, label), swept in groups if (fit := _fit(label, where, swept)) is not None]


def _fit(label: str, where: str, swept: Swept) -> Fit | None:
    """Return the fit of an implementation's times, each process by itself; None if there are too few."""
    times = [(each.workload.batch_size, row) for each, row in swept]
    lines = []
    for generation in range(min(len(row.samples) for _, row in times)):
        points = [
            (size, lower_quartile(list(row.samples[generation].values())))
            for size, row in times
            if row.samples[generation]
        ]
        fitted = line(points) if len({size for size, _ in points}) >= MIN_SIZES else None
        if fitted is not None:
            lines.append(fitted)
    if not lines:
        return None
    overhead, slope = _interval([each[0] for each in lines]), _interval([each[1] for each in lines])
    off = {
        size: abs(overhead[0] + slope[0] * size - (row.seconds or 0.0)) / (row.seconds or 1.0) for size, row in times
    }
    worst_at = max(off, key=lambda size: off[size])
    return Fit(label, where, overhead, slope, off[worst_at], worst_at)


def line(points: Sequence[tuple[int, float]]) -> tuple[float, float] | None:
    """Return the overhead t0 and the cost per example c with the smallest sum of ((t0 + c B) / t - 1)^2.

    None if the batch sizes B are too close to each other to tell the two apart.
    """
    sizes, seconds = np.array(points, float).T
    terms = np.stack([1 / seconds, sizes / seconds], axis=1)  # (points, 2)
    matrix = terms.T @ terms
    if np.linalg.det(matrix) <= ROUNDING * matrix[0, 0] * matrix[1, 1]:
        return None
    overhead, per_example = np.linalg.solve(matrix, terms.sum(axis=0))
    return float(overhead), float(per_example)


def _interval(values: Sequence[float]) -> Interval:
    """Return the mean with Student's interval; NaN where one value alone gives none."""
    mean = statistics.fmean(values)
    if len(values) < 2:
        return mean, math.nan, math.nan
    margin = student_quantile(len(values) - 1, CONFIDENCE) * statistics.stdev(values) / math.sqrt(len(values))
    return mean, mean - margin, mean + margin


# --- The model of a step -----------------------------------------------------------------------------------------


def models(results: Results) -> list[Model]:
    """Return the model of each implementation, for every combination of dtype and threads of batch and width sweeps."""
    groups = _swept(results, SWEEPS).items()
    return [_model(label, where, swept) for (where, label), swept in groups if len(swept) >= MIN_POINTS]


def _model(label: str, where: str, swept: Swept) -> Model:
    flops = np.array([each.flops for each, _ in swept], float)
    moved = np.array([least_bytes(each) for each, _ in swept], float)
    seconds = np.array([row.seconds for _, row in swept], float)
    (overhead, per_flop, per_byte), cache = _fitted(flops, moved, seconds)
    off = []
    for held_out in range(len(swept)):
        seen = np.arange(len(swept)) != held_out
        coefficients, held_cache = _fitted(flops[seen], moved[seen], seconds[seen])
        predicted = _work(flops, moved, held_cache)[held_out] @ coefficients
        off.append(float(predicted / seconds[held_out] - 1))
    worst = max(range(len(off)), key=lambda point: abs(off[point]))
    return Model(
        label=label,
        where=where,
        overhead=overhead,
        rate=1 / per_flop if per_flop else None,
        bandwidth=1 / per_byte if per_byte * moved.max() > NO_MARK * seconds.max() else None,
        cache=cache,
        points=len(swept),
        close=sum(abs(each) <= CLOSE for each in off),
        worst=off[worst],
        worst_at=swept[worst][0].workload.name,
    )


def _work(flops: Array, moved: Array, cache: int) -> Array:
    """Return what the terms of the model are proportional to, (points, 3)."""
    return np.stack([np.ones_like(flops), flops, np.maximum(0.0, moved - cache)], axis=1)


def _fitted(flops: Array, moved: Array, seconds: Array) -> tuple[tuple[float, float, float], int]:
    """Return the coefficients, none below 0, and the cache that leave the smallest sum of squared relative errors."""
    from scipy.optimize import nnls

    best_error, best = math.inf, ((0.0, 0.0, 0.0), 0)
    for cache in CACHES:
        terms = _work(flops, moved, cache) / seconds[:, None]
        sizes = np.maximum(np.abs(terms).max(axis=0), np.finfo(float).tiny)  # of terms ten decades apart
        scaled, error = nnls(terms / sizes, np.ones_like(seconds))
        if error < best_error * (1 - 1e-9):
            overhead, per_flop, per_byte = (float(value) for value in scaled / sizes)
            best_error, best = float(error), ((overhead, per_flop, per_byte), cache)
    return best


# --- The start ---------------------------------------------------------------------------------------------------


def start_ups(results: Results) -> list[StartUp]:
    """Return after how many steps others are ahead of in_place on the book's network, slow starts included."""
    than = results.row(WORKLOAD, THAN)
    if than is None or not than.timed or not than.first_calls:
        return []
    ahead = []
    for row in results.rows_of(WORKLOAD):
        if row is than or not row.timed or not row.first_calls:
            continue
        start = _start(row.first_calls)
        more, gain = start - _start(than.first_calls), (than.seconds or 0.0) - (row.seconds or 0.0)
        if gain > 0:
            ahead.append(StartUp(row.label, start, max(0.0, more / gain)))
        elif more > 0.05:
            ahead.append(StartUp(row.label, start, None))
    return sorted(ahead, key=lambda each: each.seconds)


def _start(calls: Sequence[FirstCall]) -> float:
    return statistics.median(each.import_seconds + each.setup_seconds + each.first_call_seconds for each in calls)
