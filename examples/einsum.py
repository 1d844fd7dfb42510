"""An implementation of one's own: one method, which returns the gradient.

backprop verify examples/einsum.py:Einsum
backprop bench --impl=examples/einsum.py:Einsum --impl=batched_2d --workload=book
"""

import numpy as np

from impls.interface import Batch, Implementation, Parameters


class Einsum(Implementation):
    """Two passes of einsum."""

    def gradients(self, batch: Batch) -> Parameters:
        activations = [batch.x]  # (B, n_0)
        for W, b in zip(self.weights, self.biases, strict=True):
            z = np.einsum("bi,oi->bo", activations[-1], W) + b  # (B, n_out)
            activations.append(0.5 + 0.5 * np.tanh(0.5 * z))
        delta = (activations[-1] - batch.y) / len(batch.x)  # (B, n_L)
        gradients = Parameters([], [])
        for W, a, a_in in zip(self.weights[::-1], activations[:0:-1], activations[-2::-1], strict=True):
            delta = delta * a * (1 - a)
            gradients.weights.insert(0, np.einsum("bo,bi->oi", delta, a_in))  # (n_out, n_in)
            gradients.biases.insert(0, delta.sum(axis=0))  # (n_out,)
            delta = np.einsum("bo,oi->bi", delta, W)  # (B, n_in)
        return gradients
