"""Calls of an implementation beside a model of it: the results of every call are compared with the reference's.

    checked = CheckedCalls(Implementation)
    instance1 = checked.construct(network=((3, 2), 4), dtype="float64", threads=1, scale=1.0)
    examples2 = checked.prepare(instance=instance1, count=9, scale=1.0)
    checked.step(examples=examples2, learning_rate=0.5, times=3)
    checked.gradients(examples=examples2)
    checked.parameters(instance=instance1)

`exploration` runs and prints scripts of such lines: the methods are the rules of a state machine of Hypothesis. Arrays
are drawn as those of the named checks, not number by number, so that Hypothesis shrinks what matters: fewer calls,
fewer layers, fewer examples, ordinary magnitudes. A copy is kept of everything that went in or came out, so each call
also finds inputs that were modified, and results of earlier calls that have changed.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial, wraps
from typing import Any, NamedTuple

import numpy as np
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, rule

from impls.conformance import tolerance
from impls.conformance.reference import (
    GradientStep,
    PerturbedReference,
    elementwise,
    reference_epoch,
    reference_gradients,
)
from impls.conformance.trial import Trial
from impls.conformance.violation import Network
from impls.interface import Array, Implementation, Parameters

LARGEST = 1e12  # a number in the reference beyond which a correct implementation may overflow in float32

# What comes first is the simplest, to which Hypothesis shrinks.
SIZES = st.lists(st.integers(1, 6) | st.integers(1, 70), min_size=2, max_size=11).map(tuple)
NETWORKS = st.tuples(SIZES, st.integers(1, 12) | st.integers(1, 70))
FEW_NETWORKS = st.sampled_from((((2, 1), 2), ((3, 4, 2), 3), ((4, 3, 3, 2, 3), 5)))  # where each shape is compiled
COUNTS = st.just(1) | st.integers(1, 12) | st.integers(1, 40)
SEEDS = st.integers(0, 3)
PARAMETER_SCALES = st.sampled_from((1.0, 0.1, 10.0, 0.0))
EXAMPLE_SCALES = st.sampled_from((1.0, 10.0, -3.0, 1e3, 1e-3, 0.0))
RATES = st.sampled_from((1.0, 0.1, 3.0, 0.01, 0.0))


CONSTRUCTION: dict[str, Any] = {
    "network": st.runner().flatmap(lambda machine: FEW_NETWORKS if machine.few_shapes else NETWORKS),
    "dtype": st.runner().flatmap(lambda machine: st.sampled_from(machine.factory.dtypes)),
    "threads": st.integers(1, 8),
    "scale": PARAMETER_SCALES,
}


class Violated(AssertionError):
    """A result is not the model's, or something that belongs to the caller has changed."""


class OutOfRange(Exception):
    """The numbers are so large, or so sensitive to rounding, that correct implementations may differ."""


class Kept(NamedTuple):
    """An array that belongs to the caller, and a copy of what it held when it was passed in or returned."""

    name: str
    array: Array
    copy: Array
    change: str  # in words, what has happened if the two differ


@dataclass(eq=False)
class Instance:
    """An instance of the implementation, and the parameters that it must have."""

    trial: Trial
    implementation: Implementation
    start: Parameters  # as they were loaded or read last, in the implementation's dtype
    now: Parameters  # the reference's, in float64
    steps: list[GradientStep]  # between the two

    def restart(self, parameters: Parameters) -> None:
        """Take these parameters for the implementation's and the reference's, so that rounding does not pile up."""
        self.start = elementwise(lambda p: p.astype(self.trial.dtype), parameters)
        self.now = elementwise(lambda p: p.astype(np.float64), parameters)
        self.steps = []

    def step(self, x: Array, y: Array, learning_rate: float) -> None:
        """Take a step with the reference."""
        now = reference_epoch(self.now, x, y, np.arange(len(x)), len(x), learning_rate, self.trial.cost)
        self.now = in_range(now)
        self.steps.append(GradientStep(x, y, learning_rate))

    def perturbed(self) -> PerturbedReference:
        """Return the reference with what rounding may make of its parameters."""
        return PerturbedReference(self.start, self.steps, self.trial.dtype, self.trial.cost)


