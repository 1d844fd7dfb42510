"""What one check runs on: an implementation, a network, a dtype, a number of threads, and random examples."""

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from impls.conformance.reference import reference_epoch, reference_gradients
from impls.conformance.tolerance import gradient_errors, parameter_errors, type_errors
from impls.conformance.violation import Network
from impls.interface import Array, Implementation, Parameters

Factory = Callable[[Sequence[int], int, str, int], Implementation]  # of sizes, batch size, dtype, threads


@dataclass
class Trial:
    """One network with one dtype and number of threads; parameters and examples are random where they are not set."""

    factory: Factory
    dtype: str
    threads: int
    network: Network
    learning_rates: tuple[float, ...] = (0.01, 3.0)  # of single steps
    epoch_rate: float = 0.7  # the learning rate of epochs, and of steps where one is enough
    instance: Implementation | None = None  # that is to compute, instead of new ones
    wrong_results: bool = False  # whether a gradient or parameters were wrong so far

    def open(self) -> AbstractContextManager[Implementation]:
        """Construct the implementation, to be closed afterwards; a given instance is loaded only, and stays open."""
        if self.instance:
            self.instance.load(self.parameters)
            return nullcontext(self.instance)
        return self.construct()

    def construct(self) -> Implementation:
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

    @property
    def first_batch(self) -> slice:
        """Return the examples of the first mini-batch."""
        return slice(self.network.batch_size)

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

    def gradient_errors(self, result: Any, rows: slice = slice(None), parameters: Parameters | None = None) -> str:
        """Compare a gradient with the reference's for the examples in `rows`."""
        parameters = parameters or self.parameters
        with self._calm_blas():
            expected = reference_gradients(parameters, self.x[rows], self.y[rows], self.cost)
        errors = gradient_errors(result, expected, self.dtype) or type_errors(result, self.dtype)
        self.wrong_results |= bool(errors)
        return errors

    def parameter_errors(
        self,
        result: Any,
        learning_rate: float,
        batches: Sequence[NDArray[np.intp]],
        parameters: Parameters | None = None,
    ) -> str:
        """Compare parameters with the reference's after steps with `batches`, given by the indices of their examples.

        `parameters` are those before the first step.
        """
        before = expected = parameters or self.parameters
        with self._calm_blas():
            for rows in batches:
                expected = reference_epoch(expected, self.x, self.y, rows, len(rows), learning_rate, self.cost)
        errors = parameter_errors(result, before, expected, sum(map(len, batches)), self.dtype)
        errors = errors or type_errors(result, self.dtype)
        self.wrong_results |= bool(errors)
        return errors

    def _calm_blas(self) -> AbstractContextManager[Any]:
        """Limit BLAS to one thread where others would keep spinning, and disturb the threads that are timed next."""
        return threadpool_limits(limits=1, user_api="blas") if self.instance else nullcontext()

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
