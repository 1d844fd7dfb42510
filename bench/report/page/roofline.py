"""The machine: how far the rows are from its peak, and what the memory has to do with it."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from bench.records import Results, WorkloadResult, threads_text

WIDTH, HEIGHT = 640, 300
NAME_WIDTH, NAME_HEIGHT = 66, 13  # that a workload's name takes
LEVEL_WIDTH = 190  # that the name of a peak takes, up to the right edge
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


def least_bytes(of: WorkloadResult) -> int:
    """Return the bytes that a call has to read or write at least once.

    These are the parameters, read and written, and the examples, read: what does not stay in a cache from call to call
    costs at least that. An epoch reads and writes its parameters at every step.
    """
    workload = of.workload
    itemsize = np.dtype(workload.dtype).itemsize
    steps = math.ceil(of.examples / workload.batch_size) if workload.timed == "epoch" else 1
    numbers = 2 * steps * workload.weights + of.examples * (workload.sizes[0] + workload.sizes[-1])
    return numbers * itemsize


def intensity(of: WorkloadResult) -> float:
    """Return the floating-point operations of a call for each byte that it has to read or write at least once."""
    return of.flops / least_bytes(of)


def _clear(x: float, y: float, taken: list[tuple[float, float]]) -> float:
    """Return the height of a name, moved down until it is clear of those that are taken; take it."""
    while any(abs(x - other) < NAME_WIDTH and abs(y - height) < NAME_HEIGHT for other, height in taken):
        y += 1
    taken.append((x, y))
    return y


@dataclass(frozen=True)
class _Axes:
    """From flop per byte and Gflop/s to pixels."""

    lowest: float  # flop per byte
    highest: float
    top: float  # Gflop/s

    def x(self, value: float) -> float:
        share = math.log10(value / self.lowest) / max(1.0, math.log10(self.highest / self.lowest))
        return LEFT + share * (WIDTH - LEFT - RIGHT)

    def y(self, value: float) -> float:
        return HEIGHT - BOTTOM - value / self.top * (HEIGHT - TOP - BOTTOM)

    def line(self, rate: float) -> str:
        """Return the points of gflops = rate x intensity from the left edge to the top or the right one; a curve."""
        first, last = math.log(self.lowest), math.log(max(self.lowest, min(self.highest, self.top / rate)))
        at = [math.exp(first + (last - first) * number / 32) for number in range(33)]
        return " ".join(f"{self.x(each):.1f},{self.y(rate * each):.1f}" for each in at)

    def ticks_x(self) -> list[tuple[str, float]]:
        powers = range(round(math.log10(self.lowest)), round(math.log10(self.highest)) + 1)
        return [(f"{10.0**power:g}", self.x(10.0**power)) for power in powers]

    def ticks_y(self) -> list[tuple[str, float]]:
        step = 10 ** math.floor(math.log10(self.top / 2))
        step = next(step * factor for factor in (1, 2, 5, 10) if self.top / (step * factor) <= 6)
        return [(f"{number * step:g}", self.y(number * step)) for number in range(int(self.top / step) + 1)]


_Fastest = tuple[WorkloadResult, str, float, float, float]  # a workload, its fastest row, flop/byte, Gflop/s, the peak


def roofline(results: Results) -> Roofline | None:
    """Return the picture of the workloads that are no sweep's; None without a peak."""
    found = sorted(_fastest(results), key=lambda each: -each[3])  # from the top down
    if not found:
        return None
    axes = _Axes(
        lowest=10 ** math.floor(math.log10(min(each[2] for each in found))),
        highest=10 ** math.ceil(math.log10(max(each[2] for each in found))),
        top=max(each[4] for each in found) * 1.15,
    )
    levels = _levels(found, axes)
    taken = [(float(at), level[3]) for level in levels for at in range(WIDTH - RIGHT - LEVEL_WIDTH, WIDTH, NAME_WIDTH)]
    threads = {of.workload.threads for of, *_ in found}
    memory = [(of.threads, of.bytes_per_second / 1e9) for of in results.machine.memory_rates if of.threads in threads]
    return Roofline(
        marks=[
            Mark(of.workload.name, label, at, gflops, 100 * gflops / peak, peak, axes.x(at), axes.y(gflops),
                 _clear(axes.x(at), axes.y(gflops) + 4, taken))
            for of, label, at, gflops, peak in found
        ],
        levels=levels,
        memory=[(threads_text(count), rate, axes.line(rate)) for count, rate in memory],
        ticks_x=axes.ticks_x(),
        ticks_y=axes.ticks_y(),
    )  # fmt: skip


def _fastest(results: Results) -> list[_Fastest]:
    found = []
    for of in results.workloads:
        rows = [row for row in results.rows_of(of.workload.name) if row.timed and not row.is_control]
        if of.workload.sweep or not rows or not of.peak or not of.peak.flops_per_second:
            continue
        best = min(rows, key=lambda row: row.seconds or math.inf)
        gflops = of.flops / (best.seconds or math.inf) / 1e9
        found.append((of, best.label, intensity(of), gflops, of.peak.flops_per_second / 1e9))
    return found


def _levels(found: Sequence[_Fastest], axes: _Axes) -> list[tuple[str, float, float, float]]:
    """Return the peaks, the highest first, with the height of the line and of its name, clear of the one above."""
    peaks = {f"{of.workload.dtype}, {threads_text(of.workload.threads)}": peak for of, _, _, _, peak in found}
    levels: list[tuple[str, float, float, float]] = []
    for name, peak in sorted(peaks.items(), key=lambda level: -level[1]):
        y = axes.y(peak)
        levels.append((name, peak, y, y - 5 if not levels or y - 5 > levels[-1][3] + NAME_HEIGHT else y + 13))
    return levels
