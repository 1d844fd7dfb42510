"""A row that returns before its work is done is caught, and one that does not is left in peace."""

import threading
import time
from itertools import pairwise

import numpy as np
import pytest
from asynchronous_row import Asynchronous

from bench.asynchrony import asynchronous, unfinished_share
from impls import load
from impls.conformance import check
from impls.interface import Implementation, Parameters


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
    assert share(load(name), sizes, examples) == ""


@pytest.mark.parametrize("late", [0.5, 1.0])
def test_share_of_the_work_that_is_left(late: float) -> None:
    """Of 20 ms of work, this much is done by another thread after the call."""
    pending: list[threading.Thread] = []

    def call() -> None:
        result()
        time.sleep(0.02 * (1 - late))
        pending.append(threading.Thread(target=time.sleep, args=(0.02 * late,)))
        pending[-1].start()

    def result() -> None:
        while pending:
            pending.pop().join()

    assert unfinished_share(call, result) == pytest.approx(late, abs=0.15)
