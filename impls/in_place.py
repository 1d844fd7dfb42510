"""The mini-batch as a matrix, without temporaries, the update done by BLAS itself.

What changed from `batched_2d`: every result goes to a buffer allocated once; the gradient is never stored, because
GEMM computes C := alpha*A*B + C, and C is the weight matrix, or the column of biases; and the sign of z is folded into
alpha and beta, so that the sigmoid needs four passes instead of five. On small networks, what Python does between the
passes counts, and where arrays begin: views are kept from step to step, constants are arrays, `out` goes without its
name where NumPy allows it, and every array begins at a cache line.

Biases are no work for GEMV: it adds one example's share after the other to what is there, and shares of less than half
a unit in its last place are lost. GEMM adds up the shares first.

BLAS is Fortran: it sees each C-contiguous (rows, columns) array here as its transpose. `gemm(alpha, a, b, beta, c,
trans_a, trans_b, overwrite_c)` with `.T` of C-contiguous arrays therefore works in place, without a copy.

Work space: three buffers of B x n_l per layer l >= 1 and one mini-batch of inputs and outputs, whatever the weights.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import DTypeLike, NDArray
from scipy.linalg import get_blas_funcs

from impls.interface import Array, Batch, Implementation, Parameters
from impls.support.aligned import aligned, zeros

# A layer's parameters and its work space for a number of examples, with the views that BLAS is given: W^T
# (n_in, n_out), b (n_out,), b as a column (n_out, 1), a (B, n_out), a^T, delta (B, n_out), delta^T, slope (B, n_out).
# A plain tuple, which Python takes apart faster than one with names.
Layer = tuple[Array, Array, Array, Array, Array, Array, Array, Array]


class InPlace(Implementation):
    """No temporaries; BLAS does the update: C := alpha*A*B + C."""

    def __init__(self, sizes: Sequence[int], batch_size: int, dtype: DTypeLike = "float64", threads: int = 1) -> None:
        super().__init__(sizes, batch_size, dtype, threads)
        self._gemm = get_blas_funcs("gemm", dtype=self.dtype)
        self._most = np.array(708.0 if self.dtype == np.float64 else 87.0, self.dtype)  # exp of it is finite
        self._one = np.array(1.0, self.dtype)
        self.weights, self.biases = [aligned(W) for W in self.weights], [aligned(b) for b in self.biases]
        shapes = [(batch_size, n) for n in self.sizes[1:]]
        self._buffers = [[zeros(shape, self.dtype) for _ in range(3)] for shape in shapes]  # of each layer
        self._x = zeros((batch_size, self.sizes[0]), self.dtype)  # (B, n_0), for `take`
        self._y = zeros((batch_size, self.sizes[-1]), self.dtype)  # (B, n_L)
        self._layers, self._ones = self._first_rows(batch_size)

    def _first_rows(self, rows: int) -> tuple[list[Layer], Array]:
        """Return the layers with the first rows of their work space, and as many ones, (B, 1)."""
        work = [[buffer[:rows] for buffer in buffers] for buffers in self._buffers]
        layers = [
            (W.T, b, b[:, np.newaxis], a, a.T, delta, delta.T, slope)
            for W, b, (a, delta, slope) in zip(self.weights, self.biases, work, strict=True)
        ]
        return layers, np.ones((rows, 1), self.dtype)

    def prepare_data(self, x: Array, y: Array) -> Batch:
        x, y = super().prepare_data(x, y)
        return Batch(aligned(x), aligned(y))

    def take(self, data: Batch, indices: NDArray[np.intp]) -> Batch:
        rows = len(indices)
        return Batch(
            data.x.take(indices, axis=0, out=self._x[:rows], mode="clip"),  # "clip" writes straight to `out`
            data.y.take(indices, axis=0, out=self._y[:rows], mode="clip"),
        )

    def gradients(self, batch: Batch) -> Parameters:
        gradient, scale, inputs = Parameters([], []), 1.0 / len(batch.x), batch.x  # (B, n_in)
        for _, _, _, a, _, delta, delta_T, _ in self._backprop(batch):
            gradient.weights.append(scale * (delta_T @ inputs))  # (n_out, n_in)
            gradient.biases.append(scale * delta.sum(axis=0))  # (n_out,)
            inputs = a
        return gradient

    def step(self, batch: Batch, learning_rate: float) -> None:
        layers = self._backprop(batch)
        alpha, ones, gemm = -learning_rate / len(batch.x), self._ones, self._gemm
        inputs_T = batch.x.T
        for W_T, _, b_column, _, a_T, _, delta_T, _ in layers:
            gemm(alpha, inputs_T, delta_T, 1.0, W_T, 0, 1, 1)  # W += alpha * delta^T a
            gemm(alpha, delta_T, ones, 1.0, b_column, 0, 0, 1)  # b += alpha * delta^T 1
            inputs_T = a_T

    def _backprop(self, batch: Batch) -> list[Layer]:
        """Return the layers with `a` and `delta` of the batch, not yet averaged."""
        x, y = batch
        if len(x) != len(self._ones):
            self._layers, self._ones = self._first_rows(len(x))
        layers, gemm, one, most = self._layers, self._gemm, self._one, self._most
        a_T = x.T
        for W_T, b, _, z, z_T, _, _, _ in layers:
            z[...] = b
            gemm(-1.0, W_T, a_T, -1.0, z_T, 1, 0, 1)  # z = -(a W^T + b)
            np.minimum(z, most, out=z)  # by name: NumPy says so
            np.exp(z, z)
            np.add(z, one, z)
            np.reciprocal(z, z)  # a = 1 / (1 + exp(-(a W^T + b)))
            a_T = z_T
        _, _, _, a, _, delta, _, _ = layers[-1]
        np.subtract(a, y, delta)
        W_behind_T = delta_behind_T = None  # of the layer behind, towards the outputs
        for W_T, _, _, a, _, delta, delta_T, slope in reversed(layers):
            if delta_behind_T is not None:
                gemm(1.0, W_behind_T, delta_behind_T, 0.0, delta_T, 0, 0, 1)  # delta = delta_behind W_behind
            np.multiply(delta, a, delta)
            np.subtract(one, a, slope)
            np.multiply(delta, slope, delta)
            W_behind_T, delta_behind_T = W_T, delta_T
        return layers
