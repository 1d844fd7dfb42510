"""A correct implementation in small methods, of which each bug replaces one, and the list of the bugs."""

from collections.abc import Callable
from itertools import pairwise

import numpy as np

from impls.interface import Array, Batch, Implementation, Parameters

BUGS: dict[type[Implementation], frozenset[str]] = {}  # class -> checks that must reject it

Bug = type[Implementation]


def rejected_by(*checks: str) -> Callable[[Bug], Bug]:
    def add(bug: Bug) -> Bug:
        BUGS[bug] = frozenset(checks)
        return bug

    return add


def draw(sizes: tuple[int, ...], examples: int, seed: int, dtype: str = "float64") -> tuple[Parameters, Array, Array]:
    """Return random parameters, x and y."""
    rng = np.random.default_rng(seed)
    weights = [rng.standard_normal((n_out, n_in)).astype(dtype) for n_in, n_out in pairwise(sizes)]
    biases = [rng.standard_normal(n_out).astype(dtype) for n_out in sizes[1:]]
    x, y = rng.standard_normal((examples, sizes[0])), rng.random((examples, sizes[-1]))
    return Parameters(weights, biases), x.astype(dtype), y.astype(dtype)


class Correct(Implementation):
    """Conforms; split into small methods, so that a bug can replace one."""

    def gradients(self, batch: Batch) -> Parameters:
        return self.backward(self.forward(batch.x), batch.y)

    def forward(self, x: Array) -> list[Array]:
        activations = [x]
        for W, b in zip(self.weights, self.biases, strict=True):
            activations.append(self.sigmoid(activations[-1] @ W.T + b))  # (B, n_out)
        return activations

    def sigmoid(self, z: Array) -> Array:
        return 0.5 + 0.5 * np.tanh(0.5 * z)

    def backward(self, activations: list[Array], y: Array) -> Parameters:
        a = activations[-1]
        delta = (a - y) * a * (1 - a) / self.mean_over(y)  # (B, n_L)
        dW, db = [delta.T @ activations[-2]], [self.bias_gradient(delta)]
        for layer in range(len(self.weights) - 1, 0, -1):
            a = activations[layer]
            delta = self.back(delta, layer) * a * (1 - a)  # (B, n_in)
            dW.insert(0, delta.T @ activations[layer - 1])
            db.insert(0, self.bias_gradient(delta))
        return Parameters(dW, db)

    def subtract(self, gradient: Parameters, learning_rate: float) -> None:
        for p, dp in zip(self.weights + self.biases, gradient.weights + gradient.biases, strict=True):
            p -= learning_rate * dp

    def mean_over(self, y: Array) -> int:
        return len(y)

    def back(self, delta: Array, layer: int) -> Array:
        return delta @ self.weights[layer]

    def bias_gradient(self, delta: Array) -> Array:
        return delta.sum(axis=0)  # type: ignore[no-any-return]
