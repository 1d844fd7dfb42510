"""How a step scales over MPI ranks: what was measured (bench/cli/scale.py), and a model of more ranks and fabrics.

A step is modelled as the computing of a rank's share and one Allreduce. Of R ranks and n bytes, with latency a and
seconds per byte b (Hockney 1994; Thakur, Rabenseifner and Gropp, *Optimization of Collective Communication Operations
in MPICH*, 2005), the Allreduce takes

    tree    2 ceil(log2 R) (a + n b)                  reduce to one rank along a binomial tree, and broadcast back
    ring    2 (R - 1) a + 2 n b (R - 1) / R           each link carries each part twice; best for large buffers

The faster one counts, as MPI libraries choose, too. Left out: contention between ranks of a machine, and between links;
adding up, which is in b where b was measured; overlap. So predictions are optimistic. Times are in seconds.
"""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import msgspec
import numpy as np

from bench.conditions import Machine
from bench.records import UNREADABLE, Estimate
from impls.support.errors import UserError

FILE = Path("results/scaling/scaling.json")  # of the current folder
MAX_RANKS = 4096


class ScalingPoint(msgspec.Struct, frozen=True):
    """What a number of ranks took; the rest of a step is waiting for the slowest rank."""

    scaling: str  # "strong": one mini-batch for all ranks; "weak": one for each
    ranks: int
    batch_size: int  # of all ranks together
    step: Estimate
    compute: Estimate
    communication: Estimate
    efficiency: Estimate  # 1 is ideal


class Fabric(msgspec.Struct, frozen=True):
    """What connects ranks: a message of n bytes takes latency + n / bandwidth."""

    name: str
    latency_seconds: float
    bytes_per_second: float

    def allreduce_seconds(self, ranks: int, size: int) -> float:
        """Return the seconds of an Allreduce of `size` bytes; 0 for one rank."""
        tree = 2 * math.ceil(math.log2(ranks)) * (self.latency_seconds + size / self.bytes_per_second)
        ring = 2 * (ranks - 1) * (self.latency_seconds + size / ranks / self.bytes_per_second)
        return min(tree, ring)


FABRICS = (  # typical figures for messages between two hosts: given, not measured
    Fabric("Ethernet, 10 Gbit/s, TCP", 30e-6, 10e9 / 8),
    Fabric("Ethernet, 100 Gbit/s, RoCE", 4e-6, 100e9 / 8),
    Fabric("InfiniBand NDR, 400 Gbit/s", 1.5e-6, 400e9 / 8),
)


class Compute(msgspec.Struct, frozen=True):
    """Seconds of a step's computing on one rank: fixed + per_example * examples."""

    fixed: float
    per_example: float

    def seconds(self, examples: float) -> float:
        """Return the seconds for so many examples."""
        return self.fixed + self.per_example * examples


class Scaling(msgspec.Struct, frozen=True):
    """What `backprop scale` measured, as it stands in `scaling.json`."""

    schema: Literal[1]
    date: str
    machine: Machine
    implementation: str
    sizes: tuple[int, ...]
    dtype: str
    generations: int
    buffer_bytes: int  # of the Allreduce
    points: list[ScalingPoint]
    compute: Compute
    here: Fabric  # between two ranks of this machine

    @property
    def cpus(self) -> int:
        """Return how many CPUs the ranks could keep busy."""
        return self.machine.cores or 1

    @property
    def batch(self) -> int:
        """Return the smallest mini-batch that was measured: the one that predictions are for."""
        return min(point.batch_size for point in self.points)

    def efficiency(self, fabric: Fabric, ranks: int, examples: int) -> float:
        """Return the predicted weak efficiency: the step of one rank over that of so many with as much to do each."""
        alone = self.compute.seconds(examples)
        return alone / (alone + fabric.allreduce_seconds(ranks, self.buffer_bytes))

    def errors(self) -> list[tuple[ScalingPoint, float]]:
        """Return by what share of the measured step the model misses it, for each point of several ranks.

        More ranks than CPUs take turns.
        """
        errors = []
        for point in self.points:
            if point.ranks > 1:
                turns = max(1.0, point.ranks / self.cpus)
                computing = turns * self.compute.seconds(point.batch_size / point.ranks)
                step = computing + self.here.allreduce_seconds(point.ranks, self.buffer_bytes)
                errors.append((point, step / point.step.value - 1))
        return errors


def read(path: Path) -> Scaling:
    """Return what `backprop scale` wrote. Raises UserError if the file holds nothing of the kind."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=Scaling)
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}; make it with: backprop scale") from error
    except UNREADABLE as error:
        raise UserError(f"{path}: not a file of backprop scale, or damaged: {error}") from error


def fabric_between(seconds: Mapping[int, float]) -> Fabric:
    """Return the fabric between two ranks from the seconds of an Allreduce by bytes, a small and a large one.

    With two ranks the ring takes 2 a + n b.
    """
    small, large = min(seconds), max(seconds)
    per_byte = max(1e-15, (seconds[large] - seconds[small]) / (large - small))
    return Fabric("this machine", max(1e-9, (seconds[small] - small * per_byte) / 2), 1 / per_byte)


def compute_of(seconds: Mapping[int, float]) -> Compute:
    """Return the straight line through seconds of a step on one rank by batch size; relative errors count alike."""
    batches, times = (np.array(values, float) for values in zip(*seconds.items(), strict=True))
    per_example, fixed = np.polyfit(batches, times, 1, w=1 / times)
    if fixed < 0:  # where a cache holds small batches only
        return Compute(0.0, float((times / batches).mean()))
    return Compute(float(fixed), float(per_example))
