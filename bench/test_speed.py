"""The benchmark: `pytest bench/ --benchmark-only`. Each test is one row of one workload."""

from typing import Any

import pytest

from bench.records import NOT_TIMED_HERE, OK, Row
from bench.replay import Replay


@pytest.mark.filterwarnings("ignore:Benchmark fixture was not used")  # by a row that has no samples
def test_speed(result: Row, failure: str, replay: Replay, benchmark: Any, replayed: list[Any]) -> None:
    """Replay the samples of a row; skip one that could not be timed here, fail one that must not be."""
    if result.outcome in NOT_TIMED_HERE:
        pytest.skip(f"{result.outcome}: {result.reason}")
    if result.outcome != OK:
        pytest.fail(failure, pytrace=False)
    samples = [seconds for generation in result.samples for seconds in generation.values()]
    replay.load(samples)
    benchmark.pedantic(lambda: None, rounds=max(1, len(samples)), iterations=1)
    if benchmark.enabled:
        replayed.append(benchmark.stats)
