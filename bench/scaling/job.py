"""What runs on every rank: steps of the row, with the time in the Allreduce told apart; rank 0 prints what was found.

`python -P -m bench.scaling.job` reads a `Task` as JSON from its first argument and prints a `Told`.
"""

import os
import sys
import time
from itertools import pairwise
from typing import Any

import msgspec
import numpy as np
from threadpoolctl import threadpool_limits

from bench.cpus import cores, places
from bench.results.estimates import lower_quartile
from bench.scaling.record import Sample, Told
from impls.interface import Parameters
from impls.loading import load_target
from impls.mpi_allreduce import Mpi
from impls.ranks import bounded, communicator, ending_the_job, in_place

SAMPLE_SECONDS = 0.02
MIN_SAMPLES, MAX_SAMPLES = 5, 40
WARM_UP_STEPS = 3


class Task(msgspec.Struct, frozen=True):
    """What a job measures."""

    target: str  # of the row, as the registry has it
    sizes: tuple[int, ...]
    batch_size: int  # of all ranks together
    dtype: str
    seconds: float  # of samples


def timed(cls: type[Mpi]) -> type[Mpi]:
    """Return the row with a clock around its Allreduce, read from `communication`."""

    class Timed(cls):  # type: ignore[misc,valid-type]
        communication = 0.0

        def _allreduce(self) -> None:
            start = time.perf_counter()
            super()._allreduce()
            self.communication += time.perf_counter() - start

    return Timed


def confine(rank: int) -> None:
    """Give each rank a CPU of its own, as long as there are any."""
    cpus = places(cores(), 0)
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, [cpus[rank % len(cpus)]])


def measure(task: Task, comm: Any) -> Told:
    """Take the samples, on all ranks in step."""
    rng = np.random.default_rng(0)
    sizes = task.sizes
    weights = [(rng.standard_normal((m, n)) / np.sqrt(n)).astype(task.dtype) for n, m in pairwise(sizes)]
    x, y = (rng.random((task.batch_size, n)).astype(task.dtype) for n in (sizes[0], sizes[-1]))
    cls: Any = timed(load_target(task.target))  # type: ignore[arg-type]
    with cls(sizes, task.batch_size, task.dtype, 1) as row:
        row.load(Parameters(weights, [np.zeros(n, task.dtype) for n in sizes[1:]]))
        batch = row.prepare(x, y)
        seconds = min(_sample(row, batch, 1, comm).step for _ in range(WARM_UP_STEPS))
        steps = max(1, round(SAMPLE_SECONDS / seconds))
        count = min(MAX_SAMPLES, max(MIN_SAMPLES, int(task.seconds / (steps * seconds))))
        samples = [_sample(row, batch, steps, comm) for _ in range(count)]
    values = sum(n_in * n_out + n_out for n_in, n_out in pairwise(sizes)) + 1
    buffers = [np.zeros(n, task.dtype) for n in (1, values)] if comm.size > 1 else []
    return Told(samples, {buffer.nbytes: _allreduce_seconds(buffer, comm) for buffer in buffers})


def _sample(row: Any, batch: Any, steps: int, comm: Any) -> Sample:
    """Return the times per step of so many steps, the same numbers on all ranks."""
    with bounded(comm, "to begin a sample"):
        comm.Barrier()
    row.communication = 0.0
    start = time.perf_counter()
    for _ in range(steps):
        row.step(batch, 0.1)
    mine = np.array([time.perf_counter() - start, row.communication]) / steps
    found = np.empty((comm.size, 2))
    with bounded(comm, "after a sample"):
        comm.Allgather(mine, found)
    step, communication = found.T  # (ranks,)
    return Sample(float(step[0]), float((step - communication).mean()), float(communication.min()))


def _allreduce_seconds(buffer: Any, comm: Any, times: int = 30, samples: int = 9) -> float:
    """Return the seconds of an Allreduce with nothing else to do, the lower quartile of several samples."""
    found = []
    with bounded(comm, "in an Allreduce"):
        for _ in range(samples):
            comm.Barrier()
            start = time.perf_counter()
            for _ in range(times):
                comm.Allreduce(in_place(), buffer)
            found.append((time.perf_counter() - start) / times)
    return lower_quartile(found)


def main() -> None:
    """Measure and print."""
    with ending_the_job(), threadpool_limits(1):
        comm = communicator("scaling")
        confine(comm.rank)
        told = measure(msgspec.json.decode(sys.argv[1], type=Task), comm)
        if comm.rank == 0:
            print(msgspec.json.encode(told).decode(), flush=True)


if __name__ == "__main__":
    main()
