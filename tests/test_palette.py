"""Looks of rows: each its own, the same in every plot, whatever other rows there are."""

import itertools
import os
import subprocess
import sys

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from matplotlib.colors import to_rgb
from matplotlib.markers import MarkerStyle

from bench.report.palette import LOOKS, MARKERS, Look, in_order, look
from impls.registry import ENTRIES


def test_every_known_row_has_a_look_of_its_own() -> None:
    assert set(LOOKS) == set(ENTRIES)
    looks = [(look(name).colour, look(name).marker) for name in ENTRIES]
    assert len(set(looks)) == len(looks)


def test_colours_and_markers_are_matplotlibs() -> None:
    for found in LOOKS.values():
        assert isinstance(found, Look)
        to_rgb(found.colour)
        MarkerStyle(found.marker)
    assert set(MARKERS) == {found.family for found in LOOKS.values()} | {"other"}
    assert len(set(MARKERS.values())) == len(MARKERS)


def test_families_are_told_apart_by_shape() -> None:
    for one, other in itertools.combinations(LOOKS.values(), 2):
        assert (one.family == other.family) == (one.marker == other.marker)
    assert look("rust_fused").family == "Rust"
    assert look("in_place").family == "Python and NumPy"
    assert look("jax_cuda").family == "GPU"
    for name, entry in ENTRIES.items():
        assert (look(name).family in ("framework", "GPU")) == entry.framework, name


def test_rows_of_a_family_are_told_apart_by_colour() -> None:
    """By a distance in red, green and blue that is seen; curves of one family have one marker."""
    for one, other in itertools.combinations(LOOKS.values(), 2):
        if one.family == other.family:
            distance = sum((a - b) ** 2 for a, b in zip(to_rgb(one.colour), to_rgb(other.colour), strict=True)) ** 0.5
            assert distance > 0.14, (one, other)


def test_a_baseline_on_fewer_cores_looks_like_its_row() -> None:
    assert look("batched_2d@1") == look("batched_2d")


@given(st.text())
@example("mpi-rust_fused")
def test_a_row_of_others_has_a_look_that_is_its_names_alone(name: str) -> None:
    before = {known: look(known) for known in LOOKS}
    found = look(name)
    assert found == look(name)
    if name.partition("@")[0] not in LOOKS:
        assert found.family == ("MPI" if name.startswith("mpi-") else "other")
        assert found.marker == MARKERS[found.family]
    assert {known: look(known) for known in LOOKS} == before


def test_a_look_is_the_same_in_every_process() -> None:
    program = "from bench.report.palette import look; print([look(name) for name in ('mine', 'theirs', '')])"
    looks = {
        subprocess.check_output([sys.executable, "-c", program], env=os.environ | {"PYTHONHASHSEED": seed}, text=True)
        for seed in ("1", "2", "3")
    }
    assert looks == {f"{[look(name) for name in ('mine', 'theirs', '')]}\n"}


@given(st.lists(st.sampled_from([*ENTRIES, "theirs", "mine", "Zebra"])), st.text())
def test_another_row_moves_no_other(labels: list[str], added: str) -> None:
    order = in_order(labels)
    assert sorted(order) == sorted(set(labels))
    assert [label for label in in_order([*labels, added]) if label in labels] == order
    ours = [label for label in order if label in LOOKS]
    assert ours == [label for label in LOOKS if label in labels]
    assert order[: len(ours)] == ours  # the others come after


@pytest.mark.parametrize("labels", [["in_place", "pure_python", "numba"], ["numba", "pure_python", "in_place"]])
def test_the_order_is_the_ladders(labels: list[str]) -> None:
    assert in_order(labels) == ["pure_python", "in_place", "numba"]
