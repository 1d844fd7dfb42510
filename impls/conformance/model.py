"""What an implementation must do, call by call: a model that is told every call and compares every result.

    row, model = Row((3, 2), 4, "float64", 1), Model((3, 2), 4, "float64", 1, Row.cost)
    p = model.draw_parameters(seed=0)
    model.load(p)
    row.load(p)
    x, y = model.draw_examples(4, seed=0)
    batch = row.prepare(x, y)
    model.step(x, y, 0.5)
    row.step(batch, 0.5)
    model.gradient(row.gradients(batch), x, y)
    model.parameters(row.parameters())
    model.unchanged()

Programs of such lines are what `exploration` makes up, runs and prints. The model draws the inputs and keeps a copy of
everything that went in or came out, so each of its calls also finds inputs that were modified, and results of earlier
calls that changed. A line that finds something wrong raises Violated.
"""

import math
from collections.abc import Callable, Sequence
from functools import partial
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from impls.conformance.backprop import case_of
from impls.conformance.diagnosis import gradient_mistakes, in_one, step_mistakes
from impls.conformance.reference import PerturbedReference, Step, reference_epoch, reference_gradients
from impls.conformance.tolerance import (
    differences,
    gradient_errors,
    is_sensitive,
    named_tensors,
    parameter_errors,
    type_errors,
)
from impls.conformance.violation import inputs_modified
from impls.interface import Array, Parameters

LARGEST = 1e12  # a number in the reference beyond which a right row may overflow: float32 ends at 3e38, products square


class Violated(AssertionError):
    """The row is not what the model is. `diagnose` looks for the likely mistake, which may take seconds."""

    def __init__(self, found: str, model: "Model", diagnose: Callable[[], str] = str) -> None:
        super().__init__(found)
        self.model = model
        self.diagnose = diagnose


class OutOfRange(Exception):
    """The numbers are so large, or so sensitive to rounding, that right rows may differ: nothing can be said."""


class Kept(NamedTuple):
    """An array that belongs to the caller, and what it held when it was seen last."""

    name: str
    array: Array
    copy: Array
    given: bool  # by the caller, or else a result


