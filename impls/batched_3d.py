"""The mini-batch as a stack of column vectors, multiplied by NumPy's 3-D matmul.

What changed from `per_example`: the loop over the examples moved into NumPy, the shapes stayed. This is the first
thing that many try, and it keeps what made the loop slow: NumPy multiplies a stack one small matrix at a time,
and the gradients of all examples exist side by side, (B, n_out, n_in), before they are averaged.
"""

import numpy as np

from impls.interface import Array, Batch, Implementation, Parameters


class Batched3D(Implementation):
    """Stacks of matrices through 3-D matmul."""

    def gradients(self, batch: Batch) -> Parameters:
        x, y = (array[:, :, np.newaxis] for array in batch)  # (B, n_0, 1), (B, n_L, 1)
        activations = [x]
        for W, b in zip(self.weights, self.biases, strict=True):
            z = np.matmul(W, activations[-1]) + b[:, np.newaxis]  # (B, n_out, 1)
            activations.append(sigmoid(z))  # (B, n_out, 1)
        a = activations[-1]
        delta = (a - y) * a * (1.0 - a)  # (B, n_L, 1)
        dW: list[Array] = []
        db: list[Array] = []
        for layer in range(len(self.weights) - 1, -1, -1):
            a = activations[layer]
            dW.insert(0, np.matmul(delta, a.transpose(0, 2, 1)).mean(axis=0))  # (B, n_out, n_in) to (n_out, n_in)
            db.insert(0, delta.mean(axis=0)[:, 0])  # (n_out,)
            if layer > 0:
                delta = np.matmul(self.weights[layer].T, delta) * a * (1.0 - a)  # (B, n_in, 1)
        return Parameters(dW, db)


def sigmoid(z: Array) -> Array:
    """Return 1 / (1 + exp(-z)), with z bounded below where exp(-z) would overflow."""
    lowest = -708.0 if z.dtype == np.float64 else -87.0
    return 1.0 / (1.0 + np.exp(-np.maximum(z, lowest)))
