"""A row that returns before its work is done is caught, and one that does not is left in peace."""

from itertools import pairwise

import numpy as np
import pytest
from asynchronous_row import Asynchronous

from bench.measurement import asynchrony
from bench.measurement.asynchrony import asynchronous, unfinished_share
from impls.conformance import check
from impls.interface import Implementation, Parameters
from impls.registry import find


def share(cls: type[Implementation], sizes: tuple[int, ...], examples: int) -> str:
    rng = np.random.default_rng(0)
    weights = [rng.standard_normal((m, n)) / np.sqrt(n) for n, m in pairwise(sizes)]
    with cls(sizes, examples) as implementation:
        implementation.load(Parameters(weights, [np.zeros(n) for n in sizes[1:]]))
        batch = implementation.prepare(rng.random((examples, sizes[0])), rng.random((examples, sizes[-1])))
        return asynchronous(lambda: implementation.step(batch, 0.1), implementation.parameters)


@pytest.mark.parametrize(("sizes", "examples"), [((784, 30, 10), 10), ((784, 512, 512, 10), 256)])
def test_asynchronous_row_is_caught(sizes: tuple[int, ...], examples: int) -> None:
    assert "of the work is done after the call has returned" in share(Asynchronous, sizes, examples)


def test_only_its_times_betray_it() -> None:
    assert check(Asynchronous, threads=(1,)) == []


@pytest.mark.parametrize("name", ["per_example", "batched_2d", "in_place", "multithreaded"])
@pytest.mark.parametrize(("sizes", "examples"), [((784, 30, 10), 10), ((784, 512, 512, 10), 32)])
def test_synchronous_row_is_left_in_peace(name: str, sizes: tuple[int, ...], examples: int) -> None:
    assert share(find(name).load(), sizes, examples) == ""


class Clock:
    """A clock that only what is timed moves on, so that no other process can disturb it."""

    def __init__(self) -> None:
        self.now = 0.0

    def perf_counter(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


@pytest.mark.parametrize("late", [0.0, 0.5, 1.0])
def test_share_of_the_work_that_is_left(late: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of 20 ms of work, this much is done by another thread after the call."""
    clock, done_at = Clock(), 0.0
    monkeypatch.setattr(asynchrony, "time", clock)

    def call() -> None:
        nonlocal done_at
        clock.now = max(clock.now, done_at) + 0.02 * (1 - late)
        done_at = clock.now + 0.02 * late

    def result() -> None:
        clock.now = max(clock.now, done_at) + 1e-4

    assert unfinished_share(call, result) == pytest.approx(late, abs=0.01)
