"""How far rounding may move a right result: the oracle, computed several times with everything in it disturbed.

A tolerance relative to the result is too strict where the result is what is left of larger numbers: behind a saturated
sigmoid, after cancellation, after many steps. How strict is too strict depends on the problem, so it is asked of the
problem itself (Parker 1997, Monte Carlo arithmetic): the gradient, or a whole sequence of steps, is computed TWINS
times in float64 with every operand of every operation changed at random by ROUNDINGS units in the last place of the
dtype. A right implementation rounds each of them at most a few times, so it is no further from the oracle than twice
the furthest of the twins. Disturbing more and scaling less is on purpose: near a threshold, as where a large z has lost
all its digits and its sigmoid may be 0 or 1, a result is not proportional to the disturbance.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from impls.interface import Array, Parameters

TWINS = 8
ROUNDINGS = 16  # the errors of exp and of the order of a sum included; that is within a factor sqrt(n) for n terms


class Step(NamedTuple):
    """One step of gradient descent."""

    x: Array  # (B, n_0)
    y: Array  # (B, n_L)
    learning_rate: float


class Twins:
    """The oracle's parameters after steps, as many times as there are twins, each disturbed in its own way.

    Every array has one more axis, the twins', in front of those in the comments of `impls.interface`.
    """

    def __init__(self, start: Parameters, steps: Sequence[Step], dtype: str, cost: str) -> None:
        """Take the parameters before the steps; those after them are in `parameters`."""
        self._rng = np.random.default_rng(0)
        self._ulp = ROUNDINGS * float(np.finfo(dtype).eps)
        self._tiny = ROUNDINGS * float(np.finfo(dtype).smallest_normal)  # what is smaller may vanish
        self._cost = cost
        self._stack = Parameters(*([np.stack([np.asarray(p, np.float64)] * TWINS) for p in kind] for kind in start))
        for step in steps:
            dW, db = self._gradients(step.x, step.y)
            moved = (
                [self._rounded(p - step.learning_rate * dp) for p, dp in zip(*pair, strict=True)]
                for pair in zip(self._stack, (dW, db), strict=True)
            )
            self._stack = Parameters(*moved)

    def parameters(self) -> list[Parameters]:
        """Return the parameters of each twin."""
        return _one_by_one(self._stack)

    def gradients(self, x: Array, y: Array) -> list[Parameters]:
        """Return the gradient of each twin."""
        return _one_by_one(self._gradients(x, y))

    def _gradients(self, x: Array, y: Array) -> Parameters:
        weights, biases = self._stack
        x, y = (np.asarray(array, np.float64)[np.newaxis] for array in (x, y))
        count = x.shape[1]
        activations = [x]
        for W, b in zip(weights, biases, strict=True):
            z = self._product(activations[-1], W.transpose(0, 2, 1)) + self._rounded(b)[:, np.newaxis]
            activations.append(self._sigmoid(self._rounded(z)))  # (B, n_out)
        a = activations[-1]
        delta = self._rounded((a - self._rounded(y)) / count)  # (B, n_L)
        if self._cost == "quadratic":
            delta = self._rounded(delta * a * (1.0 - a))
        dW: list[Array] = []
        db: list[Array] = []
        for layer in range(len(weights) - 1, -1, -1):
            a = activations[layer]
            dW.insert(0, self._product(delta.transpose(0, 2, 1), a))  # (n_out, n_in)
            db.insert(0, self._rounded(delta, terms=count).sum(axis=1))  # (n_out,)
            if layer:
                delta = self._rounded(self._product(delta, weights[layer]) * a * (1.0 - a))  # (B, n_in)
        return Parameters(dW, db)

    def _product(self, one: Array, other: Array) -> Array:
        """Return the products of matrices; what they add up is disturbed."""
        terms = other.shape[1]
        return self._rounded(one, terms) @ self._rounded(other, terms)

    def _sigmoid(self, z: Array) -> Array:
        """Return the sigmoid, disturbed relative to 1: some write it with tanh, and a (1 - a) with a next to 1."""
        a = np.where(z < 0.0, tail := np.exp(-np.abs(z)), 1.0) / (1.0 + tail)
        return a + self._ulp * self._signs(a.shape)

    def _rounded(self, array: Array, terms: int = 1) -> Array:
        """Return the array disturbed; the rounding errors of a sum of n terms are about sqrt(n) of one."""
        shape = (TWINS, *array.shape[1:])  # what all twins share, x and y, is disturbed for each
        signs = math.sqrt(terms) * self._signs(shape)
        return array * (1.0 + self._ulp * signs) + self._tiny * signs

    def _signs(self, shape: tuple[int, ...]) -> Array:
        return self._rng.integers(0, 2, shape) * 2.0 - 1.0


def _one_by_one(stack: Parameters) -> list[Parameters]:
    return [Parameters([W[twin] for W in stack.weights], [b[twin] for b in stack.biases]) for twin in range(TWINS)]
