"""`in_place`, slower by a known share: what A/A runs and gates have to find (docs/control.md, compare.md)."""

from collections.abc import Callable
from time import perf_counter
from typing import Any, ClassVar

from impls.in_place import InPlace
from impls.interface import Batch

CALLS, TRIALS = 500, 20  # to find out what a wrapped call costs by itself


class Slower(InPlace):
    """Each step takes 3 % longer than that of `in_place`, on a fast and on a slow machine.

    What it costs to call that step from here and to read the clock, half a per cent, is a part of the 3 %.
    """

    share: ClassVar[float] = 0.03

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._own_seconds = 0.0
        self._step: Callable[[Any, float], None] = self._nothing
        self._own_seconds = _shortest_seconds(self.step) - _shortest_seconds(self._nothing)
        self._step = super().step

    def step(self, batch: Batch, learning_rate: float) -> None:
        start = perf_counter()
        self._step(batch, learning_rate)
        end = perf_counter()
        end += self.share * (end - start) - self._own_seconds
        while perf_counter() < end:
            pass

    def _nothing(self, batch: Any, learning_rate: float) -> None:
        pass


class SevenSlower(Slower):
    """7 %."""

    share = 0.07


class TenSlower(Slower):
    """10 %."""

    share = 0.10


def _shortest_seconds(step: Callable[[Any, float], None]) -> float:
    """Return the seconds of a call, of the least disturbed of several trials."""
    shortest = float("inf")
    for _ in range(TRIALS):
        start = perf_counter()
        for _ in range(CALLS):
            step(None, 0.0)
        shortest = min(shortest, perf_counter() - start)
    return shortest / CALLS
