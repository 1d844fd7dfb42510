"""Looks of implementations: each its own, the same in every plot, whatever others there are."""

import itertools
import math

from hypothesis import example, given
from hypothesis import strategies as st
from matplotlib.colors import to_rgb

from bench.output.plots.palette import LOOKS, MARKERS, in_order, look
from impls.registry import ENTRIES


def test_families_are_told_apart_by_shape_and_their_implementations_by_colour() -> None:
    """By a distance in red, green and blue that is seen; curves of one family have one marker."""
    assert set(LOOKS) == set(ENTRIES)
    for first, second in itertools.combinations(LOOKS.values(), 2):
        assert (first.family == second.family) == (first.marker == second.marker)
        if first.family == second.family:
            assert math.dist(to_rgb(first.colour), to_rgb(second.colour)) > 0.14, (first, second)
    for name, entry in ENTRIES.items():
        assert (look(name).family in ("framework", "GPU")) == entry.framework, name
    assert look("batched_2d@1") == look("batched_2d")


@given(st.text())
@example("mpi-rust_fused")
def test_others_have_a_look_that_is_their_names_alone(name: str) -> None:
    first = look(name)
    assert first == look(name)
    if name.partition("@")[0] not in LOOKS:
        assert first.family == ("MPI" if name.startswith("mpi-") else "other")
        assert first.marker == MARKERS[first.family]


@given(st.lists(st.sampled_from([*ENTRIES, "theirs", "mine", "Zebra"])), st.text())
def test_another_implementation_moves_no_other(labels: list[str], added: str) -> None:
    order = in_order(labels)
    assert sorted(order) == sorted(set(labels))
    assert [label for label in in_order([*labels, added]) if label in labels] == order
    ours = [label for label in LOOKS if label in labels]
    assert order[: len(ours)] == ours  # the others come after
