"""What one check runs on: an implementation, a network, a dtype, a number of threads, and random examples."""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from impls.conformance.comparison import gradient_errors, parameter_errors
from impls.conformance.oracle import oracle_epoch, oracle_gradients
from impls.interface import Array, Implementation, Parameters

Factory = Callable[[Sequence[int], int, str, int], Implementation]  # of sizes, batch size, dtype, threads


@dataclass(frozen=True)
class Network:
    """A network's layer sizes, the batch size it is constructed for, and the number of examples it is given."""

    sizes: tuple[int, ...]  # n_0, …, n_L
    batch_size: int
    examples: int  # N


@dataclass(frozen=True)
class Trial:
    """One network with one dtype and number of threads, with random parameters and examples of its own."""

    factory: Factory
    dtype: str
    threads: int
    network: Network

    def open(self) -> Implementation:
        """Construct the implementation and load the parameters."""
        implementation = self.factory(self.network.sizes, self.network.batch_size, self.dtype, self.threads)
        try:
            implementation.load(self.parameters)
        except BaseException:
            implementation.close()
            raise
        return implementation

    @cached_property
    def rng(self) -> np.random.Generator:
        """Return the generator of everything that is random here, seeded by the network."""
        return np.random.default_rng([*self.network.sizes, self.network.examples])

    @cached_property
    def parameters(self) -> Parameters:
        """Return the parameters that are loaded first."""
        return self.draw_parameters()

    @cached_property
    def x(self) -> Array:
        """Return the inputs of all examples."""
        return self.rng.standard_normal((self.network.examples, self.network.sizes[0])).astype(self.dtype)  # (N, n_0)

    @cached_property
    def y(self) -> Array:
        """Return the targets of all examples; 0 or 1 for the cross-entropy, which is defined on labels."""
        y = self.rng.random((self.network.examples, self.network.sizes[-1]))  # (N, n_L)
        return (y if self.cost == "quadratic" else y.round()).astype(self.dtype)

    @property
    def cost(self) -> str:
        """Return the name of the implementation's cost."""
        return getattr(self.factory, "cost", "quadratic")

    @cached_property
    def order(self) -> NDArray[np.intp]:
        """Return a random order of the examples."""
        return self.rng.permutation(self.network.examples)  # (N,)

    def draw_parameters(self) -> Parameters:
        """Draw parameters that keep the units of all layers away from saturation."""
        shapes = [(n_out, n_in) for n_in, n_out in pairwise(self.network.sizes)]
        weights = [self.rng.standard_normal(shape) * 2.0 / math.sqrt(shape[1]) for shape in shapes]
        biases = [self.rng.standard_normal(n_out) for n_out, _ in shapes]
        return Parameters([W.astype(self.dtype) for W in weights], [b.astype(self.dtype) for b in biases])

    def mini_batches(self, order: NDArray[np.intp]) -> list[NDArray[np.intp]]:
        """Split `order` into the mini-batches of one epoch."""
        size = self.network.batch_size
        return [order[start : start + size] for start in range(0, len(order), size)]

    def gradient_errors(self, found: Any, rows: slice = slice(None), parameters: Parameters | None = None) -> str:
        """Compare a gradient with the oracle's for the examples in `rows`."""
        expected = oracle_gradients(parameters or self.parameters, self.x[rows], self.y[rows], self.cost)
        return gradient_errors(found, expected, self.dtype)

    def parameter_errors(self, found: Any, learning_rate: float, steps: Sequence[NDArray[np.intp]]) -> str:
        """Compare parameters with the oracle's after `steps`, each given by the indices of its examples."""
        expected = self.parameters
        for rows in steps:
            expected = oracle_epoch(expected, self.x, self.y, rows, len(rows), learning_rate, self.cost)
        return parameter_errors(found, self.parameters, expected, sum(map(len, steps)), self.dtype)

    def __str__(self) -> str:
        network = self.network
        sizes = "-".join(map(str, network.sizes))
        examples, threads = counted(network.examples, "example"), counted(self.threads, "thread")
        return f"{sizes}, {examples}, batch size {network.batch_size}, {self.dtype}, {threads}"


CheckFunction = Callable[[Trial], Iterator[str]]  # yields errors as text; "" is none


def counted(number: int, noun: str) -> str:
    """Return "1 example", "2 examples"."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def prefixed(where: str, error: str) -> str:
    """Say where an error was found; "" stays ""."""
    return f"{where}: {error}" if error else ""
