"""The machine: how far the rows are from its peak, and what the memory has to do with it."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from bench.records import Results, WorkloadResult

WIDTH, HEIGHT = 640, 300
NAME_WIDTH, NAME_HEIGHT = 66, 13  # that a name takes
LEFT, RIGHT, TOP, BOTTOM = 54, 20, 14, 40  # of the axes, in pixels


@dataclass(frozen=True)
class Mark:
    """A workload in the picture: where the fastest row is."""

    name: str
    label: str
    intensity: float  # flop per byte that must be read or written at least
    gflops: float
    percent: float
    peak: float  # Gflop/s
    x: float  # in pixels
    y: float
    name_y: float  # of the name beside it, clear of the others


@dataclass(frozen=True)
class Roofline:
    """The picture and its table."""

    marks: list[Mark]
    levels: list[tuple[str, float, float, float]]  # name, Gflop/s, y, y of the name
    memory: list[tuple[str, float, str]]  # threads in words, GB/s, and the points of the line: what memory can feed
    ticks_x: list[tuple[str, float]]
    ticks_y: list[tuple[str, float]]


def intensity(of: WorkloadResult) -> float:
    """Return the floating-point operations of a call for each byte that it has to read or write at least once.

    These are the parameters, read and written, and the examples, read: what does not stay in a cache from call to call
    costs at least that. An epoch reads and writes its parameters at every step.
    """
    workload = of.workload
    itemsize = np.dtype(workload.dtype).itemsize
    steps = math.ceil(of.examples / workload.batch_size) if workload.timed == "epoch" else 1
    numbers = 2 * steps * workload.weights + of.examples * (workload.sizes[0] + workload.sizes[-1])
    return of.flops / (numbers * itemsize)


def _clear(x: float, y: float, taken: list[tuple[float, float]]) -> float:
    """Return the height of a name, moved down until it is clear of those that are taken; take it."""
    while any(abs(x - other) < NAME_WIDTH and abs(y - height) < NAME_HEIGHT for other, height in taken):
        y += 1
    taken.append((x, y))
    return y


def _line(rate: float, lowest: float, top: float, x: Callable[[float], float], y: Callable[[float], float]) -> str:
    """Return the points of the line gflops = rate x intensity from the left edge up to `top`; it is curved here."""
    first, last = math.log(lowest), math.log(max(lowest, top / rate))
    at = [math.exp(first + (last - first) * number / 32) for number in range(33)]
    return " ".join(f"{x(each):.1f},{y(rate * each):.1f}" for each in at)


def roofline(results: Results) -> Roofline | None:
    """Return the picture of the workloads that are no sweep's; None without a peak."""
    found = []
    for of in results.workloads:
        rows = [row for row in results.rows_of(of.workload.name) if row.timed and not row.is_control]
        if of.workload.sweep or not rows or not of.peak or not of.peak.flops_per_second:
            continue
        best = min(rows, key=lambda row: row.seconds or math.inf)
        gflops = of.flops / (best.seconds or math.inf) / 1e9
        found.append((of, best.label, intensity(of), gflops, of.peak.flops_per_second / 1e9))
    if not found:
        return None
    lowest = 10 ** math.floor(math.log10(min(each[2] for each in found)))
    highest = 10 ** math.ceil(math.log10(max(each[2] for each in found)))
    top = max(each[4] for each in found) * 1.15

    def x(value: float) -> float:
        share = math.log10(value / lowest) / max(1.0, math.log10(highest / lowest))
        return LEFT + share * (WIDTH - LEFT - RIGHT)

    def y(value: float) -> float:
        return HEIGHT - BOTTOM - value / top * (HEIGHT - TOP - BOTTOM)

    found.sort(key=lambda each: -each[3])  # from the top down
    taken: list[tuple[float, float]] = []
    marks = [
        Mark(of.workload.name, label, at, gflops, 100 * gflops / peak, peak, x(at), y(gflops),
             _clear(x(at), y(gflops) + 4, taken))
        for of, label, at, gflops, peak in found
    ]  # fmt: skip
    peaks = {f"{of.workload.dtype}, {of.workload.threads} thread{'s' * (of.workload.threads > 1)}": peak
             for of, _, _, _, peak in found}  # fmt: skip
    levels = sorted(peaks.items(), key=lambda level: -level[1])
    threads = {of.workload.threads for of, *_ in found}
    memory = [
        (f"{of.threads} thread{'s' * (of.threads > 1)}", rate, _line(rate, lowest, min(top, highest * rate), x, y))
        for of in results.machine.memory_rates
        if of.threads in threads
        for rate in [of.bytes_per_second / 1e9]
    ]
    names: list[float] = []  # above the line, or below the one whose name stands there
    for _, peak in levels:
        names.append(y(peak) - 5 if not names or y(peak) - 5 > names[-1] + NAME_HEIGHT else y(peak) + 13)
    step = 10 ** math.floor(math.log10(top / 2))
    step = next(step * factor for factor in (1, 2, 5, 10) if top / (step * factor) <= 6)
    return Roofline(
        marks=marks,
        levels=[(name, peak, y(peak), place) for (name, peak), place in zip(levels, names, strict=True)],
        memory=memory,
        ticks_x=[(f"{10.0**power:g}", x(10.0**power)) for power in
                 range(round(math.log10(lowest)), round(math.log10(highest)) + 1)],
        ticks_y=[(f"{number * step:g}", y(number * step)) for number in range(int(top / step) + 1)],
    )  # fmt: skip
