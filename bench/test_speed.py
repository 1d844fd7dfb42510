"""The benchmark: `pytest bench/ --benchmark-only`. Each test is an implementation on a workload."""

from typing import Any

import pytest

from bench.records import NOT_TIMED_HERE, Outcome


@pytest.mark.filterwarnings("ignore:Benchmark fixture was not used")  # where there are no samples
def test_speed(replay: Any, benchmark: Any) -> None:
    """Replay samples; skip what could not be timed here, fail what must not be."""
    candidate = replay.candidate
    result = candidate.row
    if result.outcome in NOT_TIMED_HERE:
        pytest.skip(f"{result.outcome}: {result.reason}")
    if result.outcome != Outcome.OK:
        failure = f"{result.outcome_text}: {result.reason}\n{candidate.details}"
        pytest.fail(failure.rstrip(), pytrace=False)
    replay.play(benchmark)
