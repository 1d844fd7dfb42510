"""What one check runs on: an implementation, a network, a dtype, a number of threads, and random examples."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from impls.conformance.comparison import gradient_errors, parameter_errors
from impls.conformance.diagnosis import diagnose, diagnose_steps
from impls.conformance.oracle import oracle_epoch, oracle_gradients
from impls.conformance.violation import Network
from impls.interface import Array, Implementation, Parameters

Factory = Callable[[Sequence[int], int, str, int], Implementation]  # of sizes, batch size, dtype, threads


@dataclass(frozen=True)
class Trial:
    """One network with one dtype and number of threads, with random parameters and examples of its own."""

    factory: Factory
    dtype: str
    threads: int
    network: Network
    diagnosed: bool = True  # whether to look for the mistake behind a wrong result, which takes a second
    diagnoses: list[str] = field(default_factory=list, compare=False)  # of what was found wrong so far

    def open(self) -> Implementation:
        """Construct the implementation and load the parameters."""
        implementation = self.factory(self.network.sizes, self.network.batch_size, self.dtype, self.threads)
        try:
            if implementation.worth_sharing:
                implementation.worth_sharing = 0  # here networks are small, and threads are to be checked, too
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

    def gradient_errors(
        self,
        found: Any,
        rows: slice = slice(None),
        parameters: Parameters | None = None,
        others: Mapping[str, Parameters] | None = None,
    ) -> str:
        """Compare a gradient with the oracle's for the examples in `rows`; diagnose it if it is wrong.

        `others` are gradients that it may be confused with, by name.
        """
        parameters, x, y = parameters or self.parameters, self.x[rows], self.y[rows]
        errors = gradient_errors(found, oracle_gradients(parameters, x, y, self.cost), self.dtype)
        if errors and self.diagnosed:
            batch_size = self.network.batch_size
            self.diagnoses.append(diagnose(found, parameters, x, y, self.cost, batch_size=batch_size, others=others))
        return errors

    def parameter_errors(
        self,
        found: Any,
        learning_rate: float,
        *epochs: Sequence[NDArray[np.intp]],
        parameters: Parameters | None = None,
    ) -> str:
        """Compare parameters with the oracle's after `epochs`, lists of mini-batches; diagnose them if they are wrong.

        A mini-batch is given by the indices of its examples; `parameters` are those before the first step.
        """
        before = expected = parameters or self.parameters
        steps = [rows for epoch in epochs for rows in epoch]
        for rows in steps:
            expected = oracle_epoch(expected, self.x, self.y, rows, len(rows), learning_rate, self.cost)
        errors = parameter_errors(found, before, expected, sum(map(len, steps)), self.dtype)
        if errors and self.diagnosed:
            size = self.network.batch_size
            self.diagnoses.append(
                diagnose_steps(found, before, self.x, self.y, epochs, learning_rate, self.cost, batch_size=size)
            )
        return errors

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
