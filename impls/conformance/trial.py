"""What one check runs on: an implementation, a network, a dtype, a number of threads, and random examples."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from impls.conformance.comparison import gradient_errors, parameter_errors, type_errors
from impls.conformance.diagnosis import AND, diagnose, diagnose_steps, mistakes_of_form
from impls.conformance.oracle import oracle_epoch, oracle_gradients
from impls.conformance.violation import Network
from impls.interface import Array, Implementation, Parameters, has_own_gradient
from impls.mpiexec import launched

OWN_PARAMETERS = "it is computed with parameters of its own, and `load` has no effect on them"
Factory = Callable[[Sequence[int], int, str, int], Implementation]  # of sizes, batch size, dtype, threads


class Given(NamedTuple):
    """Parameters and examples that are not drawn but given, and the instance that is to compute with them."""

    implementation: Implementation
    parameters: Parameters
    x: Array  # (N, n_0)
    y: Array  # (N, n_L)
    order: NDArray[np.intp]  # (N,)


@dataclass(frozen=True)
class Trial:
    """One network with one dtype and number of threads, with random parameters and examples of its own."""

    factory: Factory
    dtype: str
    threads: int
    network: Network
    diagnosed: bool = True  # whether to look for the mistake behind a wrong result, which takes seconds
    learning_rates: tuple[float, ...] = (0.01, 3.0)  # of single steps
    epoch_rate: float = 0.7  # the learning rate of epochs, and of steps where one is enough
    given: Given | None = None  # instead of what is drawn
    diagnoses: list[str] = field(default_factory=list, compare=False)  # of what was found wrong so far

    def open(self) -> AbstractContextManager[Implementation]:
        """Construct the implementation, to be closed afterwards; one that is given is loaded only, and stays open."""
        if self.given:
            self.given.implementation.load(self.parameters)
            return nullcontext(self.given.implementation)
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
        return self.given.parameters if self.given else self.draw_parameters()

    @cached_property
    def x(self) -> Array:
        """Return the inputs of all examples."""
        if self.given:
            return self.given.x
        return self.rng.standard_normal((self.network.examples, self.network.sizes[0])).astype(self.dtype)  # (N, n_0)

    @cached_property
    def y(self) -> Array:
        """Return the targets of all examples; 0 or 1 for the cross-entropy, which is defined on labels."""
        if self.given:
            return self.given.y
        y = self.rng.random((self.network.examples, self.network.sizes[-1]))  # (N, n_L)
        return (y if self.cost == "quadratic" else y.round()).astype(self.dtype)

    @property
    def cost(self) -> str:
        """Return the name of the implementation's cost."""
        return getattr(self.factory, "cost", "quadratic")

    @cached_property
    def order(self) -> NDArray[np.intp]:
        """Return a random order of the examples."""
        return self.given.order if self.given else self.rng.permutation(self.network.examples)  # (N,)

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
        with self._calm_blas():
            expected = oracle_gradients(parameters, x, y, self.cost)
        errors = gradient_errors(found, expected, self.dtype) or type_errors(found, self.dtype)
        if errors and self.diagnosed:
            self.diagnoses.append(
                likely_mistake(self.factory, self.dtype)
                or diagnose(
                    found,
                    parameters,
                    x,
                    y,
                    self.cost,
                    batch_size=self.network.batch_size,
                    others=others,
                    pairs=False,
                )
            )
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
        with self._calm_blas():
            for rows in steps:
                expected = oracle_epoch(expected, self.x, self.y, rows, len(rows), learning_rate, self.cost)
        errors = parameter_errors(found, before, expected, sum(map(len, steps)), self.dtype)
        errors = errors or type_errors(found, self.dtype)
        if errors and self.diagnosed:
            self.diagnoses.append(
                likely_mistake(self.factory, self.dtype)
                or diagnose_steps(
                    found,
                    before,
                    self.x,
                    self.y,
                    epochs,
                    learning_rate,
                    self.cost,
                    batch_size=self.network.batch_size,
                    pairs=False,
                )
            )
        return errors

    def _calm_blas(self) -> AbstractContextManager[Any]:
        """Limit BLAS to one thread where others would keep spinning, and disturb the threads that are timed next."""
        return threadpool_limits(limits=1, user_api="blas") if self.given else nullcontext()

    def __str__(self) -> str:
        network = self.network
        sizes = "-".join(map(str, network.sizes))
        examples, threads = counted(network.examples, "example"), counted(self.threads, "thread")
        return f"{sizes}, {examples}, batch size {network.batch_size}, {self.dtype}, {threads}"


