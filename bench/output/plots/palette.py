"""A colour and a marker for each implementation, by its name alone: adding one changes no other's.

Families are told apart by hue and by shape, implementations of a family by shade. Hues are Okabe and Ito's, which
readers with deuteranopia can tell apart.
"""

import colorsys
import zlib
from collections.abc import Iterable
from itertools import zip_longest
from typing import NamedTuple

from bench.records import CONTROL, Results, WorkloadResult
from impls import registry
from impls.registry import ENTRIES


class Look(NamedTuple):
    """How an implementation is drawn everywhere."""

    family: str
    colour: str
    marker: str


MARKERS = {"Python and NumPy": "o", "Numba": "D", "Rust": "s", "framework": "^", "GPU": "v", "MPI": "X", "other": "P"}
COLOURS = {  # of a family's implementations, in the order of the registry
    registry.NUMPY: ("#8c8c8c", "#4d4d4d", "#6baed6", "#3182bd", "#08519c", "#17a2c4"),
    registry.COMPILED: ("#cc79a7",),
    registry.RUST_CRATE: ("#f0a860", "#e08214", "#d6b000", "#b8860b", "#7a7a00", "#8c510a", "#5c2d0a", "#c7371b"),
    registry.RANKS: ("#5e3c99",),
    registry.FRAMEWORK: (
        *("#4db392", "#238b45", "#a1d99b", "#2c7f8c"),
        *("#00441b", "#009e73", "#b5a800", "#74a63c"),
    ),
    registry.GPU: ("#984ea3", "#4a1486"),
}


def looks() -> dict[str, Look]:
    """Return the looks of our own implementations: each takes the next colour of its family."""
    looks_by_name = {}
    for family, colours in COLOURS.items():
        names = [name for name, entry in ENTRIES.items() if entry.family == family]
        for name, colour in zip_longest(names, colours[: len(names)], fillvalue=""):
            looks_by_name[name] = Look(family, colour or _own_colour(name), MARKERS[family])
    return looks_by_name


def _own_colour(name: str) -> str:
    """Return a colour that depends on the name alone."""
    hue = zlib.crc32(name.encode()) / 2**32
    return "#" + "".join(f"{round(255 * part):02x}" for part in colorsys.hsv_to_rgb(hue, 0.75, 0.6))


LOOKS = looks()


def look(label: str) -> Look:
    """Return the look of an implementation; one that is not ours has a colour that belongs to its name."""
    name = label.partition("@")[0]
    family = registry.RANKS if name.startswith("mpi-") else registry.OTHER  # mpi-ENGINE is made when it is asked for
    return LOOKS.get(name) or Look(family, _own_colour(name), MARKERS[family])


def in_order(labels: Iterable[str]) -> list[str]:
    """Return the labels in the order in which every plot has them: ours as they are listed here, then the others."""
    known = list(LOOKS)
    return sorted(dict.fromkeys(labels), key=lambda label: known.index(label) if label in LOOKS else len(known))


def labels_to_show(results: Results, workload_results: list[WorkloadResult]) -> list[str]:
    """Return the labels of all results on some workloads, in order.

    The control is left out, and so is a baseline on fewer cores: it is the same code as the one without its "@1".
    """
    names = {each.workload.name for each in workload_results}
    labels = [row.label for row in results.rows if row.workload in names and row.label != CONTROL]
    return in_order(label for label in labels if "@" not in label)
