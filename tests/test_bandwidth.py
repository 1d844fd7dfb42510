"""How fast memory is."""

import time
from pathlib import Path

import pytest

from bench.measurement import bandwidth
from bench.records import MemoryRate


def test_each_number_of_threads_has_a_rate(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bandwidth, "MOST_BYTES", 1 << 22)
    found = bandwidth.memory_rates([2, 1, 2])
    assert [rate.threads for rate in found] == [1, 2]
    assert all(1e7 < rate.bytes_per_second < 1e13 for rate in found)


def test_bytes_are_counted_for_two_reads_and_a_write(monkeypatch: pytest.MonkeyPatch) -> None:
    """Both arrays together are four times the largest cache; three passes take 2, 1 and 3 s."""
    clock = iter((0.0, 2.0, 10.0, 11.0, 20.0, 23.0))
    monkeypatch.setattr(bandwidth, "largest_cache", lambda: 1 << 20)
    monkeypatch.setattr(time, "perf_counter", lambda: next(clock))
    assert bandwidth.memory_rates([1]) == [MemoryRate(1, 3 * 8 * (4 << 20) / 16)]


def test_the_largest_cache_is_the_systems(tmp_path: Path) -> None:
    for index, size in enumerate(("32K", "1024K", "33M", "odd", "")):
        (tmp_path / f"cpu0/cache/index{index}").mkdir(parents=True)
        (tmp_path / f"cpu0/cache/index{index}/size").write_text(size)
    assert bandwidth.largest_cache(tmp_path) == 33 << 20
    assert bandwidth.largest_cache(tmp_path / "none") == bandwidth.USUAL_CACHE