# No two numbers are alike in the first network, so that no mistake looks like another. The second is square.
GENERIC = (Network((8, 7, 5, 3), 11, 11), Network((6, 6, 6, 6), 11, 11))
GENERIC_RATE = 2.3  # likewise: its square, its inverse and its whole part are all different
SEVERAL_STEPS = 3


@lru_cache(maxsize=32)
def likely_mistake(factory: Factory, dtype: str) -> str:
    """Return the likely mistakes on a generic network, in the gradient or in steps; "" if none are known.

    What goes wrong only on other networks, or in other calls, is not looked for. Takes a second. Where an instance
    computes with other ranks, nothing is looked for: they would have to do the same.
    """
    if launched():
        return ""
    for network in GENERIC:
        trial = Trial(factory, dtype, 1, network, diagnosed=False)
        explanations = []
        for mistakes in (_mistakes_in_gradient, _mistakes_in_step, _mistakes_in_steps):
            with suppress(Exception), trial.open() as implementation:
                explanations.append(mistakes(trial, implementation))
        explanation = max(explanations, key=lambda words: words.count(AND) if words else -1, default="")
        if explanation:
            return explanation
    return ""


def _mistakes_in_gradient(trial: Trial, implementation: Implementation) -> str:
    if not has_own_gradient(type(implementation)):
        return ""
    batch = implementation.prepare(trial.x, trial.y)
    result = implementation.gradients(batch)
    if not trial.gradient_errors(result):
        return ""
    words = diagnose(result, trial.parameters, trial.x, trial.y, trial.cost)
    form = mistakes_of_form(result, trial.parameters, trial.x, trial.y, trial.cost)
    if words != AND.join(form):
        return words
    implementation.load(trial.draw_parameters())
    if _equal(result, implementation.gradients(batch)):
        form.append(f"the gradient is the same whatever is loaded: {OWN_PARAMETERS}")
    return AND.join(form)


def _mistakes_in_step(trial: Trial, implementation: Implementation, steps: int = 1) -> str:
    batch, batches = implementation.prepare(trial.x, trial.y), [[np.arange(trial.network.examples)] * steps]
    for _ in range(steps):
        implementation.step(batch, GENERIC_RATE)
    result = implementation.parameters()
    if not trial.parameter_errors(result, GENERIC_RATE, *batches):
        return ""
    words = diagnose_steps(result, trial.parameters, trial.x, trial.y, batches, GENERIC_RATE, trial.cost)
    if words or steps > 1:
        return words
    implementation.load(trial.draw_parameters())
    implementation.step(batch, GENERIC_RATE)
    same = _equal(result, implementation.parameters())
    return f"a step leads to the same parameters whatever is loaded: {OWN_PARAMETERS}" if same else ""


def _mistakes_in_steps(trial: Trial, implementation: Implementation) -> str:
    return _mistakes_in_step(trial, implementation, SEVERAL_STEPS)


def _equal(one: Any, other: Any) -> bool:
    """Return whether two results, lists of arrays in any arrangement, are equal to the last bit."""
    if isinstance(one, list | tuple) and isinstance(other, list | tuple):
        return len(one) == len(other) and all(map(_equal, one, other))
    return np.array_equal(one, other)


CheckFunction = Callable[[Trial], Iterator[str]]  # yields errors as text; "" is none


def counted(number: int, noun: str) -> str:
    """Return "1 example", "2 examples"."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def prefixed(where: str, error: str) -> str:
    """Say where an error was found; "" stays ""."""
    return f"{where}: {error}" if error else ""
