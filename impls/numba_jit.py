"""One compiled function per step: `in_place` without the interpreter, compiled by Numba.

What changed from `in_place`: the element-wise passes of a layer are one loop, from z to a in registers; nothing of
Python is made or looked up between two products; and `epoch` is one call. Products go to the BLAS that SciPy
ships, through the C function pointer that it publishes, so that alpha and beta of GEMM do the update here too.

With several threads, each takes a slice of the examples forward and back, then a slice of every layer's units to
update, as in `multithreaded`; BLAS is held at one thread.

All parameters lie in one array and all work space in another: Numba unpacks every argument of every call, which for
tuples of arrays took a microsecond more. The constructor compiles, so that compiling is not timed, and what was
compiled is cached on disk.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numba import config, njit, prange, set_num_threads, types
from numba.core import cgutils
from numba.extending import get_cython_function_address, intrinsic
from numpy.typing import DTypeLike, NDArray
from threadpoolctl import threadpool_limits

from impls.interface import Array, Batch, Implementation, Parameters

if config.THREADING_LAYER == "default":
    config.THREADING_LAYER = "workqueue"  # the one whose idle threads sleep: OpenMP's spin on for 10 ms after a call


class NumbaJit(Implementation):
    """A compiled step around SciPy's BLAS."""

    def __init__(self, sizes: Sequence[int], batch_size: int, dtype: DTypeLike = "float64", threads: int = 1) -> None:
        super().__init__(sizes, batch_size, dtype, threads)
        name = "dgemm" if self.dtype == np.float64 else "sgemm"
        self._gemm = get_cython_function_address("scipy.linalg.cython_blas", name)
        self._sizes = np.array(self.sizes)
        self._flat = np.zeros(sum(p.size for p in self.weights + self.biases), self.dtype)
        self.weights, self.biases = views(self._flat, self._sizes)
        self._work = np.zeros(2 * batch_size * sum(self.sizes[1:]), self.dtype)  # a, delta (B, n_out) of each layer
        self._x = np.zeros((batch_size, self.sizes[0]), self.dtype)  # (B, n_0), for `epoch`
        self._y = np.zeros((batch_size, self.sizes[-1]), self.dtype)  # (B, n_L)
        self._cores = min(threads, config.NUMBA_NUM_THREADS)
        self._blas: threadpool_limits | None = threadpool_limits(limits=1, user_api="blas") if threads > 1 else None
        self._add_gradient, self._epoch = (
            (add_gradient, epoch) if threads == 1 else (add_gradient_parallel, epoch_parallel)
        )
        self._compile()

    def _compile(self) -> None:
        """Call everything once. At a learning rate of 0 it changes nothing."""
        self.step(Batch(self._x[:1], self._y[:1]), 0.0)
        self.epoch(Batch(self._x, self._y), np.zeros(1, np.intp), 0.0)

    def prepare_data(self, x: Array, y: Array) -> Batch:
        x, y = super().prepare_data(x, y)
        return Batch(np.require(x, requirements="W"), np.require(y, requirements="W"))  # read-only is another type

    def gradients(self, batch: Batch) -> Parameters:
        gradient = np.zeros_like(self._flat)
        self._add(gradient, 1.0, batch)
        dW, db = views(gradient, self._sizes)
        return Parameters([W.copy() for W in dW], [b.copy() for b in db])  # arrays of their own

    def step(self, batch: Batch, learning_rate: float) -> None:
        self._add(self._flat, -float(learning_rate), batch)  # to Numba, an int is another type

    def _add(self, target: Array, factor: float, batch: Batch) -> None:
        """target += factor * gradient."""
        if self.threads > 1:
            set_num_threads(self._cores)
        x, y = batch
        self._add_gradient(self._gemm, self._flat, self._sizes, self._work, x, y, factor, target, self.threads)

    def epoch(self, data: Batch, order: NDArray[np.intp], learning_rate: float) -> None:
        if self.threads > 1:
            set_num_threads(self._cores)
        batch = (self._x, self._y)
        rate = float(learning_rate)
        self._epoch(self._gemm, self._flat, self._sizes, self._work, *data, order, *batch, rate, self.threads)

    def close(self) -> None:
        if self._blas is not None:
            self._blas.restore_original_limits()
            self._blas = None


def views(flat: Array, sizes: NDArray[np.intp]) -> tuple[list[Array], list[Array]]:
    """Return the weights and biases that lie in `flat`, as they lie there."""
    layers = [layer_of(flat, sizes, layer) for layer in range(len(sizes) - 1)]
    return [W for W, _ in layers], [b for _, b in layers]


