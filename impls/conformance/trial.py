"""What one check runs on: an implementation, a network, a dtype, a number of threads, and random examples."""

import math
import zlib
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
from impls.conformance.tolerance import gradient_errors, named_tensors, parameter_errors, type_errors
from impls.conformance.violation import Network
from impls.interface import Array, Implementation, Parameters

Factory = Callable[[Sequence[int], int, str, int], Implementation]  # Called with sizes, batch size, dtype, threads.
Rows = NDArray[np.intp] | slice  # which examples
ALL = slice(None)


@dataclass
class Trial:
    """One network with one dtype and number of threads; parameters and examples are random where they are not set."""

    factory: Factory
    dtype: str
    threads: int
    network: Network
    learning_rate: float = 0.7
    instance: Implementation | None = None  # If given, it computes, instead of new ones.
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
                implementation.worth_sharing = 0  # Networks are small here, and threads must be checked, too.
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
        """Return which examples are the first mini-batch."""
        return slice(self.network.batch_size)

    def draw_parameters(self) -> Parameters:
        """Draw parameters that keep the units of all layers away from saturation."""
        shapes = [(n_out, n_in) for n_in, n_out in pairwise(self.network.sizes)]
        weights = [self.rng.standard_normal(shape) * 2.0 / math.sqrt(shape[1]) for shape in shapes]
        biases = [self.rng.standard_normal(n_out) for n_out, _ in shapes]
        return Parameters([W.astype(self.dtype) for W in weights], [b.astype(self.dtype) for b in biases])

    def mini_batches(self, order: NDArray[np.intp]) -> list[NDArray[np.intp]]:
        """Split `order` into the mini-batches of one epoch."""
        return np.split(order, range(self.network.batch_size, len(order), self.network.batch_size))

    def prepare(self, implementation: Implementation, rows: Rows = ALL) -> Any:
        """Return examples as a mini-batch in the implementation's native form."""
        return implementation.prepare(self.x[rows], self.y[rows])

    def step(self, implementation: Implementation, rows: Rows = ALL) -> None:
        """Take one step with examples as a mini-batch."""
        implementation.step(self.prepare(implementation, rows), self.learning_rate)

    def gradient_errors(self, result: Any, rows: Rows = ALL, parameters: Parameters | None = None) -> str:
        """Compare a gradient with the reference's."""
        with self._calm_blas():
            expected = reference_gradients(parameters or self.parameters, self.x[rows], self.y[rows], self.cost)
        return self._wrong(gradient_errors(result, expected, self.dtype) or type_errors(result, self.dtype))

    def parameter_errors(
        self,
        implementation: Implementation,
        batches: Sequence[Rows] = (ALL,),
        learning_rate: float | None = None,
        parameters: Parameters | None = None,
    ) -> str:
        """Compare parameters with the reference's after steps with `batches`; `parameters` are those before them."""
        result = implementation.parameters()
        before = expected = parameters or self.parameters
        rate = self.learning_rate if learning_rate is None else learning_rate
        rows_of_steps = [np.arange(self.network.examples)[rows] for rows in batches]
        with self._calm_blas():
            for rows in rows_of_steps:
                expected = reference_epoch(expected, self.x, self.y, rows, len(rows), rate, self.cost)
        examples = sum(map(len, rows_of_steps))
        errors = parameter_errors(result, before, expected, examples, self.dtype)
        return self._wrong(errors or type_errors(result, self.dtype))

    def _wrong(self, errors: str) -> str:
        self.wrong_results |= bool(errors)
        return errors

    def _calm_blas(self) -> AbstractContextManager[Any]:
        """Limit BLAS to one thread where others would keep spinning, and disturb the threads that are timed next."""
        return threadpool_limits(limits=1, user_api="blas") if self.instance else nullcontext()

    def checksums(self) -> dict[str, int]:
        """Return a checksum of each array that is passed to the implementation, by name."""
        inputs = named_tensors(self.parameters) | {"x": self.x, "y": self.y, "order": self.order}
        return {name: zlib.crc32(np.ascontiguousarray(array).data) for name, array in inputs.items()}

    def modified_inputs(self, before: dict[str, int]) -> list[str]:
        """Return the names of the arrays whose checksums are no longer those of `before`."""
        return [name for name, checksum in self.checksums().items() if checksum != before[name]]

    def __str__(self) -> str:
        network = self.network
        sizes = "-".join(map(str, network.sizes))
        examples, threads = counted(network.examples, "example"), counted(self.threads, "thread")
        return f"{sizes}, {examples}, batch size {network.batch_size}, {self.dtype}, {threads}"


Errors = Iterator[tuple[str, str]]  # where a check looked, and what is wrong there: "" is nothing
CheckFunction = Callable[[Trial], Errors]


def counted(number: int, noun: str) -> str:
    """Return "1 example", "2 examples"."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def located(errors: Errors) -> Iterator[str]:
    """Yield each error with the place where it was found."""
    for where, error in errors:
        if error:
            yield f"{where}: {error}" if where else error