class Examples(NamedTuple):
    """A data set, and its first examples as a mini-batch, with the native forms of both."""

    instance: Instance
    trial: Trial  # whose x and y are the data set
    data: Any
    batch: Any

    def step(self, rows: Any, learning_rate: float) -> None:
        """Take a step with the reference on some of the examples."""
        self.instance.step(self.trial.x[rows], self.trial.y[rows], learning_rate)


def in_range(parameters: Parameters) -> Parameters:
    """Return the parameters. Raises OutOfRange if a number is too large."""
    if all(np.all(np.abs(tensor) < LARGEST) for tensor in parameters.weights + parameters.biases):
        return parameters
    raise OutOfRange


def call(target: Bundle[Any] | None = None, **arguments: Any) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Make a method a rule, and each call of it a line of a script."""

    def decorate(method: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(method)
        def run(self: "CheckedCalls", **values: Any) -> Any:
            shown = ", ".join(f"{name}={self.names.get(id(value)) or repr(value)}" for name, value in values.items())
            line = f"checked.{method.__name__}({shown})"
            if target is None:
                return self.run(line, partial(method, self, **values))
            name = f"{target.name}{len(self.names) + 1}"
            result = self.run(f"{name} = {line}", partial(method, self, **values))
            self.names[id(result)] = name
            return result

        decorator: Any = rule(**arguments) if target is None else rule(target=target, **arguments)
        return decorator(run)  # type: ignore[no-any-return]

    return decorate


class CheckedCalls(RuleBasedStateMachine):
    """Calls of any number of instances of one implementation. Each raises Violated if something is wrong after it."""

    instances: Bundle[Instance] = Bundle("instance")
    prepared: Bundle[Examples] = Bundle("examples")

    def __init__(self, factory: type[Implementation]) -> None:
        super().__init__()
        self.factory = factory
        self.few_shapes = factory.compiles_per_shape
        self.opened: list[Instance] = []
        self.names: dict[int, str] = {}  # of variables of the script, by the identity of what they hold
        self._kept: list[Kept] = []

    def run(self, _line: str, method: Callable[[], Any]) -> Any:
        """Run what a line of the script says, and check that nothing changes that belongs to the caller."""
        result = method()
        self.check_unchanged()
        return result

    def check_unchanged(self) -> None:
        changed = [kept for kept in self._kept if not np.array_equal(kept.array, kept.copy)]
        if changed:
            raise Violated("; ".join(dict.fromkeys(f"{kept.name}: {kept.change}" for kept in changed)))

    @initialize(target=instances, **CONSTRUCTION)
    def construct_first(self, **construction: Any) -> Any:
        return self.construct(**construction)

    @call(instances, **CONSTRUCTION)
    def construct(self, network: tuple[tuple[int, ...], int], dtype: str, threads: int, scale: float) -> Instance:
        trial = Trial(self.factory, dtype, threads, Network(*network, examples=1))
        instance = Instance(trial, trial.construct(), trial.parameters, trial.parameters, [])
        self.opened.append(instance)
        self._load(instance, scale)
        return instance

    @call(instance=instances, scale=PARAMETER_SCALES)
    def load(self, instance: Instance, scale: float) -> None:
        self._load(instance, scale)

    def _load(self, instance: Instance, scale: float) -> None:
        parameters = elementwise(lambda p: scale * p, instance.trial.draw_parameters())
        self._keep("was modified", tolerance.named_tensors(parameters))
        instance.implementation.load(parameters)
        instance.restart(parameters)

    @call(prepared, instance=instances, count=COUNTS, scale=EXAMPLE_SCALES)
    def prepare(self, instance: Instance, count: int, scale: float) -> Examples:
        if self.few_shapes:
            count = 2 * instance.trial.network.batch_size + 1
        trial = replace(instance.trial, network=replace(instance.trial.network, examples=count))
        trial.x *= scale
        if trial.cost == "quadratic":
            trial.y *= scale
        self._keep("was modified", {"x": trial.x, "y": trial.y})
        data = instance.implementation.prepare_data(trial.x, trial.y)
        return Examples(instance, trial, data, trial.prepare(instance.implementation, trial.first_batch))

    @call(examples=prepared)
    def gradients(self, examples: Examples) -> None:
        instance, trial = examples.instance, examples.trial
        x, y = trial.x[trial.first_batch], trial.y[trial.first_batch]
        expected = in_range(reference_gradients(instance.now, x, y, trial.cost))
        result = instance.implementation.gradients(examples.batch)
        self.check_unchanged()
        errors = tolerance.gradient_errors(result, expected, trial.dtype)
        if errors:
            perturbed = instance.perturbed().gradients(x, y)
            errors = tolerance.gradient_errors(result, expected, trial.dtype, perturbed)
            if errors and len(instance.steps) > 1 and tolerance.is_sensitive(expected, perturbed):
                raise OutOfRange
        self._accept("gradient", result, errors or tolerance.type_errors(result, trial.dtype))

    @call(examples=prepared, learning_rate=RATES, times=st.just(1) | st.integers(1, 3) | st.integers(1, 20))
    def step(self, examples: Examples, learning_rate: float, times: int) -> None:
        for _ in range(times):
            examples.step(examples.trial.first_batch, learning_rate)
            examples.instance.implementation.step(examples.batch, learning_rate)

    @call(examples=prepared, length=COUNTS, seed=SEEDS, repeats=st.booleans(), learning_rate=RATES)
    def epoch(self, examples: Examples, length: int, seed: int, repeats: bool, learning_rate: float) -> None:
        """Go through a data set in some order: a permutation, a part of one, or any examples any number of times."""
        rng, count = np.random.default_rng(seed), examples.trial.network.examples
        if self.few_shapes:
            length = count
        order = rng.integers(0, count, length) if repeats else rng.permutation(count)[:length]
        self._keep("was modified", {"order": order})
        for rows in examples.trial.mini_batches(order):
            examples.step(rows, learning_rate)
        examples.instance.implementation.epoch(examples.data, order, learning_rate)

    @call(instance=instances)
    def parameters(self, instance: Instance) -> None:
        start, now, dtype = instance.start, instance.now, instance.trial.dtype
        result = instance.implementation.parameters()
        if instance.steps:
            count = sum(len(step.x) for step in instance.steps)
            errors = tolerance.parameter_errors(result, start, now, count, dtype)
            if errors:
                perturbed = instance.perturbed().parameters()
                errors = tolerance.parameter_errors(result, start, now, count, dtype, perturbed)
                if errors and len(instance.steps) > 1 and tolerance.is_sensitive(now, perturbed, start):
                    raise OutOfRange
        else:
            errors = tolerance.differences(result, start)
        self._accept("parameters", result, errors or tolerance.type_errors(result, dtype))
        instance.restart(result)

    def finish(self) -> None:
        """Read the parameters of all instances, then close them: what they returned must stay as it is."""
        for instance in self.opened:
            self.parameters(instance=instance)
        for instance in self.opened:
            self.run(f"{self.names[id(instance)]}.implementation.close()", instance.implementation.close)

    def _accept(self, what: str, result: Any, errors: str) -> None:
        """Keep a result that has no errors. Raises Violated for one that has."""
        if errors:
            raise Violated(f"{what}: {errors}")
        tensors = tolerance.named_tensors(result)
        self._keep("has changed", {f"{name} of the {what}": tensor for name, tensor in tensors.items()})

    def _keep(self, change: str, arrays: Mapping[str, Array]) -> None:
        self._kept += [Kept(name, array, array.copy(), change) for name, array in arrays.items()]
