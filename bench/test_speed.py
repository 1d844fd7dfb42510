"""The benchmark: `pytest bench/ --benchmark-only`. Each test is an implementation on a workload."""

from typing import Any

import pytest

from bench.records import NOT_TIMED_HERE, Outcome


@pytest.mark.filterwarnings("ignore:Benchmark fixture was not used")  # where there are no samples
def test_speed(subject: Any, benchmark: Any) -> None:
    """Replay samples; skip what could not be timed here, fail what must not be."""
    result = subject.result
    if result.outcome in NOT_TIMED_HERE:
        pytest.skip(f"{result.outcome}: {result.reason}")
    if result.outcome != Outcome.OK:
        pytest.fail(subject.failure, pytrace=False)
    samples = [seconds for of_process in result.samples for seconds in of_process.values()]
    subject.replay.load(samples)
    benchmark.pedantic(lambda: None, rounds=max(1, len(samples)), iterations=1)
    if benchmark.enabled:
        subject.replayed.append(benchmark.stats)