class Model:
    """One instance of the implementation as it must be: the reference's parameters, and what must stay unchanged."""

    def __init__(
        self, sizes: Sequence[int], batch_size: int, dtype: str = "float64", threads: int = 1, cost: str = "quadratic"
    ) -> None:
        self.sizes, self.batch_size, self.dtype, self.threads, self.cost = (
            tuple(sizes),
            batch_size,
            dtype,
            threads,
            cost,
        )
        self._kept: list[Kept] = []
        self._start: Parameters  # that were loaded or seen last, in the row's dtype
        self._now: Parameters  # the reference's, in float64
        self._steps: list[Step] = []  # between the two

    # --- Inputs ------------------------------------------------------------------------------------------------------

    def draw_parameters(self, seed: int, scale: float = 1.0) -> Parameters:
        """Draw parameters; with a scale of 1 they keep the units of all layers away from saturation."""
        rng = np.random.default_rng(seed)
        shapes = [(n_out, n_in) for n_in, n_out in pairwise(self.sizes)]
        weights = [scale * 2.0 / math.sqrt(shape[1]) * rng.standard_normal(shape) for shape in shapes]
        biases = [scale * rng.standard_normal(n_out) for n_out, _ in shapes]
        return Parameters([W.astype(self.dtype) for W in weights], [b.astype(self.dtype) for b in biases])

    def draw_examples(self, count: int, seed: int, x_scale: float = 1.0, y_scale: float = 1.0) -> tuple[Array, Array]:
        """Draw inputs of both signs and targets from 0 to their scale; labels 0 and 1 for the cross-entropy."""
        rng = np.random.default_rng(seed)
        x = x_scale * rng.standard_normal((count, self.sizes[0]))
        y = rng.random((count, self.sizes[-1]))
        y = y * y_scale if self.cost == "quadratic" else y.round()
        arrays = x.astype(self.dtype), y.astype(self.dtype)
        self._keep("x", arrays[0], given=True)
        self._keep("y", arrays[1], given=True)
        return arrays

    def redraw_examples(self, x: Array, y: Array, seed: int, x_scale: float = 1.0, y_scale: float = 1.0) -> None:
        """Draw other examples in the same memory, which is the caller's own: earlier steps must be done with it."""
        self.unchanged()
        self._kept = [kept for kept in self._kept if kept.array is not x and kept.array is not y]
        fresh = self.draw_examples(len(x), seed, x_scale, y_scale)
        self._kept = self._kept[:-2]
        for name, array, numbers in zip("xy", (x, y), fresh, strict=True):
            array[...] = numbers
            self._keep(name, array, given=True)

    def overwrite(self) -> None:
        """Overwrite all results, and all parameters and orders that were given: they belong to the caller."""
        self.unchanged()
        mine = [kept for kept in self._kept if kept.name not in ("x", "y")]
        self._kept = [kept for kept in self._kept if kept.name in ("x", "y")]
        for kept in mine:
            kept.array[...] = 0 if kept.name == "order" else 7

    # --- Calls -------------------------------------------------------------------------------------------------------

    def load(self, parameters: Parameters) -> None:
        """`load` is called with these parameters."""
        self.unchanged()
        self._set(parameters)
        for name, tensor in named_tensors(parameters):
            self._keep(f"loaded {name}", tensor, given=True)

    def step(self, x: Array, y: Array, learning_rate: float) -> None:
        """`step` is called with the mini-batch of these examples."""
        self.unchanged()
        self._step(x.copy(), y.copy(), learning_rate)

    def epoch(self, x: Array, y: Array, order: NDArray[np.intp], learning_rate: float) -> None:
        """`epoch` is called with the data set of these examples."""
        self.unchanged()
        self._keep("order", order, given=True)
        for start in range(0, len(order), self.batch_size):
            rows = order[start : start + self.batch_size]
            self._step(x[rows], y[rows], learning_rate)

    # --- Results -----------------------------------------------------------------------------------------------------

    def gradient(self, found: Any, x: Array, y: Array) -> None:
        """`gradients` returned this for the mini-batch of these examples."""
        self.unchanged()
        expected = self._in_range(reference_gradients(self._now, x, y, self.cost))
        errors = gradient_errors(found, expected, self.dtype)
        if errors:
            twins = PerturbedReference(self._start, self._steps, self.dtype, self.cost).gradients(x, y)
            errors = gradient_errors(found, expected, self.dtype, twins)
            if errors and len(self._steps) > 1 and is_sensitive(expected, twins):
                raise OutOfRange
        errors = errors or type_errors(found, self.dtype)
        if errors:
            case = case_of(self._now, x.copy(), y.copy(), self.cost, self.batch_size)
            raise Violated(f"gradient: {errors}", self, lambda: in_one(gradient_mistakes(found, case)))
        self._keep_result("gradient", found)

    def parameters(self, found: Any) -> None:
        """`parameters` returned this. From now on, the model has these very numbers: rounding does not pile up."""
        self.unchanged()
        if self._steps:
            examples = sum(len(step.x) for step in self._steps)
            errors = parameter_errors(found, self._start, self._now, examples, self.dtype)
            if errors:
                twins = PerturbedReference(self._start, self._steps, self.dtype, self.cost).parameters()
                errors = parameter_errors(found, self._start, self._now, examples, self.dtype, twins)
                if errors and len(self._steps) > 1 and is_sensitive(self._now, twins, self._start):
                    raise OutOfRange
        else:
            errors = differences(found, self._start)
        errors = errors or type_errors(found, self.dtype)
        if errors:
            raise Violated(f"parameters: {errors}", self, lambda: self._diagnose_steps(found))
        self._set(found)
        self._keep_result("parameters", found)

    def unchanged(self) -> None:
        """Inputs are unmodified, and results of earlier calls are what they were. Every call to the model asks this."""
        changed = [kept for kept in self._kept if not np.array_equal(kept.array, kept.copy)]
        inputs = "; ".join(dict.fromkeys(f"{kept.name}: was modified" for kept in changed if kept.given))
        if inputs:
            raise Violated(inputs, self, partial(inputs_modified, inputs))
        if changed:
            results = "; ".join(dict.fromkeys(f"{kept.name}: has changed" for kept in changed))
            raise Violated(results, self, lambda: "a later call overwrites the result of an earlier one")

    # --- Within ------------------------------------------------------------------------------------------------------

    def _set(self, parameters: Parameters) -> None:
        self._start = Parameters(*([np.array(tensor) for tensor in kind] for kind in parameters))
        self._now = Parameters(*([tensor.astype(np.float64) for tensor in kind] for kind in self._start))
        self._steps = []

    def _step(self, x: Array, y: Array, learning_rate: float) -> None:
        everything = np.arange(len(x))
        after = reference_epoch(self._now, x, y, everything, len(x), learning_rate, self.cost)
        self._now = self._in_range(after)
        self._steps.append(Step(x, y, learning_rate))

    def _diagnose_steps(self, found: Any) -> str:
        """Return the likely mistake in the steps since the parameters were known; "" if their rates differ."""
        if len({step.learning_rate for step in self._steps}) != 1:
            return ""
        ends = np.cumsum([len(step.x) for step in self._steps])
        batches = np.split(np.arange(ends[-1]), ends[:-1])
        x, y = (np.concatenate(arrays) for arrays in list(zip(*self._steps, strict=True))[:2])
        rate = self._steps[0].learning_rate
        case = case_of(self._start, x, y, self.cost, self.batch_size, rate)
        return in_one(step_mistakes(found, case, [batches]))

    def _keep(self, name: str, array: Array, *, given: bool) -> None:
        self._kept.append(Kept(name, array, array.copy(), given))

    def _keep_result(self, what: str, result: Any) -> None:
        for name, tensor in named_tensors(result):
            self._keep(f"{name} of the {what}", tensor, given=False)

    def _in_range(self, parameters: Parameters) -> Parameters:
        if all(np.all(np.abs(tensor) < LARGEST) for _, tensor in named_tensors(parameters)):
            return parameters
        raise OutOfRange
