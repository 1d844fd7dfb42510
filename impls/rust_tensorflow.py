"""TensorFlow from Rust: a graph, its gradients and a session of the crate `tensorflow`.

What changed from `tensorflow`: the language, and with it the interface. The crate has TensorFlow's first one, in which
a program builds a graph and a session runs it (`impls/rust_tensorflow/src/network.rs`); no Python runs in a step. The
session computes all gradients before it updates any parameter, which the crate's own optimiser leaves to chance. An
epoch is one run of the session per mini-batch, which picks its examples in the graph.

The crate loads the shared library in TensorFlow's package, at the version that is installed. The first instance's
number of threads holds for the process.
"""

import os
from collections.abc import Sequence
from ctypes import CDLL
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # no notes on standard error about CPU features and GPUs

import numpy as np
from backprop_bench_rust_tensorflow import Batch, Network, load
from numpy.typing import DTypeLike, NDArray

from impls.support.errors import RowError
from impls.support.rust import RustNative

LIBRARY = "libtensorflow_cc.so.2"


def load_library() -> str:
    """Load the shared library of the installed TensorFlow for the crate, and return its version. Raises RowError."""
    package = find_spec("tensorflow")
    folder = Path(package.submodule_search_locations[0]) if package and package.submodule_search_locations else Path()
    if not (folder / LIBRARY).is_file():
        raise RowError(f"expected {LIBRARY} in {folder}, as in TensorFlow's package for Linux; found none")
    CDLL(str(folder / LIBRARY))  # from where it is, so that it finds what it needs itself
    with TemporaryDirectory() as link_folder:
        (Path(link_folder) / "libtensorflow.so").symlink_to(folder / LIBRARY)  # the only name that the crate looks for
        os.environ["TENSORFLOW_DIR"] = link_folder
        try:
            return load()
        finally:
            del os.environ["TENSORFLOW_DIR"]


VERSION = load_library()


class RustTensorFlow(RustNative):
    """A graph with its gradients, run by a session from Rust."""

    batch = Batch

    @classmethod
    def build(cls) -> dict[str, str]:
        return {"tensorflow": VERSION}

    def __init__(self, sizes: Sequence[int], batch_size: int, dtype: DTypeLike = "float64", threads: int = 1) -> None:
        super().__init__(sizes, batch_size, dtype, threads)
        self._network = Network(self.sizes, self.dtype.name, self.threads)

    def epoch(self, data: Batch, order: NDArray[np.intp], learning_rate: float) -> None:
        self._network.epoch(data, order, self.batch_size, learning_rate)
