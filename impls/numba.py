"""One compiled function per step: `in_place` without the interpreter, compiled by Numba.

What changed from `in_place`: the element-wise passes of a layer are one loop, from z to a in registers; nothing of
Python is made or looked up between two products; and `epoch` is one call. Products go to the BLAS that SciPy
ships, through the C function pointer that it publishes, so that alpha and beta of GEMM do the update here too.

With several threads, each takes a slice of the examples forward and back, then a slice of every layer's units to
update, as in `multithreaded`, by its team; BLAS is held at one thread. In the middle of a step they wait for
each other awake: they are woken once a step, and in an epoch once in all.

All parameters lie in one array and all work space in another: Numba unpacks every argument of every call, which for
tuples of arrays took a microsecond more. The constructor compiles, so that compiling is not timed, and what was
compiled is cached on disk.
"""

from collections.abc import Sequence

import numpy as np
from numba import njit
from numpy.typing import DTypeLike, NDArray
from threadpoolctl import threadpool_limits

from impls.interface import Array, Batch, Implementation, Parameters
from impls.multithreaded import Team
from impls.support.aligned import CACHE_LINE, aligned, zeros
from impls.support.numba_math import NO, YES, add_at_once, exp, gemm_address, largest_block, multiply, prefetch

ALL = 1 << 62  # more than will ever have come


class NumbaJit(Implementation):
    """A compiled step around SciPy's BLAS."""

    worth_sharing = 30_000_000  # smaller steps took longer with a second thread

    def __init__(self, sizes: Sequence[int], batch_size: int, dtype: DTypeLike = "float64", threads: int = 1) -> None:
        super().__init__(sizes, batch_size, dtype, threads)
        self._gemm = gemm_address(self.dtype)
        self._block = largest_block()
        self._layout, parameters, units = layout_of(self.sizes, self.dtype.itemsize)
        self._flat = zeros(parameters, self.dtype)
        self.weights, self.biases = views(self._flat, self._layout)
        self._work = zeros(2 * batch_size * units, self.dtype)  # a and delta of each layer
        self._x = zeros((batch_size, self.sizes[0]), self.dtype)  # (B, n_0), for `epoch`
        self._y = zeros((batch_size, self.sizes[-1]), self.dtype)  # (B, n_L)
        self._alone, self._team = Team(1), Team(threads)
        self._arrived = np.zeros(1, np.int64)  # how often a thread has come to where all meet
        self._blas: threadpool_limits | None = threadpool_limits(limits=1, user_api="blas") if threads > 1 else None
        self._compile()

    def _compile(self) -> None:
        """Call everything once, shared and not. At a learning rate of 0 it changes nothing."""
        for worth_sharing in (0, self.worth_sharing):
            self.worth_sharing = worth_sharing
            self.step(Batch(self._x[:1], self._y[:1]), 0.0)
            self.epoch(Batch(self._x, self._y), np.zeros(1, np.intp), 0.0)

    def prepare_data(self, x: Array, y: Array) -> Batch:
        x, y = super().prepare_data(x, y)
        x, y = np.require(x, requirements="W"), np.require(y, requirements="W")  # read-only is another type
        return Batch(aligned(x), aligned(y))

    def gradients(self, batch: Batch) -> Parameters:
        gradient = zeros(self._flat.size, self.dtype)
        self._add(gradient, 1.0, batch)
        dW, db = views(gradient, self._layout)
        return Parameters([W.copy() for W in dW], [b.copy() for b in db])  # arrays of their own

    def step(self, batch: Batch, learning_rate: float) -> None:
        self._add(self._flat, -float(learning_rate), batch)  # to Numba, an int is another type

    def _add(self, target: Array, factor: float, batch: Batch) -> None:
        """target += factor * gradient."""
        x, y = batch
        if self.threads == 1 or not self.is_worth_sharing(len(x)):
            add_gradient(self._gemm, self._block, self._flat, self._layout, self._work, x, y, factor, target)
            return
        arguments = (self._gemm, self._block, self._flat, self._layout, self._work, x, y, factor, target, self._arrived)
        self._team.run(lambda thread: add_share(*arguments, thread, self.threads))

    def epoch(self, data: Batch, order: NDArray[np.intp], learning_rate: float) -> None:
        batch, rate = (self._x, self._y), float(learning_rate)
        team = self._team if self.is_worth_sharing(self.batch_size) else self._alone
        arguments = (self._gemm, self._block, self._flat, self._layout, self._work, *data, order, *batch, rate)
        team.run(lambda thread: epoch(*arguments, self._arrived, thread, team.threads))

    def close(self) -> None:
        self._arrived[0] = ALL  # an interrupted run may have left a helper where it waits for the others
        self._team.close()
        if self._blas is not None:
            self._blas.restore_original_limits()
            self._blas = None


