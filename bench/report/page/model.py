"""What a step takes, by its work: overhead, products at a rate, and the bytes that no cache holds; held-out points."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from bench.records import Results, WorkloadResult, threads_text
from bench.report.page.roofline import least_bytes
from impls.interface import Array

SWEEPS = (
    "batch",
    "batch-grid",
    "width",
    "width-grid",
)  # networks of one depth, so that a call's overhead is one number
CACHES = tuple(1 << exponent for exponent in range(18, 29))  # bytes tried, 256 KiB to 256 MiB: what fits best
NO_MARK = 1e-6  # of the longest time: a term below is rounding
FEWEST = 7  # points for a model of four numbers with one point held out
CLOSE = 0.2  # of a time: how far a prediction may be from it


@dataclass(frozen=True)
class Model:
    """t = overhead + flops / rate + (bytes - cache) / bandwidth of a row, and how it predicts what it has not seen."""

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


def models(results: Results) -> list[Model]:
    """Return the model of every row, for each combination of dtype and threads of sweeps over batch and width."""
    groups: dict[tuple[str, str], list[tuple[WorkloadResult, float]]] = {}
    for of in results.workloads:
        if of.workload.sweep in SWEEPS and of.workload.timed == "step":
            where = f"{of.workload.dtype}, {threads_text(of.workload.threads)}"
            for row in results.rows_of(of.workload.name):
                if row.timed and not row.is_control and "@" not in row.label and row.seconds:
                    groups.setdefault((where, row.label), []).append((of, row.seconds))
    return [_model(label, where, points) for (where, label), points in groups.items() if len(points) >= FEWEST]


def _model(label: str, where: str, points: Sequence[tuple[WorkloadResult, float]]) -> Model:
    flops = np.array([of.flops for of, _ in points], float)
    moved = np.array([least_bytes(of) for of, _ in points], float)
    seconds = np.array([seconds for _, seconds in points])
    (overhead, per_flop, per_byte), cache = _fitted(flops, moved, seconds)
    off = []
    for held_out in range(len(points)):
        seen = np.arange(len(points)) != held_out
        coefficients, held_cache = _fitted(flops[seen], moved[seen], seconds[seen])
        predicted = _work(flops, moved, held_cache)[held_out] @ coefficients
        off.append(float(predicted / seconds[held_out] - 1))
    worst = max(range(len(off)), key=lambda point: abs(off[point]))
    return Model(
        label,
        where,
        overhead,
        1 / per_flop if per_flop else None,
        1 / per_byte if per_byte * moved.max() > NO_MARK * seconds.max() else None,
        cache,
        len(points),
        sum(abs(each) <= CLOSE for each in off),
        off[worst],
        points[worst][0].workload.name,
    )


def _work(flops: Array, moved: Array, cache: int) -> Array:
    """Return what the terms of the model are proportional to, (points, 3)."""
    return np.stack([np.ones_like(flops), flops, np.maximum(0.0, moved - cache)], axis=1)


def _fitted(flops: Array, moved: Array, seconds: Array) -> tuple[tuple[float, float, float], int]:
    """Return the coefficients, none below 0, and the cache that leave the smallest sum of squared relative errors."""
    from scipy.optimize import nnls

    best: tuple[float, tuple[float, float, float], int] | None = None
    for cache in CACHES:
        terms = _work(flops, moved, cache) / seconds[:, None]
        sizes = np.maximum(np.abs(terms).max(axis=0), np.finfo(float).tiny)  # of terms ten decades apart
        scaled, error = nnls(terms / sizes, np.ones_like(seconds))
        if best is None or error < best[0] * (1 - 1e-9):
            overhead, per_flop, per_byte = (float(value) for value in scaled / sizes)
            best = (float(error), (overhead, per_flop, per_byte), cache)
    assert best is not None
    return best[1], best[2]
