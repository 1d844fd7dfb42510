"""Which CPUs a round gets: all of them in turn, and no two threads on one core while another is free."""

import math

import pytest

from bench import cpus
from bench.measurement import rounds
from bench.records import Machine
from bench.report.text import cpus_text


@pytest.fixture
def topology(monkeypatch: pytest.MonkeyPatch) -> dict[int, str]:
    """Return a machine of four cores with two hardware threads each, to be changed: the name of the core by CPU."""
    machine = {cpu: f"{cpu % 4},{cpu % 4 + 4}" for cpu in range(8)}
    monkeypatch.setattr(cpus, "core_of", lambda cpu: machine[cpu])
    monkeypatch.setattr(cpus, "usable_cpus", lambda: sorted(machine))
    return machine


def test_siblings_are_known(topology: dict[int, str]) -> None:
    assert cpus.siblings() == [[0, 4], [1, 5], [2, 6], [3, 7]]
    del topology[0], topology[5]
    assert cpus.siblings() == [[1], [2, 6], [3, 7], [4]]


@pytest.mark.parametrize("threads", range(1, 9))
def test_no_core_is_shared_while_one_is_free(topology: dict[int, str], threads: int) -> None:
    for number in range(16):
        place = cpus.places(threads, number)
        assert len(place) == len(set(place)) == threads
        assert len({topology[cpu] for cpu in place}) == min(threads, 4)


@pytest.mark.parametrize("threads", [1, 2, 3, 8])
def test_every_one_core_row_visits_every_cpu(topology: dict[int, str], threads: int) -> None:
    """It gets the first of the CPUs of each round, however many threads other rows have; all equally often."""
    first = [cpus.places(threads, number)[0] for number in range(80)]
    assert {first.count(cpu) for cpu in range(8)} == {10}


def test_uneven_cores(topology: dict[int, str]) -> None:
    """A container may have one hardware thread of one core and both of another."""
    for cpu in (2, 3, 5, 6, 7):
        del topology[cpu]
    assert cpus.siblings() == [[0, 4], [1]]
    for number in range(6):
        place = cpus.places(2, number)
        assert 1 in place
    assert set(cpus.places(3, 0)) == {0, 1, 4}


@pytest.mark.parametrize("usable", [1, 2, 3, 4, 6, 8, 12, 30, 60])
def test_strides_take_a_row_to_every_cpu(monkeypatch: pytest.MonkeyPatch, usable: int) -> None:
    monkeypatch.setattr(rounds, "usable_cpus", lambda: range(usable))
    for wanted in (0.2, 1.0, 2.0, 3.7, 5.0, 100.0):
        stride = rounds._stride(wanted)
        assert 1 <= stride <= max(1.0, min(wanted, rounds.MAX_STRIDE))
        assert math.gcd(stride, usable) == 1
        assert {number * stride % usable for number in range(usable)} == set(range(usable))


@pytest.mark.parametrize(
    ("usable", "siblings", "text"),
    [
        (2, [[0], [1]], "2 CPUs"),
        (4, [[0, 2], [1, 3]], "4 CPUs on 2 cores"),
        (2, [[0, 1]], "2 CPUs on 1 core"),
        (8, [], "8 CPUs"),  # of an older file
    ],
)
def test_shared_cores_are_said(usable: int, siblings: list[list[int]], text: str) -> None:
    assert cpus_text(Machine(usable_cpus=usable, siblings=siblings)) == text


def test_a_quota_is_said() -> None:
    assert (
        cpus_text(Machine(usable_cpus=64, siblings=[[0, 1]] * 32, cpu_quota=1.5))
        == "64 CPUs on 32 cores, CPU quota 1.50"
    )
