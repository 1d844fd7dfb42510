"""The book's loop: one example at a time, column vectors, fresh arrays for each of them. The baseline.

Follows `network.py` of Nielsen's *Neural Networks and Deep Learning* line by line: `backprop` for one example,
sums over the mini-batch in new lists, then the update. The one change is a sigmoid that does not overflow.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from impls.interface import Array, Implementation, Parameters

Example = tuple[Array, Array]


class PerExample(Implementation):
    """The book's algorithm: an example at a time."""

    def prepare_data(self, x: Array, y: Array) -> list[Example]:
        x, y = super().prepare_data(x, y)
        return [(x_i[:, np.newaxis], y_i[:, np.newaxis]) for x_i, y_i in zip(x, y, strict=True)]  # (n_0, 1), (n_L, 1)

    def take(self, data: list[Example], indices: NDArray[np.intp]) -> list[Example]:
        return [data[i] for i in indices]

    def gradients(self, batch: list[Example]) -> Parameters:
        nabla_W, nabla_b = self._sums(batch)
        return Parameters([dW / len(batch) for dW in nabla_W], [db[:, 0] / len(batch) for db in nabla_b])

    def step(self, batch: list[Example], learning_rate: float) -> None:
        nabla_W, nabla_b = self._sums(batch)
        rate = float(learning_rate) / len(batch)  # a NumPy float64 would turn float32 into float64
        self.weights = [W - rate * dW for W, dW in zip(self.weights, nabla_W, strict=True)]  # (n_out, n_in)
        self.biases = [b - rate * db[:, 0] for b, db in zip(self.biases, nabla_b, strict=True)]  # (n_out,)

    def _sums(self, batch: list[Example]) -> tuple[list[Array], list[Array]]:
        """Return the gradients of all examples of the batch, added up."""
        nabla_W = [np.zeros(W.shape, self.dtype) for W in self.weights]  # (n_out, n_in)
        nabla_b = [np.zeros((len(b), 1), self.dtype) for b in self.biases]  # (n_out, 1)
        for x, y in batch:
            delta_W, delta_b = self._backprop(x, y)
            nabla_W = [nW + dW for nW, dW in zip(nabla_W, delta_W, strict=True)]
            nabla_b = [nb + db for nb, db in zip(nabla_b, delta_b, strict=True)]
        return nabla_W, nabla_b

    def _backprop(self, x: Array, y: Array) -> tuple[list[Array], list[Array]]:
        """Return the gradient of the cost of one example: `x` (n_0, 1), `y` (n_L, 1)."""
        layers = len(self.weights)
        dW: list[Any] = [None] * layers
        db: list[Any] = [None] * layers
        activation = x
        activations = [x]
        zs = []
        for W, b in zip(self.weights, self.biases, strict=True):
            z = np.dot(W, activation) + b[:, np.newaxis]  # (n_out, 1)
            zs.append(z)
            activation = sigmoid(z)  # (n_out, 1)
            activations.append(activation)
        delta = (activations[-1] - y) * sigmoid_prime(zs[-1])  # (n_L, 1)
        db[-1] = delta
        dW[-1] = np.dot(delta, activations[-2].T)  # (n_L, n_in)
        for layer in range(layers - 2, -1, -1):
            delta = np.dot(self.weights[layer + 1].T, delta) * sigmoid_prime(zs[layer])  # (n_out, 1)
            db[layer] = delta
            dW[layer] = np.dot(delta, activations[layer].T)  # (n_out, n_in)
        return dW, db


def sigmoid(z: Array) -> Array:
    """Return 1 / (1 + exp(-z)), with z bounded below where exp(-z) would overflow."""
    lowest = -708.0 if z.dtype == np.float64 else -87.0
    return 1.0 / (1.0 + np.exp(-np.maximum(z, lowest)))


def sigmoid_prime(z: Array) -> Array:
    return sigmoid(z) * (1.0 - sigmoid(z))
