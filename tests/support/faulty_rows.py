"""Rows that third parties might bring, each with one fault, for the tests of the harness."""

import contextlib
import os
import signal
import sys
import time
from typing import Any

import numpy as np

from impls.batched_2d import Batched2D
from impls.interface import Batch, Parameters


class Wrong(Batched2D):
    """Half of the gradient."""

    def gradients(self, batch: Batch) -> Parameters:
        dW, db = super().gradients(batch)
        return Parameters([0.5 * dW_l for dW_l in dW], db)


class Raises(Batched2D):
    def step(self, batch: Batch, learning_rate: float) -> None:
        raise RuntimeError("the tensor\nwas not there")


class Hangs(Batched2D):
    def step(self, batch: Batch, learning_rate: float) -> None:
        time.sleep(3600)


class Segfaults(Batched2D):
    def step(self, batch: Batch, learning_rate: float) -> None:
        os.kill(os.getpid(), signal.SIGSEGV)


class SegfaultsWhenDeep(Batched2D):
    """Passes all named checks, which have no network of seven layers of weights."""

    def step(self, batch: Batch, learning_rate: float) -> None:
        if len(self.sizes) > 7:
            os.kill(os.getpid(), signal.SIGSEGV)
        super().step(batch, learning_rate)


class WrongWhenDeep(Batched2D):
    """Passes all named checks, too."""

    def gradients(self, batch: Batch) -> Parameters:
        dW, db = super().gradients(batch)
        return Parameters([dW_l / 2 if layer > 5 else dW_l for layer, dW_l in enumerate(dW)], db)


class Exits(Batched2D):
    def step(self, batch: Batch, learning_rate: float) -> None:
        sys.exit(0)


class ExitsHard(Batched2D):
    def step(self, batch: Batch, learning_rate: float) -> None:
        print("goodbye", file=sys.stderr, flush=True)
        os._exit(7)


class FailsLater(Batched2D):
    """Passes the check, then raises in the middle of the samples."""

    calls = 0

    def step(self, batch: Batch, learning_rate: float) -> None:
        self.calls += 1
        if self.calls > 300:
            raise ZeroDivisionError("late")
        super().step(batch, learning_rate)


class Prints(Batched2D):
    """Sound, but talkative: writes to standard output as Python and as C would."""

    def step(self, batch: Batch, learning_rate: float) -> None:
        print('{"seconds": 0}')
        os.write(1, b"noise\n")
        super().step(batch, learning_rate)


class Garbles(Batched2D):
    """Writes to whatever is open, the pipe of the replies among it."""

    WRITTEN = b"\xff\x00 garbage\n"

    def step(self, batch: Batch, learning_rate: float) -> None:
        for descriptor in range(3, 20):
            with contextlib.suppress(OSError):
                os.write(descriptor, self.WRITTEN)
        super().step(batch, learning_rate)


class Mumbles(Garbles):
    """Writes a reply whose text is no UTF-8."""

    WRITTEN = b'{"reply":"failure","outcome":"\xff","reason":""}\n'


class Answers(Garbles):
    """Writes a reply of its own, one that nobody asked for."""

    WRITTEN = b'{"reply":"taken","seconds":1e-9,"cpu_seconds":1e-9,"compilations":0}\n'


class Pretends(Garbles):
    """Says that it failed, and that this is fine."""

    WRITTEN = b'{"reply":"failure","outcome":"ok","reason":""}\n'


class Colours(Batched2D):
    """Raises with what a terminal would obey."""

    def step(self, batch: Batch, learning_rate: float) -> None:
        raise RuntimeError(f"\x1b[31mred\a\n{'long ' * 20_000}")


class Hoards(Batched2D):
    """Sound, but takes 64 MB."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.hoard = np.ones(8_000_000)


class Recompiles(Batched2D):
    """Sound, but says that it compiles at every hundredth step."""

    steps = 0

    def step(self, batch: Batch, learning_rate: float) -> None:
        super().step(batch, learning_rate)
        self.steps += 1

    def compilations(self) -> int:
        return self.steps // 100
