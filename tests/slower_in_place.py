"""`in_place`, slower by a known share: what the A/A runs have to find (results/notes/control.md)."""

from time import perf_counter
from typing import ClassVar

from impls.in_place import InPlace
from impls.interface import Batch


class Slower(InPlace):
    """Each step waits for 3 % of its time, on a fast and on a slow machine; reading the clock costs 1 % more."""

    share: ClassVar[float] = 0.03

    def step(self, batch: Batch, learning_rate: float) -> None:
        start = perf_counter()
        super().step(batch, learning_rate)
        end = perf_counter()
        end += self.share * (end - start)
        while perf_counter() < end:
            pass


class LittleSlower(Slower):
    """1.5 %."""

    share = 0.015
