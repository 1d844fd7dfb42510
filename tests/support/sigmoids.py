"""Correct ways to write the sigmoid, as people write it: each takes an array `z` and returns one of the same dtype.

Some overflow on the way, or divide infinity by infinity in a branch that is not taken, and all return the right values.
"""

import math
from collections.abc import Callable

import numpy as np
from correct_code import Correct
from scipy.special import expit, log_expit

from impls.interface import Array, Implementation

Sigmoid = Callable[[Array], Array]

SIGMOIDS: dict[str, Sigmoid] = {}  # name -> function with a relative error below 1e-5 for |z| < 80, in float32, too


def sigmoid(function: Sigmoid) -> Sigmoid:
    SIGMOIDS[function.__name__.replace("_", "-")] = function
    return function


@sigmoid
def textbook(z: Array) -> Array:
    return 1.0 / (1.0 + np.exp(-z))


@sigmoid
def scipy_expit(z: Array) -> Array:
    return expit(z)  # type: ignore[no-any-return]


@sigmoid
def where_with_both_branches_computed(z: Array) -> Array:
    return np.where(z >= 0, 1 / (1 + np.exp(-z)), np.exp(z) / (1 + np.exp(z)))


@sigmoid
def masked(z: Array) -> Array:
    positive = z >= 0
    negative = ~positive
    a = np.empty_like(z)
    a[positive] = 1 / (1 + np.exp(-z[positive]))
    e = np.exp(z[negative])
    a[negative] = e / (1 + e)
    return a


@sigmoid
def piecewise(z: Array) -> Array:
    # NaN fulfils no condition and takes the last function; with two conditions, z < 0 and z >= 0, it would become 0.
    return np.piecewise(z, [z < 0], [lambda z: np.exp(z) / (1 + np.exp(z)), lambda z: 1 / (1 + np.exp(-z))])


@sigmoid
def logaddexp(z: Array) -> Array:
    return np.exp(-np.logaddexp(0, -z))


@sigmoid
def clipped(z: Array) -> Array:
    # The usual clip(z, -500, 500) is right in float64 only: in float32 exp(89) is infinite, and inf / inf is NaN.
    limit = 500 if z.dtype == np.float64 else 85
    e = np.exp(np.clip(z, -limit, limit))
    return e / (1 + e)  # type: ignore[no-any-return]


@sigmoid
def power_of_e(z: Array) -> Array:
    return 1 / (1 + np.power(np.e, -z))


@sigmoid
def reciprocal(z: Array) -> Array:
    a = np.negative(z)
    np.exp(a, out=a)
    np.add(a, 1, out=a)
    np.reciprocal(a, out=a)
    return a


def scalar(z: float) -> float:
    """Return the sigmoid of one number; `math.exp` raises OverflowError, so that there must be two branches."""
    if z >= 0:
        return 1 / (1 + math.exp(-z))
    return math.exp(z) / (1 + math.exp(z))


@sigmoid
def vectorized(z: Array) -> Array:
    return np.vectorize(scalar, otypes=[z.dtype])(z)  # type: ignore[no-any-return]


@sigmoid
def scalar_loops(z: Array) -> Array:
    a = np.zeros(z.shape, z.dtype)
    for i in range(z.shape[0]):
        for j in range(z.shape[1]):
            a[i, j] = scalar(float(z[i, j]))
    return a


@sigmoid
def exp_of_log_expit(z: Array) -> Array:
    return np.exp(log_expit(z))  # type: ignore[no-any-return]


@sigmoid
def minimum_and_absolute(z: Array) -> Array:
    return np.exp(np.minimum(z, 0)) / (1 + np.exp(-np.abs(z)))  # type: ignore[no-any-return]


def tanh(z: Array) -> Array:
    """Return the sigmoid to the precision of 1, not of itself: in float32 it is off by 1e-5 at z = -6 and 0 at z = -20.

    It is not in `SIGMOIDS` for that reason. It still conforms: what counts is the norm of a gradient.
    """
    return 0.5 * (1.0 + np.tanh(z / 2.0))


def with_sigmoid(function: Sigmoid) -> type[Implementation]:
    """Return a batched implementation with this sigmoid."""
    return type("WithSigmoid", (Correct,), {"sigmoid": lambda _, z: function(z)})
