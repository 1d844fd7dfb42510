"""A colour and a marker for each row that belong to its name: adding a row changes no other's.

Families of rows are told apart by hue and by shape, rows of a family by shade. Hues are Okabe and Ito's, which readers
with deuteranopia can tell apart.
"""

import zlib
from collections.abc import Iterable
from typing import NamedTuple


class Look(NamedTuple):
    """How a row is drawn everywhere."""

    family: str
    colour: str
    marker: str  # matplotlib's


MARKERS = {"Python and NumPy": "o", "Numba": "D", "Rust": "s", "framework": "^", "GPU": "v", "MPI": "X", "other": "P"}
NUMPY = ("#8c8c8c", "#4d4d4d", "#6baed6", "#3182bd", "#08519c", "#17a2c4")
RUST = ("#f0a860", "#e08214", "#d6b000", "#b8860b", "#7a7a00", "#8c510a", "#5c2d0a", "#c7371b")
FRAMEWORKS = ("#4db392", "#238b45", "#a1d99b", "#2c7f8c", "#00441b", "#009e73", "#b5a800", "#74a63c")
OTHERS = ("#000000", "#6a51a3", "#b8860b", "#8c2d54")

NAMES = {
    "Python and NumPy": ("pure_python", "per_example", "batched_3d", "batched_2d", "in_place", "multithreaded"),
    "Numba": ("numba",),
    "Rust": (
        "rust_per_example",
        "rust_per_example_blas",
        "rust_batched",
        "rust_batched_blas",
        "rust_batched_gemm",
        "rust_rayon",
        "rust_candle",
        "rust_fused",
    ),
    "MPI": ("mpi",),
    "framework": (
        "torch",
        "torch_compiled",
        "torch_ddp",
        "rust_tch",
        "jax",
        "tensorflow",
        "rust_tensorflow",
        "scikit_learn",
    ),
    "GPU": ("torch_cuda", "jax_cuda"),
}
COLOURS = {
    "Python and NumPy": NUMPY,
    "Numba": ("#cc79a7",),
    "Rust": RUST,
    "MPI": ("#5e3c99",),
    "framework": FRAMEWORKS,
    "GPU": ("#984ea3", "#4a1486"),
}
LOOKS = {
    name: Look(family, colour, MARKERS[family])
    for family, names in NAMES.items()
    for name, colour in zip(names, COLOURS[family], strict=True)
}


def look(label: str) -> Look:
    """Return the look of a row; one that is not in the list gets the colour that its name's check sum picks."""
    family = "MPI" if label.startswith("mpi-") else "other"  # mpi-ENGINE is made when it is asked for
    known = LOOKS.get(label.partition("@")[0])
    return known or Look(family, OTHERS[zlib.crc32(label.encode()) % len(OTHERS)], MARKERS[family])


def in_order(labels: Iterable[str]) -> list[str]:
    """Return the labels in the order in which every plot has them: ours as they are listed here, then the others."""
    known = list(LOOKS)
    labels = list(dict.fromkeys(labels))
    return sorted(labels, key=lambda label: known.index(label) if label in LOOKS else len(known))
