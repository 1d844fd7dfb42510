"""The mini-batch as a matrix: one product of matrices (GEMM) for each product in the maths.

What changed from `batched_3d`: examples are the rows of one matrix instead of a stack of column vectors, so that
NumPy hands BLAS a few large products instead of many tiny ones, and the sum over the examples is part of the
product that makes dW. Written as one would write it on paper: every line makes a new array.
"""

import numpy as np

from impls.interface import Array, Batch, Implementation, Parameters


class Batched2D(Implementation):
    """One GEMM per product, fresh arrays."""

    def gradients(self, batch: Batch) -> Parameters:
        x, y = batch
        activations = [x]
        for W, b in zip(self.weights, self.biases, strict=True):
            z = activations[-1] @ W.T + b  # (B, n_out)
            activations.append(sigmoid(z))  # (B, n_out)
        a = activations[-1]
        delta = (a - y) * a * (1.0 - a) / len(x)  # (B, n_L)
        dW: list[Array] = []
        db: list[Array] = []
        for layer in range(len(self.weights) - 1, -1, -1):
            a = activations[layer]
            dW.insert(0, delta.T @ a)  # (n_out, n_in)
            db.insert(0, delta.sum(axis=0))  # (n_out,)
            if layer > 0:
                delta = (delta @ self.weights[layer]) * a * (1.0 - a)  # (B, n_in)
        return Parameters(dW, db)


def sigmoid(z: Array) -> Array:
    """Return 1 / (1 + exp(-z)), with z bounded below where exp(-z) would overflow."""
    lowest = -708.0 if z.dtype == np.float64 else -87.0
    return 1.0 / (1.0 + np.exp(-np.maximum(z, lowest)))
