"""Backpropagation with parts that can be replaced: the material of which known mistakes are made.

Dimensions are those of `impls.interface`.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from impls.conformance.oracle import oracle_gradients
from impls.interface import Array, Parameters

Rows = NDArray[np.intp]  # indices of the examples of one mini-batch
Elementwise = Callable[[Array, Array], Array]  # of z and a = sigmoid(z), both (B, n_out)


@dataclass(frozen=True)
class Case:
    """What a gradient is asked of, in float64."""

    parameters: Parameters
    x: Array  # (B, n_0)
    y: Array  # (B, n_L)
    cost: str
    batch_size: int  # of the construction

    def only(self, rows: Any) -> "Case":
        """Return the case with some of the examples."""
        return replace(self, x=self.x[rows], y=self.y[rows])

    def at(self, parameters: Parameters) -> "Case":
        """Return the case at other parameters."""
        return replace(self, parameters=parameters)


@dataclass(frozen=True)
class Descent:
    """Which steps are asked for: epochs of mini-batches, and the learning rate."""

    epochs: Sequence[Sequence[Rows]]
    learning_rate: float

    @property
    def batches(self) -> list[Rows]:
        """Return the mini-batches of all epochs."""
        return [rows for epoch in self.epochs for rows in epoch]


Gradient = Callable[[Case], Parameters]


class GradientMistake(NamedTuple):
    sentence: str
    gradient: Gradient


class StepMistake(NamedTuple):
    sentence: str
    parameters: Callable[[Case, Descent], Parameters]  # after the steps


class Scale(NamedTuple):
    """What a gradient may be multiplied with by mistake is made of."""

    examples: int  # B
    outputs: int  # n_L
    batch_size: int  # of the construction
    learning_rate: float  # nan where there is none


class Factor(NamedTuple):
    """A gradient or a step multiplied by a number: the number, and the sentence after "every gradient …"."""

    value: Callable[[Scale], float]
    gradient: str
    step: str


FACTORS = (
    Factor(lambda _: 0.0, "is zero", "is unchanged: the step is not applied"),
    Factor(lambda _: -1.0, "has the wrong sign", "moves the wrong way: added instead of subtracted"),
    Factor(
        lambda s: s.examples,
        "is {k} times too large: summed over the mini-batch, not averaged",
        "moves {k} times too far: by the sum over the mini-batch, not by the mean",
    ),
    Factor(
        lambda s: 1 / s.examples,
        "is {k} times too small: divided by the number of examples twice",
        "moves {k} times too little: divided by the number of examples twice",
    ),
    Factor(
        lambda s: s.examples / s.batch_size,
        "is {k} times too small: averaged over the batch size of the construction, not over the examples given",
        "moves {k} times too little: averaged over the batch size of the construction, not over the examples given",
    ),
    Factor(
        lambda s: s.examples / (s.examples - 1 or np.nan),
        "is averaged over one example too few: divided by B - 1 instead of B",
        "moves by a mean over one example too few: divided by B - 1 instead of B",
    ),
    Factor(lambda s: 1 / (s.learning_rate or np.nan), "", "moves by the whole gradient: the learning rate is ignored"),
    Factor(lambda s: s.learning_rate, "", "moves by the square of the learning rate"),
    Factor(
        lambda s: np.trunc(s.learning_rate) / (s.learning_rate or np.nan),
        "",
        "moves by a learning rate that is truncated to an integer",
    ),
    Factor(
        lambda _: 2.0,
        "is 2 times too large: the 1/2 of the cost is missing",
        "moves 2 times too far: the step is applied twice, or the 1/2 of the cost is missing",
    ),
    Factor(
        lambda _: 0.5,
        "is 2 times too small: the 1/2 of the cost is counted twice",
        "moves 2 times too little: the 1/2 of the cost is counted twice",
    ),
    Factor(
        lambda s: 1 / s.outputs,
        "is {k} times too small: averaged over the output units, too",
        "moves {k} times too little: averaged over the output units, too",
    ),
    Factor(
        lambda s: 2 / s.outputs,
        "is that of the mean squared error over examples and output units: {k} times too small",
        "moves by the gradient of the mean squared error over examples and output units: {k} times too little",
    ),
)


# --- Backpropagation with parts that can be replaced -------------------------------------------------------------


def as_it_is(array: Array) -> Array:
    return array


@dataclass(frozen=True)
class Trace:
    """What backpropagation computes on the way to the gradient."""

    zs: list[Array]  # L arrays (B, n_out)
    activations: list[Array]  # L + 1 arrays, x first
    deltas: list[Array]  # L arrays (B, n_out), dC/dz

    def gradient(
        self,
        inputs: list[Array] | None = None,
        sum_deltas: Callable[[Array], Array] = lambda delta: delta.sum(axis=0),
        cast: Callable[[Array], Array] = as_it_is,
    ) -> Parameters:
        """Return the gradient: products of the deltas with the layers' `inputs`, and sums of the deltas."""
        inputs = self.activations[:-1] if inputs is None else inputs
        return Parameters(
            [cast(delta).T @ cast(a) for delta, a in zip(self.deltas, inputs, strict=True)],  # (n_out, n_in)
            [sum_deltas(delta) for delta in self.deltas],  # (n_out,)
        )