@njit(cache=True)
def layer_of(flat: Array, sizes: NDArray[np.intp], layer: int) -> tuple[Array, Array]:
    """Return a layer's weights (n_out, n_in) and biases (n_out,), as they lie in `flat`."""
    start = 0
    for below in range(layer):
        start += (sizes[below] + 1) * sizes[below + 1]
    n_in, n_out = sizes[layer], sizes[layer + 1]
    middle = start + n_out * n_in
    return flat[start:middle].reshape(n_out, n_in), flat[middle : middle + n_out]


@njit(cache=True)
def work_of(work: Array, sizes: NDArray[np.intp], layer: int, rows: int) -> tuple[Array, Array]:
    """Return a layer's activations and deltas, (B, n_out) each, as they lie in `work`."""
    start = 2 * rows * sizes[1 : layer + 1].sum()
    n_out = sizes[layer + 1]
    middle, end = start + rows * n_out, start + 2 * rows * n_out
    return work[start:middle].reshape(rows, n_out), work[middle:end].reshape(rows, n_out)


@njit(cache=True, error_model="numpy")
def backprop(
    gemm: int,
    flat: Array,
    sizes: NDArray[np.intp],
    work: Array,
    x: Array,
    y: Array,
    scale: float,
    start: int,
    stop: int,
) -> None:
    """Compute the activations and the deltas of the examples from `start` to `stop`, the latter times `scale`."""
    one, zero = x.dtype.type(1), x.dtype.type(0)
    lowest = x.dtype.type(-708 if x.itemsize == 8 else -87)  # exp(-z) is finite
    rows, layers = len(x), len(sizes) - 1
    if start == stop:
        return
    a = x[start:stop]  # (b, n_0)
    for layer in range(layers):
        W, b = layer_of(flat, sizes, layer)
        z = work_of(work, sizes, layer, rows)[0][start:stop]  # (b, n_out)
        multiply(gemm, one, a, NO, W, YES, zero, z)
        for i in range(z.shape[0]):
            for j in range(z.shape[1]):
                bounded = z[i, j] + b[j]
                bounded = lowest if bounded < lowest else bounded
                z[i, j] = one / (one + np.exp(-bounded))
        a = z
    for layer in range(layers - 1, -1, -1):
        a = work_of(work, sizes, layer, rows)[0][start:stop]  # (b, n_out)
        delta = work_of(work, sizes, layer, rows)[1][start:stop]  # (b, n_out)
        if layer == layers - 1:
            for i in range(delta.shape[0]):
                for j in range(delta.shape[1]):
                    delta[i, j] = (a[i, j] - y[start + i, j]) * a[i, j] * (one - a[i, j]) * scale
        else:
            W, b = layer_of(flat, sizes, layer + 1)
            multiply(gemm, one, work_of(work, sizes, layer + 1, rows)[1][start:stop], NO, W, NO, zero, delta)
            for i in range(delta.shape[0]):
                for j in range(delta.shape[1]):
                    delta[i, j] *= a[i, j] * (one - a[i, j])


@njit(cache=True, error_model="numpy")
def update(gemm: int, sizes: NDArray[np.intp], work: Array, x: Array, target: Array, thread: int, threads: int) -> None:
    """Add delta^T a to the weights in `target`, and delta^T 1 to its biases: this thread's units of each layer.

    The deltas are used up.
    """
    one = x.dtype.type(1)
    a = x  # (B, n_0)
    for layer in range(len(sizes) - 1):
        W, b = layer_of(target, sizes, layer)
        start, stop = len(b) * thread // threads, len(b) * (thread + 1) // threads
        above, delta = work_of(work, sizes, layer, len(x))  # (B, n_out)
        if start < stop:
            multiply(gemm, one, delta[:, start:stop], YES, a, NO, one, W[start:stop])
            for i in range(1, len(x)):
                for j in range(start, stop):
                    delta[0, j] += delta[i, j]  # not b[j]: in its last place a single example's share may be lost
            for j in range(start, stop):
                b[j] += delta[0, j]
        a = above


@njit(cache=True, error_model="numpy")
def add_gradient(
    gemm: int, flat: Array, sizes: NDArray[np.intp], work: Array, x: Array, y: Array, factor: float, target: Array,
    threads: int,
) -> None:  # fmt: skip
    """target += factor * gradient."""
    backprop(gemm, flat, sizes, work, x, y, x.dtype.type(factor / len(x)), 0, len(x))
    update(gemm, sizes, work, x, target, 0, threads)


