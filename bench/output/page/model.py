"""How cost grows: the line of time over batch size, a model of a step from its work, and when a slow start has paid."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from bench.analysis.estimates import CONFIDENCE, lower_quartile, student_quantile
from bench.conditions import threads_text
from bench.output.page.roofline import least_bytes
from bench.records import Result, Results, WorkloadResult
from impls.interface import Array

BATCH_SWEEPS = ("batch", "batch-grid")
SWEEPS = (*BATCH_SWEEPS, "width", "width-grid")  # networks of one depth, so that a call's overhead is one number
CLOSE = 0.2  # of a time: how far the line or a prediction may be from it
MIN_SIZES = 4  # batch sizes for a line
MIN_POINTS = 7  # for a model of four numbers with one point held out
CACHES = tuple(1 << exponent for exponent in range(18, 29))  # bytes tried, 256 KiB to 256 MiB: what fits best
NO_MARK = 1e-6  # of the longest time: a term below is rounding
START_UP_WORKLOAD, START_UP_BASELINE = "book", "in_place"  # where, and compared with what, a start-up has to pay
MIN_START_UP = 0.05  # seconds more than the baseline's, from which on a start-up that never pays is shown
Interval = tuple[float, float, float]  # value, low, high
Swept = list[tuple[WorkloadResult, Result]]  # an implementation on the workloads of sweeps, where it was timed


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


def _swept(results: Results, sweeps: Sequence[str]) -> dict[tuple[str, str], Swept]:
    """Return what was timed on sweeps over the step, by label and by dtype and threads in words."""
    groups: dict[tuple[str, str], Swept] = {}
    for workload_result in results.workloads:
        workload = workload_result.workload
        if workload.sweep in sweeps and workload.timed == "step":
            where = f"{workload.dtype}, {threads_text(workload.threads)}"
            for result in results.rows_of(workload.name):
                if result.timed and not result.is_control and "@" not in result.label:
                    groups.setdefault((result.label, where), []).append((workload_result, result))
    return groups


# --- The line ----------------------------------------------------------------------------------------------------


def fits(results: Results) -> list[Fit]:
    """Return the line of each implementation, for every combination of dtype and threads of a batch sweep."""
    return [
        fit
        for (label, where), swept in _swept(results, BATCH_SWEEPS).items()
        if (fit := _fit(label, where, swept)) is not None
    ]


def _fit(label: str, where: str, swept: Swept) -> Fit | None:
    """Return the fit of an implementation's times, each process by itself; None with too few sizes or processes."""
    sizes = np.array([workload_result.workload.batch_size for workload_result, _ in swept], float)
    seconds = np.array([result.seconds for _, result in swept], float)
    processes = [
        [lower_quartile(list(rounds.values())) for rounds in by_size]
        for by_size in zip(*(result.samples for _, result in swept), strict=False)
        if all(by_size)
    ]
    if len(set(sizes)) < MIN_SIZES or len(processes) < 2:
        return None
    slopes, overheads = zip(*(_line(sizes, np.array(times)) for times in processes), strict=True)
    overhead, per_example = _interval(overheads), _interval(slopes)
    distances = np.abs((overhead[0] + per_example[0] * sizes) / seconds - 1)
    worst = int(distances.argmax())
    return Fit(label, where, overhead, per_example, float(distances[worst]), int(sizes[worst]))


def _line(sizes: Array, seconds: Array) -> tuple[float, float]:
    """Return the cost per example c and the overhead t0 with the smallest sum of ((t0 + c B) / t - 1)^2."""
    per_example, overhead = np.polyfit(sizes, seconds, 1, w=1 / seconds)
    return float(per_example), float(overhead)


def _interval(values: Sequence[float]) -> Interval:
    """Return the mean with Student's interval."""
    mean = statistics.fmean(values)
    margin = student_quantile(len(values) - 1, CONFIDENCE) * statistics.stdev(values) / len(values) ** 0.5
    return mean, mean - margin, mean + margin


# --- The model of a step -----------------------------------------------------------------------------------------


def models(results: Results) -> list[Model]:
    """Return the model of each implementation, for every combination of dtype and threads of batch and width sweeps."""
    groups = _swept(results, SWEEPS).items()
    return [_model(label, where, swept) for (label, where), swept in groups if len(swept) >= MIN_POINTS]


def _model(label: str, where: str, swept: Swept) -> Model:
    flops = np.array([workload_result.flops for workload_result, _ in swept], float)
    moved = np.array([least_bytes(workload_result) for workload_result, _ in swept], float)
    seconds = np.array([result.seconds for _, result in swept], float)
    (overhead, per_flop, per_byte), cache = _fitted(flops, moved, seconds)
    errors = np.array([_held_out_error(flops, moved, seconds, point) for point in range(len(swept))])
    worst = int(np.abs(errors).argmax())
    return Model(
        label=label,
        where=where,
        overhead=overhead,
        rate=1 / per_flop if per_flop else None,
        bandwidth=1 / per_byte if per_byte * moved.max() > NO_MARK * seconds.max() else None,
        cache=cache,
        points=len(swept),
        close=int((np.abs(errors) <= CLOSE).sum()),
        worst=float(errors[worst]),
        worst_at=swept[worst][0].workload.name,
    )


def _held_out_error(flops: Array, moved: Array, seconds: Array, point: int) -> float:
    """Return by what share of its time the model of all other points misses a point."""
    others = np.arange(len(seconds)) != point
    coefficients, cache = _fitted(flops[others], moved[others], seconds[others])
    return float(_work(flops, moved, cache)[point] @ coefficients / seconds[point] - 1)


def _work(flops: Array, moved: Array, cache: int) -> Array:
    """Return what the terms of the model are proportional to, (points, 3)."""
    return np.stack([np.ones_like(flops), flops, np.maximum(0.0, moved - cache)], axis=1)


def _fitted(flops: Array, moved: Array, seconds: Array) -> tuple[list[float], int]:
    """Return the coefficients, none below 0, and the cache that leave the smallest sum of squared relative errors."""
    from scipy.optimize import nnls

    fitted = []
    for cache in CACHES:
        terms = _work(flops, moved, cache) / seconds[:, None]
        scales = np.maximum(terms.max(axis=0), np.finfo(float).tiny)  # Terms are ten decades apart, or all 0.
        coefficients, error = nnls(terms / scales, np.ones_like(seconds))
        # The errors of two caches are often equal but for rounding: the smaller cache counts.
        fitted.append((round(float(error), 9), cache, (coefficients / scales).tolist()))
    _, cache, coefficients = min(fitted)
    return coefficients, cache


# --- The start ---------------------------------------------------------------------------------------------------


def start_ups(results: Results) -> list[StartUp]:
    """Return after how many steps others are ahead of in_place on the book's network, slow starts included."""
    baseline = results.row(START_UP_WORKLOAD, START_UP_BASELINE)
    if baseline is None or not baseline.timed or not baseline.first_calls:
        return []
    start_ups = []
    for result in results.rows_of(START_UP_WORKLOAD):
        if result.timed and result.first_calls:
            start_up = _start_up_seconds(result)
            more = start_up - _start_up_seconds(baseline)
            gain = (baseline.seconds or 0.0) - (result.seconds or 0.0)
            if gain > 0 or more > MIN_START_UP:
                start_ups.append(StartUp(result.label, start_up, max(0.0, more / gain) if gain > 0 else None))
    return sorted(start_ups, key=lambda start_up: start_up.seconds)


def _start_up_seconds(result: Result) -> float:
    return statistics.median(
        call.import_seconds + call.setup_seconds + call.first_call_seconds for call in result.first_calls
    )
