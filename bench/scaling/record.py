"""What is found about scaling, as it stands in `scaling.json`: times in seconds, sizes in bytes."""

from pathlib import Path

import msgspec

from bench.records import UNREADABLE, Estimate, Machine
from impls.errors import UserError

SCHEMA = 1
FILE = Path("results/scaling/scaling.json")  # of the current folder


class Sample(msgspec.Struct, frozen=True):
    """Seconds per step of one sample."""

    step: float  # rank 0's clock
    compute: float  # outside of the Allreduce, the mean over ranks
    communication: float  # in the Allreduce, on the rank that came last and so waited least


class Told(msgspec.Struct, frozen=True):
    """What one job tells."""

    samples: list[Sample]
    allreduce: dict[int, float]  # seconds of an Allreduce alone by bytes


class Point(msgspec.Struct, frozen=True):
    """A number of ranks; the rest of a step, beyond compute and communication, is waiting for the slowest rank."""

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


class Compute(msgspec.Struct, frozen=True):
    """Seconds of a step's computing on one rank: fixed + per_example * examples."""

    fixed: float
    per_example: float


class Predicted(msgspec.Struct, frozen=True):
    """A point as the model has it, beside what was measured."""

    scaling: str
    ranks: int
    step: float
    error_percent: float  # of the prediction, relative to the measured step


class Scaling(msgspec.Struct, frozen=True):
    """All of it."""

    schema: int
    date: str
    machine: Machine
    implementation: str
    sizes: tuple[int, ...]
    dtype: str
    generations: int
    buffer_bytes: int  # of the Allreduce
    points: list[Point]
    compute: Compute
    here: Fabric | None  # between two ranks of this machine; None if there never were two
    predicted: list[Predicted]  # from `compute` and `here`

    @property
    def cpus(self) -> int:
        """Return how many CPUs the ranks could keep busy."""
        return self.machine.cores or 1

    @property
    def batch(self) -> int:
        """Return the smallest mini-batch that was measured: the one that predictions are for."""
        return min(point.batch_size for point in self.points)


def read(path: Path) -> Scaling:
    """Return what `backprop scale` wrote. Raises UserError if the file holds nothing of the kind."""
    try:
        found = msgspec.json.decode(path.read_bytes(), type=Scaling)
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}; make it with: backprop scale") from error
    except UNREADABLE as error:
        raise UserError(f"{path}: not a file of backprop scale, or damaged: {error}") from error
    if found.schema != SCHEMA:
        raise UserError(f"{path}: expected schema {SCHEMA}, found {found.schema}; run backprop scale again")
    return found
