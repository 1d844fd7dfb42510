"""A colour and a marker for each implementation, by its name alone: adding one changes no other's.

Families are told apart by hue and by shape, implementations of a family by shade. Hues are Okabe and Ito's, which
readers with deuteranopia can tell apart.
"""

import zlib
from collections.abc import Iterable
from typing import NamedTuple

from bench.records import CONTROL, Results, WorkloadResult


class Look(NamedTuple):
    """How an implementation is drawn everywhere."""

    family: str
    colour: str
    marker: str


MARKERS = {"Python and NumPy": "o", "Numba": "D", "Rust": "s", "framework": "^", "GPU": "v", "MPI": "X", "other": "P"}
COLOURS = {
    "Python and NumPy": {
        "pure_python": "#8c8c8c",
        "per_example": "#4d4d4d",
        "batched_3d": "#6baed6",
        "batched_2d": "#3182bd",
        "in_place": "#08519c",
        "multithreaded": "#17a2c4",
    },
    "Numba": {
        "numba": "#cc79a7",
    },
    "Rust": {
        "rust_per_example": "#f0a860",
        "rust_per_example_blas": "#e08214",
        "rust_batched": "#d6b000",
        "rust_batched_blas": "#b8860b",
        "rust_batched_gemm": "#7a7a00",
        "rust_rayon": "#8c510a",
        "rust_candle": "#5c2d0a",
        "rust_fused": "#c7371b",
    },
    "MPI": {
        "mpi": "#5e3c99",
    },
    "framework": {
        "torch": "#4db392",
        "torch_compiled": "#238b45",
        "torch_ddp": "#a1d99b",
        "rust_tch": "#2c7f8c",
        "jax": "#00441b",
        "tensorflow": "#009e73",
        "rust_tensorflow": "#b5a800",
        "scikit_learn": "#74a63c",
    },
    "GPU": {
        "torch_cuda": "#984ea3",
        "jax_cuda": "#4a1486",
    },
}
OTHER_COLOURS = ("#000000", "#6a51a3", "#b8860b", "#8c2d54")
LOOKS = {
    label: Look(family, colour, MARKERS[family])
    for family, colours in COLOURS.items()
    for label, colour in colours.items()
}


def look(label: str) -> Look:
    """Return the look of an implementation; the check sum of its name picks the colour of one that is not listed."""
    known = LOOKS.get(label.partition("@")[0])
    family = "MPI" if label.startswith("mpi-") else "other"
    return known or Look(family, OTHER_COLOURS[zlib.crc32(label.encode()) % len(OTHER_COLOURS)], MARKERS[family])


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
