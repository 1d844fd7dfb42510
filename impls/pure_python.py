"""Lists and loops: the algorithm with no library at all.

What it leaves out on purpose: every trick. A float of Python is a float64, so there is no float32.
"""

from collections.abc import Sequence
from math import exp
from typing import Any, ClassVar

import numpy as np
from numpy.typing import DTypeLike, NDArray

from impls.interface import Array, Implementation, Parameters

Vector = list[float]
Example = tuple[Vector, Vector]


class PurePython(Implementation):
    """Lists and loops, no NumPy."""

    dtypes: ClassVar[tuple[str, ...]] = ("float64",)

    def __init__(self, sizes: Sequence[int], batch_size: int, dtype: DTypeLike = "float64", threads: int = 1) -> None:
        super().__init__(sizes, batch_size, dtype, threads)
        self._W: list[list[Vector]] = [W.tolist() for W in self.weights]  # n_out lists of n_in
        self._b: list[Vector] = [b.tolist() for b in self.biases]  # n_out

    def load(self, parameters: Parameters) -> None:
        self.check_parameters(parameters)
        self._W = [W.tolist() for W in parameters.weights]
        self._b = [b.tolist() for b in parameters.biases]

    def parameters(self) -> Parameters:
        return Parameters([np.array(W) for W in self._W], [np.array(b) for b in self._b])

    def prepare_data(self, x: Array, y: Array) -> list[Example]:
        x, y = super().prepare_data(x, y)
        return list(zip(x.tolist(), y.tolist(), strict=True))

    def take(self, data: list[Example], indices: NDArray[np.intp]) -> list[Example]:
        return [data[i] for i in indices]

    def gradients(self, batch: list[Example]) -> Parameters:
        dW, db = self._means(batch)
        return Parameters([np.array(dW_l) for dW_l in dW], [np.array(db_l) for db_l in db])

    def step(self, batch: list[Example], learning_rate: float) -> None:
        dW, db = self._means(batch)
        for W_l, b_l, dW_l, db_l in zip(self._W, self._b, dW, db, strict=True):
            for j, dW_j in enumerate(dW_l):
                W_l[j] = [w - learning_rate * dw for w, dw in zip(W_l[j], dW_j, strict=True)]
                b_l[j] -= learning_rate * db_l[j]

    def _means(self, batch: list[Example]) -> tuple[list[list[Vector]], list[Vector]]:
        """Return the gradient of the mean over the batch: weights, biases."""
        layers = len(self._W)
        dW = [[[0.0] * len(W_j) for W_j in W_l] for W_l in self._W]
        db = [[0.0] * len(b_l) for b_l in self._b]
        for x, y in batch:
            a = [x]
            for W_l, b_l in zip(self._W, self._b, strict=True):
                a.append(
                    [
                        sigmoid(sum(w * a_k for w, a_k in zip(W_j, a[-1], strict=True)) + b_j)
                        for W_j, b_j in zip(W_l, b_l, strict=True)
                    ]
                )
            delta = [(a_j - y_j) * a_j * (1.0 - a_j) for a_j, y_j in zip(a[-1], y, strict=True)]
            for layer in range(layers - 1, -1, -1):
                for j, delta_j in enumerate(delta):
                    dW[layer][j] = [dw + delta_j * a_k for dw, a_k in zip(dW[layer][j], a[layer], strict=True)]
                    db[layer][j] += delta_j
                if layer > 0:
                    columns: Any = zip(*self._W[layer], strict=True)
                    delta = [
                        sum(w * delta_j for w, delta_j in zip(W_k, delta, strict=True)) * a_k * (1.0 - a_k)
                        for W_k, a_k in zip(columns, a[layer], strict=True)
                    ]
        scale = 1.0 / len(batch)
        return (
            [[[dw * scale for dw in dW_j] for dW_j in dW_l] for dW_l in dW],
            [[db_j * scale for db_j in db_l] for db_l in db],
        )


def sigmoid(z: float) -> float:
    """Return 1 / (1 + exp(-z)), with z bounded below where exp(-z) would overflow; NaN stays NaN."""
    return 1.0 / (1.0 + exp(708.0 if z < -708.0 else -z))
