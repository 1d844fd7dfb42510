"""The reference: gradients and epochs in float64, also perturbed as rounding may perturb them.

The reference shares no code with any implementation and stores things differently: examples are columns, and each bias
is one more column of its weights. Dimensions are those of `impls.interface`.

A tolerance relative to the result is too strict where the result is what is left of larger numbers: behind a saturated
sigmoid, after cancellation, after many steps. How far rounding may move a correct result depends on the problem, so the
problem itself is asked (Parker 1997, Monte Carlo arithmetic): the reference is computed again with its numbers
perturbed. `tolerance` says how far from the reference a correct implementation may be then.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from impls.interface import Array, Parameters

COSTS = ("quadratic", "cross-entropy")
PERTURBATIONS = 8
ROUNDINGS = 16  # the errors of exp and of the order of a sum included; that is within a factor sqrt(n) for n terms
GRADIENT_ROUNDINGS = 64  # u: the perturbation of each gradient in a trajectory, relative to its size


class Step(NamedTuple):
    """One step of gradient descent."""

    x: Array  # (B, n_0)
    y: Array  # (B, n_L)
    learning_rate: float


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
    weights = [np.array(W, np.float64) for W in parameters.weights]  # (n_out, n_in)
    biases = [np.array(b, np.float64) for b in parameters.biases]  # (n_out,)
    for start in range(0, len(order), batch_size):
        rows = order[start : start + batch_size]
        dW, db = reference_gradients(Parameters(weights, biases), x[rows], y[rows], cost)
        weights = [W - learning_rate * dW_l for W, dW_l in zip(weights, dW, strict=True)]
        biases = [b - learning_rate * db_l for b, db_l in zip(biases, db, strict=True)]
    return Parameters(weights, biases)


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

    def __init__(self, start: Parameters, steps: Sequence[Step], dtype: str, cost: str) -> None:
        """Take the parameters before the steps; those after them are in `parameters`."""
        self._rng = np.random.default_rng(0)
        self._ulp = ROUNDINGS * float(np.finfo(dtype).eps)
        self._tiny = ROUNDINGS * float(np.finfo(dtype).smallest_normal)  # what is smaller may vanish
        self._cost = cost
        self._stack = Parameters(
            *([np.stack([np.asarray(p, np.float64)] * PERTURBATIONS) for p in kind] for kind in start)
        )
        for x, y, learning_rate in steps:
            gradient = self._gradients(x, y)
            self._stack = Parameters(
                *(
                    [self._rounded(p - learning_rate * dp) for p, dp in zip(*pair, strict=True)]
                    for pair in zip(self._stack, gradient, strict=True)
                )
            )

    def parameters(self) -> list[Parameters]:
        """Return the parameters of each perturbed reference."""
        return _one_by_one(self._stack)

    def gradients(self, x: Array, y: Array) -> list[Parameters]:
        """Return the gradient of each perturbed reference."""
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
        """Return the products of matrices; what they add up is perturbed."""
        terms = other.shape[1]
        return self._rounded(one, terms) @ self._rounded(other, terms)

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


def _one_by_one(stack: Parameters) -> list[Parameters]:
    return [
        Parameters([W[number] for W in stack.weights], [b[number] for b in stack.biases])
        for number in range(PERTURBATIONS)
    ]


class Trajectory:
    """The reference's parameters, step by step; perturbed as a dtype perturbs an implementation if it is given one.

    Rounding errors of hundreds of steps add up, and each step passes them on, larger or smaller, as the network will.

    - Each gradient is off by 64 u of its own size, where u is half a unit in the last place: what independent roundings
      do to a sum of 4,096 terms (sqrt(n) u). The numbers of two successive steps hardly differ, so their roundings are
      alike and add up; the perturbation therefore has the same direction at every step.
    - The parameters are rounded to the dtype after each step.
    """

    def __init__(self, parameters: Parameters, cost: str, dtype: str | None = None, seed: int = 0) -> None:
        self._tensors = [np.asarray(p, np.float64) for p in (*parameters.weights, *parameters.biases)]
        self._layers = len(parameters.weights)
        self._cost = cost
        self._dtype = dtype
        self._seed = seed
        self._directions: list[Array] | None = None  # of the perturbation, once the first gradient is there

    @property
    def parameters(self) -> Parameters:
        """Return the parameters, in arrays that later steps do not change."""
        return Parameters(self._tensors[: self._layers], self._tensors[self._layers :])

    def step(self, x: Array, y: Array, learning_rate: float) -> None:
        """Take one step."""
        dW, db = reference_gradients(self.parameters, x, y, self._cost)
        gradients = dW + db
        if self._dtype is not None:
            gradients = self._perturbed(gradients, self._dtype)
        self._tensors = [p - learning_rate * dp for p, dp in zip(self._tensors, gradients, strict=True)]
        if self._dtype is not None:
            self._tensors = [p.astype(self._dtype).astype(np.float64) for p in self._tensors]

    def _perturbed(self, gradients: list[Array], dtype: str) -> list[Array]:
        """Return the gradients, each off by the same share of its size and always in the same direction."""
        if self._directions is None:
            rng = np.random.default_rng(self._seed)
            self._directions = [rng.standard_normal(dp.shape) for dp in gradients]
        share = GRADIENT_ROUNDINGS * float(np.finfo(dtype).eps) / 2
        return [
            dp + share * math.sqrt(np.mean(dp * dp)) * direction
            for dp, direction in zip(gradients, self._directions, strict=True)
        ]