@njit(cache=True, error_model="numpy", parallel=True)
def add_gradient_parallel(
    gemm: int, flat: Array, sizes: NDArray[np.intp], work: Array, x: Array, y: Array, factor: float, target: Array,
    threads: int,
) -> None:  # fmt: skip
    """target += factor * gradient, split over threads."""
    rows = len(x)
    scale = x.dtype.type(factor / rows)
    for thread in prange(threads):
        start, stop = rows * thread // threads, rows * (thread + 1) // threads
        backprop(gemm, flat, sizes, work, x, y, scale, start, stop)
    for thread in prange(threads):
        update(gemm, sizes, work, x, target, thread, threads)


@njit(cache=True)
def gather(data: Array, indices: NDArray[np.intp], batch: Array) -> None:
    """Copy the examples at `indices` to the first rows of `batch`."""
    for i, index in enumerate(indices):
        batch[i] = data[index]


@njit(cache=True)
def epoch(
    gemm: int, flat: Array, sizes: NDArray[np.intp], work: Array, x: Array, y: Array, order: NDArray[np.intp],
    batch_x: Array, batch_y: Array, learning_rate: float, threads: int,
) -> None:  # fmt: skip
    for start in range(0, len(order), len(batch_x)):
        indices = order[start : start + len(batch_x)]
        rows = len(indices)
        gather(x, indices, batch_x)
        gather(y, indices, batch_y)
        add_gradient(gemm, flat, sizes, work, batch_x[:rows], batch_y[:rows], -learning_rate, flat, threads)


@njit(cache=True)
def epoch_parallel(
    gemm: int, flat: Array, sizes: NDArray[np.intp], work: Array, x: Array, y: Array, order: NDArray[np.intp],
    batch_x: Array, batch_y: Array, learning_rate: float, threads: int,
) -> None:  # fmt: skip
    for start in range(0, len(order), len(batch_x)):
        indices = order[start : start + len(batch_x)]
        rows = len(indices)
        gather(x, indices, batch_x)
        gather(y, indices, batch_y)
        add_gradient_parallel(gemm, flat, sizes, work, batch_x[:rows], batch_y[:rows], -learning_rate, flat, threads)


NO, YES = ord("N"), ord("T")  # whether a factor is to be transposed, in BLAS's letters


@njit(cache=True)
def multiply(
    gemm: int, alpha: float, a: Array, transpose_a: int, b: Array, transpose_b: int, beta: float, c: Array
) -> None:
    """c = alpha * op(a) op(b) + beta * c, with rows of all three contiguous.

    BLAS is Fortran and sees each of them as its transpose: it is told to compute c^T from op(b)^T and op(a)^T.
    """
    rows, columns = c.shape
    depth = a.shape[1] if transpose_a == NO else a.shape[0]
    call(gemm, transpose_b, transpose_a, columns, rows, depth, alpha, b, a, beta, c)


@intrinsic
def call(
    _typing: Any, gemm: Any, trans_a: Any, trans_b: Any, m: Any, n: Any, k: Any, alpha: Any, a: Any, b: Any,
    beta: Any, c: Any,
) -> Any:  # fmt: skip
    """Call Fortran's xGEMM at the address `gemm`; everything goes to it by reference."""
    signature = types.void(gemm, trans_a, trans_b, m, n, k, alpha, a, b, beta, c)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        address, *letters, m, n, k, alpha, a, b, beta, c = arguments
        *_, a_type, b_type, _, c_type = signature.args

        def reference(value: Any) -> Any:
            return cgutils.alloca_once_value(builder, value)

        def integer(value: Any) -> Any:
            return reference(builder.trunc(value, cgutils.int32_t))

        def matrix(array_type: Any, value: Any) -> tuple[Any, Any]:
            array = context.make_array(array_type)(context, builder, value)
            row = builder.extract_value(array.strides, 0)  # in bytes
            return array.data, integer(builder.sdiv(row, array.itemsize))

        references = [reference(builder.trunc(letter, cgutils.int8_t)) for letter in letters]
        references += [integer(m), integer(n), integer(k), reference(alpha), *matrix(a_type, a)]
        references += [*matrix(b_type, b), reference(beta), *matrix(c_type, c)]
        function_type = cgutils.ir.FunctionType(cgutils.ir.VoidType(), [argument.type for argument in references])
        builder.call(builder.inttoptr(address, function_type.as_pointer()), references)
        return context.get_dummy_value()

    return signature, generate
