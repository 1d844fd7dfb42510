"""Whether a call is affordable, told without making one that takes much longer than the budget."""

import math

from bench.measurement.timing import time_calls
from bench.problem import Call
from bench.problem.problem import Problem
from impls.interface import Implementation

AFFORDABLE = 1_000_000  # examples x weights that any implementation computes in a fraction of a second
GROWTH = 8  # times more examples in each trial
TRIALS = 3  # that have to be over the budget: the first calls may compile, or be disturbed


def surely_affordable(problem: Problem) -> bool:
    """Return whether a call is so small that no trial is needed."""
    return _first_trial(problem) >= problem.examples


def over_budget(cls: type[Implementation], problem: Problem, threads: int, budget_seconds: float) -> float | None:
    """Return at least how many seconds a call takes if that is over the budget, else None.

    Makes the call with a part of the examples, eight times as many at each turn, up to an eighth of all or more: a part
    that is over the budget settles it, and one that is not has all of them take eight budgets or so at most.
    """
    count, turn = _first_trial(problem), problem.turn(0)
    with problem.construct(cls, threads) as implementation:
        native_data = problem.native_data(implementation)
        while count < problem.examples:
            seconds = shortest_seconds(problem.call(implementation, native_data, turn, count), budget_seconds)
            if seconds > budget_seconds:
                return seconds
            count *= GROWTH
    return None


def _first_trial(problem: Problem) -> int:
    """Return the examples of the first trial."""
    return max(1, AFFORDABLE // problem.workload.weights)


def shortest_seconds(call: Call, budget_seconds: float) -> float:
    """Return the time of the first call within the budget, or the shortest of several that are all over it."""
    seconds = math.inf
    for _ in range(TRIALS):
        seconds = min(seconds, time_calls(*call, 1)[0])
        if seconds <= budget_seconds:
            break
    return seconds
