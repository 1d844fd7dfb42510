"""How fast memory is."""

import time
from pathlib import Path

import pytest

from bench.conditions import MemoryRate
from bench.runner import machine


def test_each_number_of_threads_has_a_rate(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "MOST_BYTES", 1 << 22)
    rates = machine.memory_rates([2, 1, 2])
    assert [rate.threads for rate in rates] == [1, 2]
    assert all(1e7 < rate.bytes_per_second < 1e13 for rate in rates)


def test_bytes_are_counted_for_two_reads_and_a_write(monkeypatch: pytest.MonkeyPatch) -> None:
    """Both arrays together are four times the largest cache; three passes take 2, 1 and 3 s."""
    clock = iter((0.0, 2.0, 10.0, 11.0, 20.0, 23.0))
    monkeypatch.setattr(machine, "largest_cache", lambda: 1 << 20)
    monkeypatch.setattr(time, "perf_counter", lambda: next(clock))
    assert machine.memory_rates([1]) == [MemoryRate(1, 3 * 8 * (4 << 20) / 16)]


def test_the_largest_cache_is_the_systems(tmp_path: Path) -> None:
    for index, size in enumerate(("32K", "33792K", "1024K", "odd", "")):
        (tmp_path / f"cpu0/cache/index{index}").mkdir(parents=True)
        (tmp_path / f"cpu0/cache/index{index}/size").write_text(size)
    assert machine.largest_cache(tmp_path) == 33 << 20
    assert machine.largest_cache(tmp_path / "none") == machine.USUAL_CACHE