# What lies where: for each layer its units, the numbers from row to row of its weights, and of its work space; and how
# many numbers of parameters, and of one example's work space, are before its own.
N_IN, N_OUT, STRIDE, WORK_STRIDE, START, WORK_START = range(6)


def layout_of(sizes: Sequence[int], itemsize: int) -> tuple[NDArray[np.intp], int, int]:
    """Return what lies where, (L, 6), and how many numbers are the parameters and one example's activations.

    Rows of a multiple of 1 KiB would compete for a few sets of the caches: they get a cache line more.
    """
    strides = [n if n * itemsize % 1024 else n + CACHE_LINE // itemsize for n in sizes]
    layers, start, work_start = [], 0, 0
    for n_in, n_out, stride, work_stride in zip(sizes, sizes[1:], strides, strides[1:], strict=False):
        layers.append((n_in, n_out, stride, work_stride, start, work_start))
        start += n_out * (stride + 1)
        work_start += work_stride
    return np.array(layers), start, work_start


def views(flat: Array, layout: NDArray[np.intp]) -> tuple[list[Array], list[Array]]:
    """Return the weights and biases that lie in `flat`, as they lie there."""
    layers = [layer_of(flat, layout, layer) for layer in range(len(layout))]
    return [W for W, _ in layers], [b for _, b in layers]


@njit(cache=True)
def layer_of(flat: Array, layout: NDArray[np.intp], layer: int) -> tuple[Array, Array]:
    """Return a layer's weights (n_out, n_in) and biases (n_out,), as they lie in `flat`."""
    n_in, n_out, stride, start = layout[layer, N_IN], layout[layer, N_OUT], layout[layer, STRIDE], layout[layer, START]
    middle = start + n_out * stride
    return flat[start:middle].reshape(n_out, stride)[:, :n_in], flat[middle : middle + n_out]


@njit(cache=True)
def work_of(work: Array, layout: NDArray[np.intp], layer: int, rows: int) -> tuple[Array, Array]:
    """Return a layer's activations and deltas, as they lie in `work`: the first n_out columns of (B, stride) each."""
    stride, start = layout[layer, WORK_STRIDE], 2 * rows * layout[layer, WORK_START]
    middle, end = start + rows * stride, start + 2 * rows * stride
    return work[start:middle].reshape(rows, stride), work[middle:end].reshape(rows, stride)


@njit(cache=True, error_model="numpy", nogil=True)
def backprop(
    gemm: int,
    block: int,
    flat: Array,
    layout: NDArray[np.intp],
    work: Array,
    x: Array,
    y: Array,
    scale: float,
    start: int,
    stop: int,
) -> None:
    """Compute the activations and the deltas of the examples from `start` to `stop`, the latter times `scale`."""
    one, zero = x.dtype.type(1), x.dtype.type(0)
    limit = x.dtype.type(708 if x.itemsize == 8 else 87)  # exp of ± it is finite and normal
    rows, layers = len(x), len(layout)
    if start == stop:
        return
    a = x[start:stop]  # (b, n_0)
    for layer in range(layers):
        W, b = layer_of(flat, layout, layer)
        z = work_of(work, layout, layer, rows)[0][start:stop]
        multiply(gemm, one, a, NO, W, YES, zero, z[:, : len(b)], block)
        for i in range(len(z)):
            for j in range(len(b)):
                bounded = -(z[i, j] + b[j])
                bounded = limit if bounded > limit else bounded
                bounded = -limit if bounded < -limit else bounded  # a NaN passes both
                z[i, j] = one / (one + exp(bounded))
        a = z[:, : len(b)]  # (b, n_out)
    for layer in range(layers - 1, -1, -1):
        a, units = work_of(work, layout, layer, rows)[0][start:stop], layout[layer, N_OUT]
        delta = work_of(work, layout, layer, rows)[1][start:stop]
        if layer == layers - 1:
            for i in range(len(delta)):
                for j in range(units):
                    delta[i, j] = (a[i, j] - y[start + i, j]) * a[i, j] * (one - a[i, j]) * scale
        else:
            W, b = layer_of(flat, layout, layer + 1)
            behind = work_of(work, layout, layer + 1, rows)[1][start:stop, : len(b)]
            multiply(gemm, one, behind, NO, W, NO, zero, delta[:, :units], block)
            for i in range(len(delta)):
                for j in range(units):
                    delta[i, j] *= a[i, j] * (one - a[i, j])


@njit(cache=True, error_model="numpy", nogil=True)
def update(
    gemm: int, block: int, layout: NDArray[np.intp], work: Array, x: Array, target: Array, thread: int, threads: int
) -> None:
    """Add delta^T a to the weights in `target`, and delta^T 1 to its biases: this thread's units of each layer.

    The deltas are used up.
    """
    one = x.dtype.type(1)
    a = x  # (B, n_in)
    for layer in range(len(layout)):
        W, b = layer_of(target, layout, layer)
        start, stop = len(b) * thread // threads, len(b) * (thread + 1) // threads
        above, delta = work_of(work, layout, layer, len(x))
        if start < stop:
            multiply(gemm, one, delta[:, start:stop], YES, a, NO, one, W[start:stop], block)
            for i in range(1, len(x)):
                for j in range(start, stop):
                    delta[0, j] += delta[i, j]  # not b[j]: in its last place a single example's share may be lost
            for j in range(start, stop):
                b[j] += delta[0, j]
        a = above[:, : len(b)]


@njit(cache=True)
def meet(arrived: Array, threads: int) -> None:
    """Wait until as many threads are here; awake, as that is soon."""
    if threads > 1:
        last = (add_at_once(arrived, 1) // threads + 1) * threads
        while add_at_once(arrived, 0) < last:
            pass


@njit(cache=True, error_model="numpy")
def add_gradient(
    gemm: int, block: int, flat: Array, layout: NDArray[np.intp], work: Array, x: Array, y: Array, factor: float,
    target: Array,
) -> None:  # fmt: skip
    """target += factor * gradient."""
    backprop(gemm, block, flat, layout, work, x, y, x.dtype.type(factor / len(x)), 0, len(x))
    update(gemm, block, layout, work, x, target, 0, 1)


@njit(cache=True, error_model="numpy", nogil=True)
def add_share(
    gemm: int, block: int, flat: Array, layout: NDArray[np.intp], work: Array, x: Array, y: Array, factor: float,
    target: Array, arrived: Array, thread: int, threads: int,
) -> None:  # fmt: skip
    """target += factor * gradient, this thread's part of it; all of them must call this."""
    rows = len(x)
    scale = x.dtype.type(factor / rows)
    start, stop = rows * thread // threads, rows * (thread + 1) // threads
    backprop(gemm, block, flat, layout, work, x, y, scale, start, stop)
    meet(arrived, threads)
    update(gemm, block, layout, work, x, target, thread, threads)


@njit(cache=True)
def gather(data: Array, indices: NDArray[np.intp], batch: Array) -> None:
    """Copy the examples at `indices` to as many rows of `batch`."""
    for i, index in enumerate(indices):
        for j in range(batch.shape[1]):  # a loop becomes vectors, `batch[i] = data[index]` does not
            batch[i, j] = data[index, j]


@njit(cache=True, error_model="numpy", nogil=True)
def epoch(
    gemm: int, block: int, flat: Array, layout: NDArray[np.intp], work: Array, x: Array, y: Array,
    order: NDArray[np.intp], batch_x: Array, batch_y: Array, learning_rate: float, arrived: Array, thread: int,
    threads: int,
) -> None:  # fmt: skip
    """Step through the examples in this order, this thread's part of each step; all of them must call this."""
    size = len(batch_x)
    for begin in range(0, len(order), size):
        rows = min(size, len(order) - begin)
        start, stop = rows * thread // threads, rows * (thread + 1) // threads
        mine = order[begin + start : begin + stop]
        gather(x, mine, batch_x[start:stop])
        gather(y, mine, batch_y[start:stop])
        for index in order[begin + size + start : begin + size + stop]:
            prefetch(x, index)
        meet(arrived, threads)
        x_now, y_now = batch_x[:rows], batch_y[:rows]
        add_share(gemm, block, flat, layout, work, x_now, y_now, -learning_rate, flat, arrived, thread, threads)
        meet(arrived, threads)
