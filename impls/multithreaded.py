"""The mini-batch split over Python threads, BLAS held at one thread in each of them.

NumPy releases the interpreter's lock inside its products and its passes over large arrays, so plain threads run
them side by side. A step has two parts with a barrier between them. First, each thread takes a slice of the
examples forward and back, down to the deltas. Then each thread takes a slice of every layer's units and updates
their weights from all examples. Nothing is added up across threads, so there is no gradient per thread, and the
result depends only on the number of threads, never on which of them is first.

The calling thread works on the first slice; `threads - 1` others wait for it between steps, asleep on a queue. Waking
them takes longer than a small step does, so steps below a number of operations are the calling thread's alone.

Work space: three buffers of B x n_l per layer l >= 1 and one gradient of the weights, whatever the threads.
"""

import threading
from collections.abc import Callable, Sequence
from queue import SimpleQueue

import numpy as np
from numpy.typing import DTypeLike
from threadpoolctl import threadpool_limits

from impls.interface import Array, Batch, Implementation, Parameters
from impls.support.aligned import aligned, zeros

Job = Callable[[int], None]  # for one thread, by its number
Done = SimpleQueue[BaseException | None]  # where each thread puts that it has finished, and what it raised


class Multithreaded(Implementation):
    """Examples, then units, split over Python threads."""

    worth_sharing = 45_000_000  # smaller steps took longer with a second thread

    def __init__(self, sizes: Sequence[int], batch_size: int, dtype: DTypeLike = "float64", threads: int = 1) -> None:
        super().__init__(sizes, batch_size, dtype, threads)
        self._blas: threadpool_limits | None = threadpool_limits(limits=1, user_api="blas")
        self._most = 708.0 if self.dtype == np.float64 else 87.0  # exp of it is finite
        self.weights, self.biases = [aligned(W) for W in self.weights], [aligned(b) for b in self.biases]
        self._a = [zeros((batch_size, n), self.dtype) for n in self.sizes[1:]]  # (B, n_out)
        self._delta = [zeros((batch_size, n), self.dtype) for n in self.sizes[1:]]  # (B, n_out)
        self._slope = [zeros((batch_size, n), self.dtype) for n in self.sizes[1:]]  # (B, n_out)
        self._dW = [zeros(W.shape, self.dtype) for W in self.weights]  # (n_out, n_in)
        self._alone, self._team = Team(1), Team(threads)

    def prepare_data(self, x: Array, y: Array) -> Batch:
        x, y = super().prepare_data(x, y)
        return Batch(aligned(x), aligned(y))

    def gradients(self, batch: Batch) -> Parameters:
        rows = len(batch.x)
        team = self._team if self.is_worth_sharing(rows) else self._alone
        team.run(lambda thread: self._backprop(batch, thread, team.threads))
        inputs = [batch.x] + [a[:rows] for a in self._a[:-1]]
        deltas = [delta[:rows] for delta in self._delta]
        dW = [delta.T @ a for delta, a in zip(deltas, inputs, strict=True)]  # (n_out, n_in)
        return Parameters(dW, [delta.sum(axis=0) for delta in deltas])

    def step(self, batch: Batch, learning_rate: float) -> None:
        team = self._team if self.is_worth_sharing(len(batch.x)) else self._alone
        team.run(lambda thread: self._backprop(batch, thread, team.threads))
        team.run(lambda thread: self._update(batch, learning_rate, thread, team.threads))

    def close(self) -> None:
        self._team.close()
        if self._blas is not None:
            self._blas.restore_original_limits()
            self._blas = None

    def _backprop(self, batch: Batch, thread: int, threads: int) -> None:
        """Compute this thread's rows of all activations and of all deltas, the latter divided by B."""
        part = share(len(batch.x), thread, threads)
        if part.start == part.stop:
            return
        x, y = batch.x[part], batch.y[part]  # (b, n_0), (b, n_L)
        a = x
        for W, b, buffer in zip(self.weights, self.biases, self._a, strict=True):
            z = np.matmul(a, W.T, out=buffer[part])  # (b, n_out)
            np.add(z, b, out=z)
            np.negative(z, out=z)
            np.minimum(z, self._most, out=z)
            np.exp(z, out=z)
            np.add(z, 1.0, out=z)
            a = np.reciprocal(z, out=z)
        for layer in range(len(self.weights) - 1, -1, -1):
            a, delta, slope = self._a[layer][part], self._delta[layer][part], self._slope[layer][part]  # (b, n_out)
            if layer == len(self.weights) - 1:
                np.subtract(a, y, out=delta)
                np.multiply(delta, 1.0 / len(batch.x), out=delta)
            else:
                np.matmul(self._delta[layer + 1][part], self.weights[layer + 1], out=delta)
            np.multiply(delta, a, out=delta)
            np.subtract(1.0, a, out=slope)
            np.multiply(delta, slope, out=delta)

    def _update(self, batch: Batch, learning_rate: float, thread: int, threads: int) -> None:
        """Update the weights and biases of this thread's units in every layer, from all examples."""
        rows = len(batch.x)
        a: Array = batch.x
        for W, b, dW, delta, activation in zip(self.weights, self.biases, self._dW, self._delta, self._a, strict=True):
            part = share(len(b), thread, threads)
            if part.start < part.stop:
                mine = delta[:rows, part]  # (B, units)
                np.matmul(mine.T, a, out=dW[part])  # (units, n_in)
                np.multiply(dW[part], learning_rate, out=dW[part])
                np.subtract(W[part], dW[part], out=W[part])
                b[part] -= learning_rate * mine.sum(axis=0)
            a = activation[:rows]


def share(total: int, thread: int, threads: int) -> slice:
    """Return the thread's part of `range(total)`: contiguous, as equal as can be, empty if there is no more."""
    return slice(total * thread // threads, total * (thread + 1) // threads)


class Team:
    """Threads that run one job at a time, each its part; the calling thread is number 0."""

    def __init__(self, threads: int) -> None:
        self.threads = threads
        self._jobs: list[SimpleQueue[tuple[Job, Done] | None]] = [SimpleQueue() for _ in range(1, threads)]
        self._helpers = [
            threading.Thread(target=self._help, args=(thread, jobs), daemon=True)
            for thread, jobs in enumerate(self._jobs, start=1)
        ]
        for helper in self._helpers:
            helper.start()

    def run(self, job: Job) -> None:
        """Run `job(thread)` on every thread and return when all are done. Raises an error of one of them, if any."""
        done: Done = SimpleQueue()  # of this run alone: what an interrupted one leaves behind is nobody's
        for jobs in self._jobs:
            jobs.put((job, done))
        try:
            job(0)
        finally:
            errors = [done.get() for _ in self._jobs]
        for error in filter(None, errors):
            raise error

    def close(self) -> None:
        """End the helpers. Safe to call twice."""
        for jobs in self._jobs:
            jobs.put(None)
        for helper in self._helpers:
            helper.join()
        self._jobs = []

    @staticmethod
    def _help(thread: int, jobs: "SimpleQueue[tuple[Job, Done] | None]") -> None:
        while work := jobs.get():
            job, done = work
            error = None
            try:
                job(thread)
            except BaseException as raised:
                error = raised
            done.put(error)
