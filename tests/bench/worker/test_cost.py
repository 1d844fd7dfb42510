"""Whether a call is affordable is told without making one that is not."""

import time
from collections.abc import Sequence
from typing import ClassVar

import numpy as np
import pytest
from numpy.typing import DTypeLike

from bench.conditions import Workload
from bench.records import Outcome
from bench.runner.worker_environment import shared_examples
from bench.worker.handlers import Refused, Worker
from bench.worker.protocol import Prepare, Prepared
from bench.worker.timing import GROWTH, TRIALS, over_budget
from bench.workloads.problem import Problem
from impls.batched_2d import Batched2D
from impls.interface import Batch

BUDGET = 0.02  # seconds
EXAMPLES = 512
STEP = Workload("step", (6, 1000, 1000, 4), EXAMPLES)  # 1,010,000 weights: the first trial is of one example


class Sleeps(Batched2D):
    """Takes the time that it is told to, and computes nothing."""

    seconds: ClassVar[dict[str, float]] = {}  # per call, per example, of the first calls
    slow_calls: ClassVar[int] = 0  # first calls
    calls: ClassVar[list[float]]  # seconds that each slept, at least
    examples: ClassVar[list[int]]  # of each

    def __init__(self, sizes: Sequence[int], batch_size: int, dtype: DTypeLike = "float64", threads: int = 1) -> None:
        super().__init__(sizes, batch_size, dtype, threads)
        assert threads == 3

    def step(self, batch: Batch, learning_rate: float) -> None:
        examples = len(batch.x)
        seconds = self.seconds.get("call", 0.0) + examples * self.seconds.get("example", 0.0)
        if len(self.calls) < self.slow_calls:
            seconds += self.seconds["first"]
        time.sleep(seconds)
        self.calls.append(seconds)
        self.examples.append(examples)


@pytest.fixture
def problem() -> Problem:
    rng = np.random.default_rng(0)
    with shared_examples(rng.random((EXAMPLES, 6)), rng.random((EXAMPLES, 4))) as shared:
        return Problem.make(STEP, shared.examples, 0)


@pytest.fixture
def sleeps(monkeypatch: pytest.MonkeyPatch) -> type[Sleeps]:
    for name, value in (("calls", []), ("examples", []), ("seconds", {}), ("slow_calls", 0)):
        monkeypatch.setattr(Sleeps, name, value, raising=False)
    return Sleeps


@pytest.mark.parametrize("budgets", [0.5, 6, 300])
def test_no_call_is_much_over_the_budget(problem: Problem, sleeps: type[Sleeps], budgets: float) -> None:
    """A call with all examples takes so many budgets; what is tried takes eight at most."""
    sleeps.seconds["example"] = budgets * BUDGET / EXAMPLES
    seconds = over_budget(sleeps, problem, 3, BUDGET)
    assert max(sleeps.calls) <= GROWTH * BUDGET
    assert sum(sleeps.calls) < (TRIALS + 1) * GROWTH * BUDGET
    assert max(sleeps.examples) <= EXAMPLES / GROWTH
    if seconds is None:
        assert budgets <= GROWTH + 1  # so that the call with all examples is not much over the budget either
    else:
        assert BUDGET < sleeps.calls[-1] <= seconds < budgets * BUDGET  # a lower bound of what a call takes
        assert len(set(sleeps.calls[-TRIALS:])) == 1  # of several trials
    if budgets <= 1:
        assert seconds is None
    if budgets > GROWTH + 1:
        assert seconds is not None


def test_slow_first_calls_and_an_overhead_of_each_call_skip_no_row(problem: Problem, sleeps: type[Sleeps]) -> None:
    """A compiler, say: many budgets, but none of the calls after it."""
    sleeps.slow_calls = TRIALS - 1
    sleeps.seconds = {"first": 10 * BUDGET, "call": BUDGET / 8}
    assert over_budget(sleeps, problem, 3, BUDGET) is None
    assert sleeps.examples == [1] * TRIALS + [8, 64]


@pytest.mark.parametrize("slow_calls", [TRIALS, TRIALS + 1])
def test_a_first_call_over_the_budget_is_repeated_before_the_row_is_skipped(slow_calls: int) -> None:
    """A problem so small that no part of it is tried: the first call is a whole one, and it may compile."""

    class Compiles(Batched2D):
        steps = 0

        def step(self, batch: Batch, learning_rate: float) -> None:
            Compiles.steps += 1
            if Compiles.steps <= slow_calls:
                time.sleep(0.3)
            super().step(batch, learning_rate)

    worker = Worker(lambda: False)
    worker._class = Compiles
    with shared_examples(np.zeros((20, 6)), np.zeros((20, 4))) as shared:
        request = Prepare(Workload("small", (6, 5, 4), 3), 1, shared.examples, 0, 0.001, budget_seconds=0.1)
        if slow_calls > TRIALS:
            with pytest.raises(Refused, match=r"at least 0\.3 s per call, over the budget of 0\.1 s") as refused:
                worker.answer(request)
            assert refused.value.failure.outcome == Outcome.TOO_SLOW
            assert Compiles.steps == slow_calls
            return
        prepared = worker.answer(request)
    assert isinstance(prepared, Prepared)
    assert prepared.calibration.call_seconds < 0.1
    assert prepared.first_call is not None
    assert prepared.first_call.first_call_seconds >= 0.3