Back = Callable[[int, list[Array], list[Array], list[Array]], Array]


def sigmoid(z: Array) -> Array:
    return 1.0 / (1.0 + np.exp(-z))


def slope_of_sigmoid(_z: Array, a: Array) -> Array:
    return a * (1.0 - a)


def no_slope(z: Array, _a: Array) -> Array:
    return np.ones_like(z)


def back_through_weights(layer: int, deltas: list[Array], weights: list[Array], _inputs: list[Array]) -> Array:
    """Return dC/da of a layer from the `deltas` of all later layers, the next one first."""
    return deltas[0] @ weights[layer + 1]


def backpropagate(
    case: Case,
    *,
    bias: Callable[[Array, int], Array] = lambda b, _: b,
    hidden: Callable[[Array], Array] = sigmoid,
    output: Callable[[Array], Array] = sigmoid,
    hidden_slope: Elementwise = slope_of_sigmoid,
    output_slope: Elementwise | None = None,
    back: Back = back_through_weights,
    cast: Callable[[Array], Array] = as_it_is,
) -> Trace:
    """Run backpropagation with some of its parts replaced; `cast` rounds the operands of the forward products."""
    weights, biases = case.parameters
    last = len(weights) - 1
    zs, activations = [], [case.x]
    for layer, (W, b) in enumerate(zip(weights, biases, strict=True)):
        zs.append(cast(activations[-1]) @ cast(W).T + bias(b, len(case.x)))  # (B, n_out)
        activations.append((output if layer == last else hidden)(zs[-1]))
    if output_slope is None:
        output_slope = no_slope if case.cost == "cross-entropy" else slope_of_sigmoid
    a = activations[-1]
    deltas = [(a - case.y) / len(case.x) * output_slope(zs[-1], a)]  # (B, n_L)
    for layer in range(last - 1, -1, -1):
        slope = hidden_slope(zs[layer], activations[layer + 1])
        deltas.insert(0, back(layer, deltas, weights, activations) * slope)  # (B, n_in)
    return Trace(zs, activations, deltas)


def right(case: Case) -> Parameters:
    """Return the oracle's gradient."""
    return oracle_gradients(case.parameters, case.x, case.y, case.cost)


def mapped(parameters: Parameters, weight: Callable[[Array], Array], bias: Callable[[Array], Array]) -> Parameters:
    return Parameters([weight(W) for W in parameters.weights], [bias(b) for b in parameters.biases])


def scaled(gradient: Parameters, factor: float) -> Parameters:
    return mapped(gradient, lambda w: factor * w, lambda b: factor * b)


def gradient_with(**parts: Any) -> Gradient:
    """Return the gradient by `backpropagate` with these parts replaced."""
    return lambda case: backpropagate(case, **parts).gradient()
