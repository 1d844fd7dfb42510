"""A planted fault: a row whose step returns at once and whose work is waited for by whoever looks at the result."""

from concurrent.futures import Future, ThreadPoolExecutor

from impls.batched_2d import Batched2D
from impls.interface import Batch, Parameters


class Asynchronous(Batched2D):
    """Right results, wrong times: it passes every other check."""

    _pool = ThreadPoolExecutor(1)
    _pending: Future[None] | None = None

    def load(self, parameters: Parameters) -> None:
        self._wait()
        super().load(parameters)

    def parameters(self) -> Parameters:
        self._wait()
        return super().parameters()

    def gradients(self, batch: Batch) -> Parameters:
        return super().gradients(batch)

    def step(self, batch: Batch, learning_rate: float) -> None:
        self._wait()
        self._pending = self._pool.submit(super().step, batch, learning_rate)

    def _wait(self) -> None:
        if self._pending is not None:
            self._pending.result()
            self._pending = None
