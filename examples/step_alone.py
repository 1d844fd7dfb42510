"""An implementation that has no gradient to return, only a step: the book's `update_mini_batch`, wrapped.

Its gradient is derived from the step. Conversions that belong to the harness, not to the algorithm, go into `prepare`.

backprop verify examples/step_alone.py:BookStep
"""

import numpy as np

from impls.interface import Array, Batch, Implementation


class BookStep(Implementation):
    """One example at a time, in column vectors, as in the book's chapter 1."""

    def step(self, batch: Batch, learning_rate: float) -> None:
        nabla_w = [np.zeros_like(W) for W in self.weights]  # (n_out, n_in)
        nabla_b = [np.zeros_like(b) for b in self.biases]  # (n_out,)
        for x, y in zip(batch.x, batch.y, strict=True):
            self._backprop(x, y, nabla_w, nabla_b)
        scale = learning_rate / len(batch.x)
        for p, nabla in zip((*self.weights, *self.biases), (*nabla_w, *nabla_b), strict=True):
            p -= scale * nabla

    def _backprop(self, x: Array, y: Array, nabla_w: list[Array], nabla_b: list[Array]) -> None:
        """Add the gradient of one example's cost."""
        activations = [x]  # (n_0,)
        for W, b in zip(self.weights, self.biases, strict=True):
            activations.append(0.5 + 0.5 * np.tanh(0.5 * (W @ activations[-1] + b)))  # (n_out,)
        delta = activations[-1] - y  # (n_L,)
        for layer in reversed(range(len(self.weights))):
            a = activations[layer + 1]
            delta = delta * a * (1 - a)
            nabla_w[layer] += np.outer(delta, activations[layer])
            nabla_b[layer] += delta
            delta = self.weights[layer].T @ delta
