"""What runs on every rank: steps of the implementation, with the time in the Allreduce apart; rank 0 prints the times.

`python -P -m bench.worker.scaling_job` reads a `Task` as JSON from its first argument and prints `JobTimes`.
"""

import os
import sys
import time
from itertools import pairwise
from typing import Any

import msgspec
import numpy as np
from threadpoolctl import threadpool_limits

from bench.system.cpus import cores, places
from impls.interface import Parameters
from impls.mpi import Mpi
from impls.support.loading import Target, load_target
from impls.support.ranks import bounded, communicator, ending_the_job, in_place

SAMPLE_SECONDS = 0.02
MIN_SAMPLES, MAX_SAMPLES = 5, 40
WARM_UP_STEPS = 3
ALLREDUCE_CALLS, ALLREDUCE_SAMPLES = 30, 9
MIN_SECONDS = 1e-9  # of a time whose logarithm is taken


class Task(msgspec.Struct, frozen=True):
    """What a job measures."""

    target: Target
    sizes: tuple[int, ...]
    batch_size: int  # of all ranks together
    dtype: str
    seconds: float  # of samples


class JobTimes(msgspec.Struct, frozen=True):
    """Seconds per step, the lower quartile over samples, and of an Allreduce alone by its bytes."""

    step: float  # rank 0's clock
    compute: float  # outside of the Allreduce, the mean over ranks
    communication: float  # in the Allreduce, on the rank that came last and so waited least
    allreduce: dict[int, float]


def timed(implementation_class: type[Mpi]) -> type[Mpi]:
    """Return the implementation with a clock around its Allreduce, read from `communication`."""

    class Timed(implementation_class):  # type: ignore[misc,valid-type]
        communication = 0.0

        def _allreduce(self) -> None:
            start = time.perf_counter()
            super()._allreduce()
            self.communication += time.perf_counter() - start

    return Timed


def measure(task: Task, comm: Any) -> JobTimes:
    """Take the samples, on all ranks at the same time."""
    rng = np.random.default_rng(0)
    shapes = [(n_out, n_in) for n_in, n_out in pairwise(task.sizes)]
    weights = [(rng.standard_normal(shape) / np.sqrt(shape[1])).astype(task.dtype) for shape in shapes]
    x, y = (rng.random((task.batch_size, n)).astype(task.dtype) for n in (task.sizes[0], task.sizes[-1]))
    implementation_class: Any = timed(load_target(task.target))  # type: ignore[arg-type]
    with implementation_class(task.sizes, task.batch_size, task.dtype, 1) as implementation:
        implementation.load(Parameters(weights, [np.zeros(n, task.dtype) for n, _ in shapes]))
        batch = implementation.prepare(x, y)
        seconds = min(_sample(implementation, batch, 1, comm)[0] for _ in range(WARM_UP_STEPS))
        steps = max(1, round(SAMPLE_SECONDS / seconds))
        count = min(MAX_SAMPLES, max(MIN_SAMPLES, int(task.seconds / (steps * seconds))))
        samples = [_sample(implementation, batch, steps, comm) for _ in range(count)]
    step, compute, communication = (
        max(MIN_SECONDS, float(np.quantile(part, 0.25))) for part in zip(*samples, strict=True)
    )
    values = sum(n_out * n_in + n_out for n_out, n_in in shapes) + 1
    buffers = [np.zeros(n, task.dtype) for n in (1, values)] if comm.size > 1 else []
    allreduce = {buffer.nbytes: _allreduce_seconds(buffer, comm) for buffer in buffers}
    return JobTimes(step, compute, communication, allreduce)


def _sample(implementation: Any, batch: Any, steps: int, comm: Any) -> tuple[float, float, float]:
    """Return the seconds per step: of all, computing, and in the Allreduce; the same numbers on all ranks."""
    with bounded(comm, "to begin a sample"):
        comm.Barrier()
    implementation.communication = 0.0
    start = time.perf_counter()
    for _ in range(steps):
        implementation.step(batch, 0.1)
    mine = np.array([time.perf_counter() - start, implementation.communication]) / steps
    all_ranks = np.empty((comm.size, 2))
    with bounded(comm, "after a sample"):
        comm.Allgather(mine, all_ranks)
    step, communication = all_ranks.T  # (ranks,)
    return float(step[0]), float((step - communication).mean()), float(communication.min())


def _allreduce_seconds(buffer: Any, comm: Any) -> float:
    """Return the seconds of an Allreduce with nothing else to do, the lower quartile of several samples."""
    samples = []
    with bounded(comm, "in an Allreduce"):
        for _ in range(ALLREDUCE_SAMPLES):
            comm.Barrier()
            start = time.perf_counter()
            for _ in range(ALLREDUCE_CALLS):
                comm.Allreduce(in_place(), buffer)
            samples.append((time.perf_counter() - start) / ALLREDUCE_CALLS)
    return float(np.quantile(samples, 0.25))


def main() -> None:
    """Measure, each rank on a CPU of its own as long as there are any, and print."""
    with ending_the_job(), threadpool_limits(1):
        comm = communicator("scaling")
        cpus = places(cores(), 0)
        if hasattr(os, "sched_setaffinity"):
            os.sched_setaffinity(0, [cpus[comm.rank % len(cpus)]])
        times = measure(msgspec.json.decode(sys.argv[1], type=Task), comm)
        if comm.rank == 0:
            print(msgspec.json.encode(times).decode(), flush=True)


if __name__ == "__main__":
    main()
