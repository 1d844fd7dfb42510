"""Past this machine, in formulas: a step is the computing of a rank's share and one Allreduce.

Of R ranks and a buffer of n bytes, with latency a and seconds per byte b (Hockney 1994; Thakur, Rabenseifner and Gropp,
*Optimization of Collective Communication Operations in MPICH*, 2005):

    tree    2 ceil(log2 R) (a + n b)                  reduce to one rank along a binomial tree, and broadcast back
    ring    2 (R - 1) a + 2 n b (R - 1) / R           each link carries each part twice; best for large buffers

The faster one counts, as MPI libraries choose, too. Left out: contention between ranks of a machine, and between links;
adding up, which is in b where b was measured; overlap. So predictions are optimistic.
"""

import math
from collections.abc import Mapping, Sequence

import numpy as np

from bench.scaling.record import Compute, Fabric, Point, Predicted

MAX_RANKS = 4096
FABRICS = (  # typical figures for messages between two hosts: given, not measured
    Fabric("Ethernet, 10 Gbit/s, TCP", 30e-6, 10e9 / 8),
    Fabric("Ethernet, 100 Gbit/s, RoCE", 4e-6, 100e9 / 8),
    Fabric("InfiniBand NDR, 400 Gbit/s", 1.5e-6, 400e9 / 8),
)


def tree_seconds(fabric: Fabric, ranks: int, size: int) -> float:
    """Return the seconds of an Allreduce of `size` bytes along a binomial tree and back."""
    return 2 * math.ceil(math.log2(ranks)) * (fabric.latency_seconds + size / fabric.bytes_per_second)


def ring_seconds(fabric: Fabric, ranks: int, size: int) -> float:
    """Return the seconds of an Allreduce of `size` bytes around a ring."""
    return 2 * (ranks - 1) * (fabric.latency_seconds + size / ranks / fabric.bytes_per_second)


def allreduce_seconds(fabric: Fabric, ranks: int, size: int) -> float:
    """Return the seconds of the faster of the two; 0 for one rank."""
    return min(tree_seconds(fabric, ranks, size), ring_seconds(fabric, ranks, size))


def fitted(seconds: Mapping[int, float]) -> Fabric:
    """Return the fabric between two ranks of this machine from times of an Allreduce by bytes, a small and a large one.

    With two ranks the ring takes 2 a + n b.
    """
    small, large = min(seconds), max(seconds)
    per_byte = max(1e-15, (seconds[large] - seconds[small]) / (large - small))
    return Fabric("this machine", max(1e-9, (seconds[small] - small * per_byte) / 2), 1 / per_byte)


def compute_of(seconds: Mapping[int, float]) -> Compute:
    """Return the straight line through seconds of a step on one rank by batch size; relative errors count alike."""
    batches = np.array(sorted(seconds), float)
    times = np.array([seconds[int(batch)] for batch in batches])
    if len(batches) == 1:
        return Compute(0.0, float(times[0] / batches[0]))
    per_example, fixed = np.polyfit(batches, times, 1, w=1 / times)
    if fixed < 0:  # a cache that holds small batches only
        return Compute(0.0, float((times / batches).mean()))
    return Compute(float(fixed), float(per_example))


def step_seconds(compute: Compute, fabric: Fabric, ranks: int, batch_per_rank: float, size: int) -> float:
    """Return the seconds of a step, nothing overlapped."""
    return compute.fixed + compute.per_example * batch_per_rank + allreduce_seconds(fabric, ranks, size)


def efficiency(compute: Compute, fabric: Fabric, ranks: int, batch_per_rank: float, size: int) -> float:
    """Return the weak efficiency: the step of one rank over that of so many with as many examples each."""
    alone = compute.fixed + compute.per_example * batch_per_rank
    return alone / step_seconds(compute, fabric, ranks, batch_per_rank, size)


def hiding_batch(compute: Compute, fabric: Fabric, ranks: int, size: int) -> int:
    """Return the examples per rank from which computing takes as long as the Allreduce: overlap could then hide it."""
    rest = allreduce_seconds(fabric, ranks, size) - compute.fixed
    return max(1, math.ceil(rest / compute.per_example))


def predictions(compute: Compute, here: Fabric, points: Sequence[Point], size: int, cpus: int) -> list[Predicted]:
    """Return what the model says of the points with several ranks; more ranks than CPUs take turns at computing."""
    found = []
    for point in points:
        if point.ranks > 1:
            turns = max(1.0, point.ranks / cpus)
            mine = Compute(turns * compute.fixed, turns * compute.per_example)
            step = step_seconds(mine, here, point.ranks, point.batch_size / point.ranks, size)
            found.append(Predicted(point.scaling, point.ranks, step, 100 * (step / point.step.value - 1)))
    return found
