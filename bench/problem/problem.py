"""The problem behind a workload: parameters, examples, learning rate, and what is called to compute it."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from bench.records import Workload
from impls.interface import Array, Implementation, Parameters

LEARNING_RATE = 3.0  # the book's


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
    def make(cls, workload: Workload, data: tuple[str, str], seed: int) -> "Problem":
        """Draw initial parameters, and examples from .npy files of x (N, 784) and y (N, 10).

        Weights are normal with standard deviation 1 / sqrt(n_in), so that few units are saturated and no row is
        slowed by denormal numbers. Networks of 784 inputs and 10 outputs get the data set's examples, repeated
        where a mini-batch is larger; others get random ones.
        """
        rng = np.random.default_rng(seed)
        sizes, dtype = workload.sizes, workload.dtype
        weights = [rng.standard_normal((n_out, n_in)) / math.sqrt(n_in) for n_in, n_out in pairwise(sizes)]
        biases = [rng.standard_normal(n_out) for n_out in sizes[1:]]
        x, y = (np.load(path, mmap_mode="r") for path in data)
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

    @property
    def examples(self) -> int:
        """Return the examples that one timed call goes through."""
        return len(self.x)

    def construct(self, cls: type[Implementation], threads: int) -> Implementation:
        """Return an implementation for this problem, loaded with its initial parameters."""
        workload = self.workload
        implementation = cls(workload.sizes, workload.batch_size, workload.dtype, threads)
        implementation.load(self.parameters)
        return implementation

    def call(
        self, implementation: Implementation, examples: int | None = None
    ) -> tuple[Callable[..., object], tuple[Any, ...]]:
        """Return the timed method and its arguments, the data in native form; for the first `examples` if given."""
        if self.workload.timed == "epoch":
            data = implementation.prepare_data(self.x, self.y)
            return implementation.epoch, (data, self.order[:examples], self.learning_rate)
        return implementation.step, (implementation.prepare(self.x[:examples], self.y[:examples]), self.learning_rate)
