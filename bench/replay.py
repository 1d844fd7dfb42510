"""Samples taken elsewhere, played back as a timer for pytest-benchmark."""

import time
from collections.abc import Sequence


class Replay:
    """A timer that returns the start and the end of each round in turn, so that each lasts as long as its sample."""

    __name__ = "backprop_bench_replay"  # pytest-benchmark stores it in the JSON

    def __init__(self, workload: str, label: str) -> None:
        """Take the names of the workload and of the row whose samples are to be played back."""
        self.workload, self.label = workload, label
        self._readings: list[float] = []

    def load(self, seconds: Sequence[float]) -> None:
        """Play back these samples next; each takes two readings of the timer."""
        self._readings = [reading for sample in reversed(seconds) for reading in (sample, 0.0)]

    def __call__(self) -> float:
        """Return the next reading in seconds; the real time when there is nothing to play back."""
        return self._readings.pop() if self._readings else time.perf_counter()
