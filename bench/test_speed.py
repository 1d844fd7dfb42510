"""The benchmark: `pytest bench/ --benchmark-only`. Each test is one row of one workload."""

from typing import Any

import pytest

from bench.replay import REPLAY
from bench.sampler import Row


def test_speed(row: Row, run: Any, benchmark: Any) -> None:
    """Replay the row's samples; skip a row that could not be timed here, fail one that must not be."""
    benchmark.extra_info.update(run.summary(row))
    if row.outcome in ("unavailable", "left out", "interrupted"):
        pytest.skip(f"{row.outcome}: {row.reason}")
    if row.outcome != "ok":
        pytest.fail(f"{row.outcome}: {row.reason}", pytrace=False)
    samples = [seconds for generation in row.samples for seconds in generation.values()]
    REPLAY.load(samples)
    benchmark.pedantic(lambda: None, rounds=max(1, len(samples)), iterations=1)
    if benchmark.enabled:
        run.benchmarks.append(benchmark.stats)
