"""What a worker is asked to time: the problem behind a workload, and the matrix product behind the limit."""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import threadpoolctl

from bench.workloads import Workload
from impls.interface import Array, Implementation, Parameters

LEARNING_RATE = 3.0  # the book's
GEMM_SIZES = (256, 384, 512, 768)  # square products tried for the limit; the fastest one is kept
FAR_OVER = 4.0  # an estimate of so many budgets needs no confirmation
SMALL = 1_000_000  # examples x weights up to which a call is affordable for any implementation


@dataclass(frozen=True)
class Problem:
    """A workload with its data: the same numbers for every implementation, generation and process."""

    workload: Workload
    parameters: Parameters
    x: Array  # (N, n_0)
    y: Array  # (N, n_L)
    order: Array  # (N,), a permutation
    learning_rate: float

    @classmethod
    def make(cls, workload: Workload, data: Path, seed: int) -> "Problem":
        """Draw initial parameters and examples.

        Weights are normal with standard deviation 1 / sqrt(n_in), so that few units are saturated and no row is
        slowed by denormal numbers. Networks of 784 inputs and 10 outputs get the data set's examples, repeated
        where a mini-batch is larger; others get random ones.
        """
        rng = np.random.default_rng(seed)
        sizes, dtype = workload.sizes, workload.dtype
        weights = [rng.standard_normal((n_out, n_in)) / math.sqrt(n_in) for n_in, n_out in pairwise(sizes)]
        biases = [rng.standard_normal(n_out) for n_out in sizes[1:]]
        x, y = np.load(data / "x.npy", mmap_mode="r"), np.load(data / "y.npy", mmap_mode="r")
        if (sizes[0], sizes[-1]) != (x.shape[1], y.shape[1]):
            x, y = rng.random((len(x), sizes[0])), np.eye(sizes[-1])[rng.integers(sizes[-1], size=len(x))]
        order = rng.permutation(len(x))
        if workload.timed == "step":
            taken = np.resize(order, workload.batch_size)
            x, y = x[taken], y[taken]
        return cls(
            workload,
            Parameters([W.astype(dtype) for W in weights], [b.astype(dtype) for b in biases]),
            np.ascontiguousarray(x, dtype),
            np.ascontiguousarray(y, dtype),
            order,
            LEARNING_RATE,
        )

    def construct(self, cls: type[Implementation], threads: int, batch_size: int | None = None) -> Implementation:
        """Return an implementation for this problem, loaded with its initial parameters."""
        workload = self.workload
        implementation = cls(workload.sizes, batch_size or workload.batch_size, workload.dtype, threads)
        implementation.load(self.parameters)
        return implementation

    def call(self, implementation: Implementation) -> tuple[Callable[..., object], tuple[Any, ...]]:
        """Return the timed method and its arguments, the data in native form."""
        if self.workload.timed == "epoch":
            data = implementation.prepare_data(self.x, self.y)
            return implementation.epoch, (data, self.order, self.learning_rate)
        return implementation.step, (implementation.prepare(self.x, self.y), self.learning_rate)


def estimate_seconds(cls: type[Implementation], problem: Problem, threads: int, budget: float) -> float:
    """Return about how many seconds a call takes, without making one that takes much longer than the budget.

    Times steps of 1, 8, 64, … examples, up to the mini-batch, and extends the line through the last two; ends early
    only when the answer is far over the budget, because short times are easily disturbed.
    """
    workload = problem.workload
    steps = math.ceil(len(problem.x) / workload.batch_size)
    if workload.batch_size * workload.weights <= SMALL and steps == 1:
        return 0.0
    before, seconds, estimate, count = 0, 0.0, 0.0, 1
    while True:
        with problem.construct(cls, threads, count) as implementation:
            batch = implementation.prepare(problem.x[:count], problem.y[:count])
            compilations = implementation.compilations()
            now = _seconds(implementation.step, batch, problem.learning_rate)
            if implementation.compilations() > compilations:  # that was no call, but a compiler
                now = _seconds(implementation.step, batch, problem.learning_rate)
            for repeat in range(4):  # the first calls may be slow for reasons of their own
                if now < (budget / 4 if repeat else FAR_OVER * budget):
                    now = min(now, _seconds(implementation.step, batch, problem.learning_rate))
        slope = max(0.0, now - seconds) / (count - before) if before else 0.0  # one call alone may be all overhead
        estimate = steps * (now + slope * (workload.batch_size - count))
        if count == workload.batch_size or now > budget or (now > budget / 4 and estimate > FAR_OVER * budget):
            return estimate
        before, seconds, count = count, now, min(8 * count, workload.batch_size)


def gemm(n: int, dtype: str) -> tuple[Callable[..., object], tuple[Any, ...]]:
    """Return the product of two (n, n) matrices as a function and its arguments: 2 n^3 operations."""
    rng = np.random.default_rng(0)
    a, b = (rng.random((n, n)).astype(dtype) for _ in range(2))  # (n, n)
    return np.matmul, (a, b, np.empty_like(a))


def thread_pools() -> list[dict[str, Any]]:
    """Return the BLAS and OpenMP libraries of this process with the threads that they will use."""
    kept = ("user_api", "internal_api", "version", "architecture", "threading_layer", "num_threads")
    return [
        {key: pool[key] for key in kept if key in pool} | {"library": Path(pool["filepath"]).name}
        for pool in threadpoolctl.threadpool_info()
    ]


def _seconds(function: Callable[..., object], *arguments: object) -> float:
    start = time.perf_counter()
    function(*arguments)
    return time.perf_counter() - start
