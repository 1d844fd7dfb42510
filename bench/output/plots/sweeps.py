"""What a sweep varies, and what threads gain in the sweep `strong`."""

import math
from collections.abc import Callable
from typing import NamedTuple

from bench.conditions import Workload, threads_text
from bench.records import Estimate, Results, WorkloadResult

SPLIT_GAIN = 0.05  # An implementation that gains less does not split a step across threads.


class Axis(NamedTuple):
    """What a sweep varies from left to right."""

    name: str
    value: Callable[[Workload], int]
    per: str = "example"  # what the times are of: "example" or "step"
    panel: Callable[[Workload], str] = lambda workload: f"{workload.dtype}, {threads_text(workload.threads)}"


BATCH = Axis("examples in a mini-batch", lambda workload: workload.batch_size)
WIDTH = Axis("units in the hidden layer", lambda workload: workload.sizes[1])
THREADS = Axis("threads", lambda workload: workload.threads, "step", lambda workload: workload.dtype)
SWEEPS = {
    "batch": BATCH,
    "batch-grid": BATCH,
    "width": WIDTH,
    "width-grid": WIDTH._replace(panel=lambda workload: f"{workload.dtype}, batch {workload.batch_size}"),
    "depth": Axis("hidden layers of 100 units", lambda workload: len(workload.sizes) - 2),
    "threads": THREADS,
    "weak": THREADS._replace(name="threads, with 64 examples each"),
    "data": Axis("examples in an epoch", lambda workload: workload.epoch_examples),
}


class Gain(NamedTuple):
    """The time of a step on one thread over that on several."""

    mflop: float  # of the step
    ratio: Estimate


def gains(results: Results, workload_results: list[WorkloadResult], label: str, threads: int) -> list[Gain]:
    """Return what an implementation gains by so many threads, the smallest step first.

    Both times are relative to the same baseline on one core, so the gain is the ratio of two speed-ups. Their
    intervals are of different workers and are combined as independent ones.
    """

    def speed_ups(threads: int) -> dict[int, Estimate]:
        by_flops = {each.flops: each.workload.name for each in workload_results if each.workload.threads == threads}
        timed = {flops: results.row(name, label) for flops, name in by_flops.items()}
        return {flops: row.speed_up or Estimate(1.0, 1.0, 1.0) for flops, row in timed.items() if row and row.timed}

    one_thread, several = speed_ups(1), speed_ups(threads)
    common = sorted(one_thread.keys() & several.keys())
    return [Gain(flops / 1e6, _ratio(several[flops], one_thread[flops])) for flops in common]


def splits_a_step(step_gains: list[Gain]) -> bool:
    """Return whether several threads make a difference anywhere."""
    return any(not gain.ratio.holds(1.0) and abs(gain.ratio.value - 1.0) >= SPLIT_GAIN for gain in step_gains)


def break_even(step_gains: list[Gain]) -> float | None:
    """Return the Mflop of the smallest step from which on threads surely gain; None if they do not even at the end."""
    begins = None
    for mflop, ratio in reversed(step_gains):
        if ratio.low is None or ratio.low <= 1.0:
            break
        begins = mflop
    return begins


def _ratio(numerator: Estimate, denominator: Estimate) -> Estimate:
    """Return the ratio of two independent estimates."""
    value = numerator.value / denominator.value
    if numerator.low is None or denominator.low is None:
        return Estimate(value)
    margin = math.hypot(*(math.log(high / low) for low, high in (numerator.ends, denominator.ends))) / 2
    return Estimate(value, value * math.exp(-margin), value * math.exp(margin))
