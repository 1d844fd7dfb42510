"""Rows that pass the gate and are wrong when they are timed, each in its own way."""

import atexit
import multiprocessing
import os
import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from impls.batched_2d import Batched2D
from impls.interface import Array, Batch, Parameters


class HandsOver(Batched2D):
    """Its steps are done by a thread that nobody waits for before looking at the parameters."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._pool = ThreadPoolExecutor(1)
        self._last: Future[None] | None = None

    def load(self, parameters: Parameters) -> None:
        self._wait()
        super().load(parameters)

    def step(self, batch: Batch, learning_rate: float) -> None:
        self._last = self._pool.submit(Batched2D.step, self, batch, learning_rate)

    def parameters(self) -> Parameters:
        self._wait()
        return super().parameters()

    def _wait(self) -> None:
        if self._last is not None:
            self._last.result()


class Naps(Batched2D):
    """Leaves out one step, the twentieth since its parameters were loaded."""

    calls = 0

    def load(self, parameters: Parameters) -> None:
        self.calls = 0
        super().load(parameters)

    def step(self, batch: Batch, learning_rate: float) -> None:
        self.calls += 1
        if self.calls != 20:
            super().step(batch, learning_rate)


class Remembers(Batched2D):
    """Takes the parameters after a step from an earlier step of the same number since `load`, if there was one."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._after: dict[int, Parameters] = {}
        self._steps = 0

    def load(self, parameters: Parameters) -> None:
        self._steps = 0
        super().load(parameters)

    def step(self, batch: Batch, learning_rate: float) -> None:
        self._steps += 1
        if self._steps in self._after and self._steps > 1:
            super().load(self._after[self._steps])
        else:
            super().step(batch, learning_rate)
            self._after[self._steps] = self.parameters()


class EndsEarly(Batched2D):
    """Ends an epoch after 64 mini-batches."""

    def epoch(self, data: Batch, order: NDArray[np.intp], learning_rate: float) -> None:
        super().epoch(data, order[: 64 * self.batch_size], learning_rate)


class HalfRate(Batched2D):
    """Uses the learning rate of its first calls for ever."""

    rate: float | None = None
    calls = 0

    def step(self, batch: Batch, learning_rate: float) -> None:
        self.calls += 1
        self.rate = self.rate or learning_rate
        super().step(batch, learning_rate if self.calls < 50 else self.rate)


class SlowsTheClock(Batched2D):
    """Has the clock of its worker run at half its rate."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        from bench.worker import timing

        real = time.perf_counter
        timing.perf_counter = lambda: 0.5 * real()


class Disturbs(Batched2D):
    """Has a process of its own keep a CPU busy while other rows are timed."""

    child: ClassVar[multiprocessing.process.BaseProcess | None] = None

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        if Disturbs.child is None:
            Disturbs.child = multiprocessing.get_context("fork").Process(target=_spin, daemon=True)
            Disturbs.child.start()
            atexit.register(Disturbs.child.kill)


def _spin() -> None:
    while True:
        pass


class Delegates(Batched2D):
    """Sound, but has its steps done in a process of its own."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        context = multiprocessing.get_context("fork")
        self._mine, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs, Batched2D(*arguments)), daemon=True)
        self._process.start()

    def load(self, parameters: Parameters) -> None:
        super().load(parameters)
        self._ask("load", parameters)

    def parameters(self) -> Parameters:
        return Parameters(*self._ask("parameters"))

    def gradients(self, batch: Batch) -> Parameters:
        return Parameters(*self._ask("gradients", batch))

    def step(self, batch: Batch, learning_rate: float) -> None:
        self._ask("step", batch, learning_rate)

    def close(self) -> None:
        self._process.kill()

    def _ask(self, *request: Any) -> Any:
        self._mine.send(request)
        return self._mine.recv()


def _serve(pipe: Any, row: Batched2D) -> None:
    while True:
        method, *arguments = pipe.recv()
        pipe.send(getattr(row, method)(*arguments))


class Leaks(Batched2D):
    """Keeps 10 kB of every call."""

    kept: ClassVar[list[Array]] = []

    def step(self, batch: Batch, learning_rate: float) -> None:
        self.kept.append(np.ones(1250))
        super().step(batch, learning_rate)


class Strays(Batched2D):
    """Sets one of its threads free to run on every CPU."""

    thread: ClassVar[threading.Thread | None] = None

    def step(self, batch: Batch, learning_rate: float) -> None:
        if Strays.thread is None:
            Strays.thread = threading.Thread(target=self._roam, daemon=True)
            Strays.thread.start()
        super().step(batch, learning_rate)

    @staticmethod
    def _roam() -> None:
        while True:
            os.sched_setaffinity(0, range(os.cpu_count() or 1))
            time.sleep(0.0005)
