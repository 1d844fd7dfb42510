"""The reference: gradients and epochs in float64, also perturbed as rounding may perturb them.

The reference shares no code with any implementation and stores things differently: examples are columns, and each bias
is one more column of its weights. Dimensions are those of `impls.interface`.

A tolerance relative to the result is too strict where the result is what is left of larger numbers: behind a saturated
sigmoid, after cancellation, after many steps. How far rounding may move a correct result depends on the problem, so the
problem itself is asked (Parker 1997, Monte Carlo arithmetic): the reference is computed again with its numbers
perturbed. `tolerance` says how far from the reference a correct implementation may be then.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from impls.interface import Array, Parameters

COSTS = ("quadratic", "cross-entropy")
PERTURBATIONS = 8
ROUNDINGS = 16  # the errors of exp and of the order of a sum included; that is within a factor sqrt(n) for n terms
GRADIENT_ROUNDINGS = 64  # u: the perturbation of each gradient in a trajectory, relative to its size


class GradientStep(NamedTuple):
    """One step of gradient descent."""

    x: Array  # (B, n_0)
    y: Array  # (B, n_L)
    learning_rate: float


def elementwise(function: Callable[..., Any], *parameters: Parameters) -> Parameters:
    """Apply a function to each tensor; of several parameters, to the tensors in the same place."""
    pairs = zip(*parameters, strict=True)
    return Parameters(*([function(*tensors) for tensors in zip(*kinds, strict=True)] for kinds in pairs))


def reference_gradients(parameters: Parameters, x: Array, y: Array, cost: str = "quadratic") -> Parameters:
    """Return the gradient of C = 1/(2B) * sum of |a - y|^2 in float64, for `x` (B, n_0) and `y` (B, n_L).

    Nielsen, chapter 2, equations BP1 to BP4, with W and b combined in one matrix and a 1 appended to each activation.
    For the cost "cross-entropy" (chapter 3) it is the gradient of C = -1/B * sum of y ln a + (1 - y) ln(1 - a), where
    dC/dz of the last layer lacks the slope of the sigmoid. Raises ValueError for any other cost.
    """
    if cost not in COSTS:
        raise ValueError(f"cost: expected {' or '.join(COSTS)}, got {cost!r}")
    layers = [
        np.column_stack([W, b]).astype(np.float64) for W, b in zip(parameters.weights, parameters.biases, strict=True)
    ]  # (n_out, n_in + 1)
    activation = np.asarray(x, np.float64).T  # (n_0, B)
    inputs, slopes = [], []
    for layer in layers:
        inputs.append(np.vstack([activation, np.ones((1, len(x)))]))  # (n_in + 1, B)
        activation, slope = _sigmoid_and_slope(layer @ inputs[-1])  # (n_out, B)
        slopes.append(slope)
    upstream = (activation - np.asarray(y, np.float64).T) / len(x)  # (n_L, B), dC/da
    if cost == "cross-entropy":
        slopes[-1] = np.ones_like(slopes[-1])  # for this cost, `upstream` is already dC/dz
    gradients: list[Array] = []
    for layer, layer_input, slope in zip(reversed(layers), reversed(inputs), reversed(slopes), strict=True):
        delta = upstream * slope  # (n_out, B), dC/dz
        gradients.insert(0, delta @ layer_input.T)  # (n_out, n_in + 1)
        upstream = layer[:, :-1].T @ delta  # (n_in, B)
    return Parameters([g[:, :-1] for g in gradients], [g[:, -1] for g in gradients])


def reference_epoch(
    parameters: Parameters,
    x: Array,
    y: Array,
    order: NDArray[np.intp],
    batch_size: int,
    learning_rate: float,
    cost: str = "quadratic",
) -> Parameters:
    """Return the float64 parameters after one epoch: gradient steps through `order`, `batch_size` examples at a time.

    The last mini-batch may be smaller. `x` is (N, n_0), `y` is (N, n_L), `order` holds indices of examples.
    """
    parameters = elementwise(lambda p: np.array(p, np.float64), parameters)
    for start in range(0, len(order), batch_size):
        rows = order[start : start + batch_size]
        gradient = reference_gradients(parameters, x[rows], y[rows], cost)
        parameters = elementwise(lambda p, dp: p - learning_rate * dp, parameters, gradient)
    return parameters


def _sigmoid_and_slope(z: Array) -> tuple[Array, Array]:
    """Return the sigmoid and its derivative, both to full relative precision in both tails."""
    with np.errstate(under="ignore"):
        tail = np.exp(-np.abs(z))  # at most 1, so nothing overflows
        whole = 1.0 + tail
        return np.where(z < 0.0, tail, 1.0) / whole, tail / whole**2


# --- Perturbed -------------------------------------------------------------------------------------------------------


class PerturbedReference:
    """PERTURBATIONS references after the same steps, in each of which every operand of every operation is perturbed.

    A correct implementation rounds each operand at most a few times, so it is no further from the reference than twice
    the furthest of these. Perturbing more and scaling less is on purpose: near a threshold, as where a large z has lost
    all its digits and its sigmoid may be 0 or 1, a result is not proportional to the perturbation. Every array has one
    more axis, the perturbations', in front of those in the comments of `impls.interface`.
    """

    def __init__(self, start: Parameters, steps: Sequence[GradientStep], dtype: str, cost: str) -> None:
        """Take the parameters before the steps; those after them are in `parameters`."""
        self._rng = np.random.default_rng(0)
        self._ulp = ROUNDINGS * float(np.finfo(dtype).eps)
        self._tiny = ROUNDINGS * float(np.finfo(dtype).smallest_normal)  # What is smaller may vanish.
        self._cost = cost
        self._stack = elementwise(lambda p: np.stack([np.asarray(p, np.float64)] * PERTURBATIONS), start)
        for x, y, learning_rate in steps:
            gradient = self._gradients(x, y)
            self._stack = elementwise(lambda p, dp: self._rounded(p - learning_rate * dp), self._stack, gradient)  # noqa: B023

    def parameters(self) -> list[Parameters]:
        """Return the parameters of each perturbed reference."""
        return _unstacked(self._stack)

    def gradients(self, x: Array, y: Array) -> list[Parameters]:
        """Return the gradient of each perturbed reference."""
        return _unstacked(self._gradients(x, y))

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

    def _product(self, A: Array, B: Array) -> Array:  # noqa: N803
        """Return the products of matrices; what they add up is perturbed."""
        terms = B.shape[1]
        return self._rounded(A, terms) @ self._rounded(B, terms)

    def _sigmoid(self, z: Array) -> Array:
        """Return the sigmoid, perturbed relative to 1: some write it with tanh, and a (1 - a) with a next to 1."""
        a = np.where(z < 0.0, tail := np.exp(-np.abs(z)), 1.0) / (1.0 + tail)
        return a + self._ulp * self._signs(a.shape)

    def _rounded(self, array: Array, terms: int = 1) -> Array:
        """Return the array perturbed; the rounding errors of a sum of n terms are about sqrt(n) of one."""
        shape = (PERTURBATIONS, *array.shape[1:])  # what all perturbations share, x and y, is perturbed for each
        signs = math.sqrt(terms) * self._signs(shape)
        return array * (1.0 + self._ulp * signs) + self._tiny * signs

    def _signs(self, shape: tuple[int, ...]) -> Array:
        return self._rng.integers(0, 2, shape) * 2.0 - 1.0


def _unstacked(stack: Parameters) -> list[Parameters]:
    return [elementwise(lambda p: p[number], stack) for number in range(PERTURBATIONS)]  # noqa: B023


class Trajectory:
    """The reference's parameters, step by step; perturbed as a dtype perturbs an implementation if it is given one.

    Rounding errors of hundreds of steps add up, and each step passes them on, larger or smaller, as the network will.

    - Each gradient is off by 64 u of its own size, where u is half a unit in the last place: what independent roundings
      do to a sum of 4,096 terms (sqrt(n) u). The numbers of two successive steps hardly differ, so their roundings are
      alike and add up; the perturbation therefore has the same direction at every step.
    - The parameters are rounded to the dtype after each step.
    """

    def __init__(self, parameters: Parameters, cost: str, dtype: str = "", seed: int = 0) -> None:
        rng = np.random.default_rng(seed)
        self.parameters = elementwise(lambda p: np.asarray(p, np.float64), parameters)  # Later steps make new arrays.
        self._cost = cost
        self._dtype = dtype
        self._directions = elementwise(lambda p: rng.standard_normal(p.shape), parameters)

    def step(self, x: Array, y: Array, learning_rate: float) -> None:
        """Take one step."""
        gradient = reference_gradients(self.parameters, x, y, self._cost)
        if self._dtype:
            gradient = elementwise(self._perturbed, gradient, self._directions)
        self.parameters = elementwise(lambda p, dp: p - learning_rate * dp, self.parameters, gradient)
        if self._dtype:
            self.parameters = elementwise(lambda p: p.astype(self._dtype).astype(np.float64), self.parameters)

    def _perturbed(self, dp: Array, direction: Array) -> Array:
        """Return a gradient off by a share of its size, always in the same direction."""
        share = GRADIENT_ROUNDINGS * float(np.finfo(self._dtype).eps) / 2
        return dp + share * math.sqrt(np.mean(dp * dp)) * direction
