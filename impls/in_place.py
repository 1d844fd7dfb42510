"""The mini-batch as a matrix, without temporaries, the update done by BLAS itself.

What changed from `batched_2d`: every result goes to a buffer allocated once; the gradient of the weights is never
stored, because GEMM computes C := alpha*A*B + C and C is the weight matrix; biases likewise through GEMV; and the
sign of z is folded into alpha and beta, so that the sigmoid needs four passes instead of five.

BLAS is Fortran: it sees each C-contiguous (rows, columns) array here as its transpose. `gemm(alpha, a, b, beta, c,
trans_a, trans_b, overwrite_c)` with `.T` of C-contiguous arrays therefore works in place, without a copy.

Work space: three buffers of B x n_l per layer l >= 1 and one mini-batch of inputs and outputs, whatever the weights.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import DTypeLike, NDArray
from scipy.linalg import get_blas_funcs

from impls.interface import Array, Batch, Implementation, Parameters


class InPlace(Implementation):
    """No temporaries; BLAS does the update: C := alpha*A*B + C."""

    def __init__(self, sizes: Sequence[int], batch_size: int, dtype: DTypeLike = "float64", threads: int = 1) -> None:
        super().__init__(sizes, batch_size, dtype, threads)
        self._gemm, self._gemv = get_blas_funcs(("gemm", "gemv"), dtype=self.dtype)
        self._most = 708.0 if self.dtype == np.float64 else 87.0  # exp of it is finite
        self._ones = np.ones(batch_size, self.dtype)  # (B,)
        self._a = [np.empty((batch_size, n), self.dtype) for n in self.sizes[1:]]  # (B, n_out)
        self._delta = [np.empty((batch_size, n), self.dtype) for n in self.sizes[1:]]  # (B, n_out)
        self._slope = [np.empty((batch_size, n), self.dtype) for n in self.sizes[1:]]  # (B, n_out)
        self._x = np.empty((batch_size, self.sizes[0]), self.dtype)  # (B, n_0), for `take`
        self._y = np.empty((batch_size, self.sizes[-1]), self.dtype)  # (B, n_L)

    def take(self, data: Batch, indices: NDArray[np.intp]) -> Batch:
        rows = len(indices)
        return Batch(
            data.x.take(indices, axis=0, out=self._x[:rows], mode="clip"),  # "clip" writes straight to `out`
            data.y.take(indices, axis=0, out=self._y[:rows], mode="clip"),
        )

    def gradients(self, batch: Batch) -> Parameters:
        activations, deltas = self._backprop(batch)
        scale = 1.0 / len(batch.x)
        dW = [scale * (delta.T @ a) for delta, a in zip(deltas, activations, strict=True)]  # (n_out, n_in)
        db = [scale * delta.sum(axis=0) for delta in deltas]  # (n_out,)
        return Parameters(dW, db)

    def step(self, batch: Batch, learning_rate: float) -> None:
        activations, deltas = self._backprop(batch)
        rows = len(batch.x)
        alpha, ones = -learning_rate / rows, self._ones[:rows]
        for W, b, a, delta in zip(self.weights, self.biases, activations, deltas, strict=True):
            self._gemm(alpha, a.T, delta.T, 1.0, W.T, 0, 1, 1)  # W += alpha * delta^T a
            self._gemv(alpha, delta.T, ones, 1.0, b, overwrite_y=1)  # b += alpha * delta^T 1

    def _backprop(self, batch: Batch) -> tuple[list[Array], list[Array]]:
        """Return the inputs (B, n_in) and the deltas (B, n_out) of each layer of weights, not yet averaged."""
        x, y = batch
        rows = len(x)
        a = x
        inputs = []
        for W, b, buffer in zip(self.weights, self.biases, self._a, strict=True):
            inputs.append(a)
            z = buffer[:rows]  # (B, n_out)
            np.copyto(z, b)  # the one way to broadcast without a temporary
            self._gemm(-1.0, W.T, a.T, -1.0, z.T, 1, 0, 1)  # z = -(a W^T + b)
            np.minimum(z, self._most, out=z)
            np.exp(z, out=z)
            np.add(z, 1.0, out=z)
            a = np.reciprocal(z, out=z)  # 1 / (1 + exp(-(a W^T + b)))
        deltas = [buffer[:rows] for buffer in self._delta]  # (B, n_out)
        np.subtract(a, y, out=deltas[-1])
        for layer in range(len(deltas) - 1, -1, -1):
            delta, a = deltas[layer], self._a[layer][:rows]
            if layer < len(deltas) - 1:
                self._gemm(1.0, self.weights[layer + 1].T, deltas[layer + 1].T, 0.0, delta.T, 0, 0, 1)
            np.multiply(delta, a, out=delta)
            slope = np.subtract(1.0, a, out=self._slope[layer][:rows])  # (B, n_out)
            np.multiply(delta, slope, out=delta)
        return inputs, deltas
