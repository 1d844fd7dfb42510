"""The problem behind a workload: parameters, examples, learning rate, and what is called to compute it."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.conditions import Workload
from bench.workloads import Call
from impls.interface import Array, Implementation, Parameters

# The learning rates of the instances. The book's, 3.0, has a small network learn ten examples by heart within a sample
# of hundreds of steps; the last steps are then so small that one more or less would hardly show. A wide hidden layer
# makes the cost steeper: with the same rate, each step would blow up the rounding errors of those before.
LEARNING_RATES = (0.2, 1.0)
STEEP_UNITS = 100  # in the widest hidden layer, from which on the rates are smaller in proportion
SCALES = (0.9, 1.1)  # of the initial parameters
EPOCH_EXAMPLES = 1_500  # of an epoch that does not say how many: as many as the digits have to train on
UNTIMED = 0.5  # times the learning rate: that of the calls before the timed ones


@dataclass(frozen=True)
class Turn:
    """What one sample computes: where it starts, which examples it gets in which order, how far it steps."""

    parameters: Parameters
    examples: NDArray[np.intp]  # of a step (B,); of an epoch (N,), a permutation
    learning_rate: float

    @property
    def untimed_learning_rate(self) -> float:
        """Return the learning rate of the calls before the timed ones: so those cannot be computed in advance."""
        return UNTIMED * self.learning_rate


@dataclass(frozen=True)
class Problem:
    """A workload with its data: the same numbers for every implementation and process."""

    workload: Workload
    parameters: Parameters  # that those of the instances are made of
    x: Array  # (N, n_0)
    y: Array  # (N, n_L)
    seed: int

    @classmethod
    def make(cls, workload: Workload, data: tuple[str, str], seed: int) -> "Problem":
        """Draw initial parameters, and read examples from .npy files of x (N, 784) and y (N, 10).

        Weights are normal with standard deviation 1 / sqrt(n_in), so that few units are saturated and no implementation
        is slowed by denormal numbers. Networks of 784 inputs and 10 outputs get the data set's examples; others get
        random ones.
        """
        rng = np.random.default_rng(seed)
        sizes, dtype = workload.sizes, workload.dtype
        weights = [rng.standard_normal((n_out, n_in)) / math.sqrt(n_in) for n_in, n_out in pairwise(sizes)]
        biases = [rng.standard_normal(n_out) for n_out in sizes[1:]]
        x, y = (np.load(path, mmap_mode="r") for path in data)
        if (sizes[0], sizes[-1]) != (x.shape[1], y.shape[1]):
            x, y = rng.random((len(x), sizes[0])), np.eye(sizes[-1])[rng.integers(sizes[-1], size=len(x))]
        if workload.timed == "epoch":  # which gets all of them, converted once; some several times if there are too few
            count = workload.epoch_examples or min(len(x), EPOCH_EXAMPLES)
            if count != len(x):
                order = np.resize(np.arange(len(x)), count)
                x, y = x[order], y[order]
            x, y = np.ascontiguousarray(x, dtype), np.ascontiguousarray(y, dtype)
        return cls(
            workload, Parameters([W.astype(dtype) for W in weights], [b.astype(dtype) for b in biases]), x, y, seed
        )

    @property
    def examples(self) -> int:
        """Return the examples that one timed call goes through."""
        return self.workload.examples(len(self.x))

    def turn(self, number: int) -> Turn:
        """Return the turn of that number: parameters, examples and learning rate of its own, always the same ones.

        A row that remembers results finds none of an earlier turn again, and no turn decides by its luck.
        """
        rng = np.random.default_rng([self.seed, number])
        order = rng.permutation(len(self.x))
        scale = rng.uniform(*SCALES)
        scaled = [[(scale * p).astype(p.dtype) for p in tensors] for tensors in self.parameters]
        examples = order if self.workload.timed == "epoch" else np.resize(order, self.workload.batch_size)
        low, high = LEARNING_RATES
        steepness = max(1.0, max(self.workload.sizes[1:-1], default=0) / STEEP_UNITS)
        return Turn(Parameters(*scaled), examples, float(low * (high / low) ** rng.random()) / steepness)

    def mini_batches(self, turn: Turn) -> Iterator[tuple[Array, Array]]:
        """Return x (B, n_0) and y (B, n_L) of each step of one timed call, in order."""
        size = self.workload.batch_size
        for start in range(0, len(turn.examples), size):
            yield self._examples(turn.examples[start : start + size])

    def construct(self, cls: type[Implementation], threads: int) -> Implementation:
        """Return an implementation for this problem, loaded with its initial parameters."""
        workload = self.workload
        implementation = cls(workload.sizes, workload.batch_size, workload.dtype, threads)
        implementation.load(self.parameters)
        return implementation

    def native_data(self, implementation: Implementation) -> Any:
        """Return the data set in native form where epochs are timed, else None: mini-batches are made turn by turn."""
        return implementation.prepare_data(self.x, self.y) if self.workload.timed == "epoch" else None

    def call(self, implementation: Implementation, native_data: Any, turn: Turn, examples: int | None = None) -> Call:
        """Return the timed method and its arguments, the learning rate last; for the first `examples` if given."""
        taken = turn.examples[:examples]
        if self.workload.timed == "epoch":
            return implementation.epoch, (native_data, taken, turn.learning_rate)
        return implementation.step, (implementation.prepare(*self._examples(taken)), turn.learning_rate)

    def _examples(self, taken: NDArray[np.intp]) -> tuple[Array, Array]:
        """Return x (B, n_0) and y (B, n_L) of the examples of these numbers, in the workload's dtype."""
        dtype = self.workload.dtype
        return self.x[taken].astype(dtype, copy=False), self.y[taken].astype(dtype, copy=False)
