"""What tests run on several ranks: `mpiexec -n N python -m tests.support.mpi_programs NAME`, or by their path."""

import os
import signal
import sys
from typing import Any

import numpy as np

from impls.conformance.kit import check
from impls.interface import Parameters
from impls.mpi import Mpi
from impls.registry import find
from impls.support.ranks import communicator, ending_the_job

SIZES = (6, 5, 4)


class Drifts(Mpi):
    """One rank's parameters change by themselves in the third step."""

    check_every = 2

    def step(self, batch: Any, learning_rate: float) -> None:
        if self._steps == 2 and self._rank == self._ranks - 1:
            self.biases[0][0] += 1
        super().step(batch, learning_rate)


class FailsInCompute(Mpi):
    """The last rank fails in the fourth step, while the others wait in an Allreduce."""

    def fail(self) -> None:
        raise NotImplementedError

    def _compute(self, share: Any, scale: float) -> None:
        if self._rank == self._ranks - 1 and self._steps == 3:
            self.fail()
        super()._compute(share, scale)


class Dies(FailsInCompute):
    def fail(self) -> None:
        os.kill(os.getpid(), signal.SIGKILL)


class Hangs(FailsInCompute):
    def fail(self) -> None:
        os.kill(os.getpid(), signal.SIGSTOP)


class Raises(FailsInCompute):
    def fail(self) -> None:
        raise ArithmeticError("planted")


class Leaves(Mpi):
    """The last rank raises outside of what the ranks do together."""

    def step(self, batch: Any, learning_rate: float) -> None:
        if self._rank == self._ranks - 1 and self._steps == 3:
            raise ArithmeticError("planted")
        super().step(batch, learning_rate)


def conforms(name: str) -> None:
    """Print what the conformance kit finds on each rank."""
    violations = check(find(name).load(), threads=(1,))
    print(f"rank {communicator().rank}: {[str(violation) for violation in violations]}", flush=True)


def steps(name: str) -> None:
    """Take six steps with one of the classes above."""
    rng = np.random.default_rng(0)
    with globals()[name](SIZES, 8, "float64", 1) as row:
        row.load(Parameters([rng.standard_normal((5, 6)), rng.standard_normal((4, 5))], [np.zeros(5), np.zeros(4)]))
        batch = row.prepare(rng.random((8, 6)), rng.random((8, 4)))
        for _ in range(6):
            row.step(batch, 0.5)
    print(f"rank {communicator().rank}: done", flush=True)


def sizes_differ(_: str) -> None:
    """Construct another network on each rank."""
    Mpi((6, 5 + communicator().rank, 4), 8)


if __name__ == "__main__":
    with ending_the_job():
        {"conforms": conforms, "steps": steps, "sizes-differ": sizes_differ}[sys.argv[1]](sys.argv[2])
