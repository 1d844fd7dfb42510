"""The implementations that are compared, and the registry that finds them.

The registry is one table of names; a row's module is imported only when the row is loaded, so that listing the
rows imports nothing heavy. Third parties add rows by an entry point in the group `backprop_bench.implementations`
or by path, `path/to/file.py:Class`; all three go through `load`.
"""

import difflib
import importlib
import importlib.metadata
import importlib.util
import os
import shutil
import sys
from collections.abc import Callable
from ctypes import CDLL, byref, c_int
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from impls.interface import Implementation

ENTRY_POINTS = "backprop_bench.implementations"
BASELINE = "per_example"


class RowError(Exception):
    """A row that cannot be found or loaded; the message is one line for the user."""


class Unavailable(RowError):
    """A row whose optional dependency is missing; the message names it and the command that installs it."""


@cache
def no_gpu() -> str | None:
    """Return what is missing for a row on an NVIDIA GPU, or None. Asks the driver, which no package installs."""
    count = c_int(0)
    try:
        driver = CDLL("nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1")
    except OSError:
        return "an NVIDIA GPU: no driver found"
    found = driver.cuInit(0) == 0 and driver.cuDeviceGetCount(byref(count)) == 0 and count.value > 0
    return None if found else "an NVIDIA GPU: the driver shows none (CUDA_VISIBLE_DEVICES hides them if it is empty)"


def no_compiler() -> str | None:
    """Return what is missing for a row that compiles C++ as it runs, or None."""
    compilers = (os.environ.get("CXX", ""), "g++", "clang++", "cl")
    return None if any(map(shutil.which, filter(None, compilers))) else "a C++ compiler, such as g++, on PATH"


@dataclass(frozen=True)
class Row:
    """One implementation as the registry knows it."""

    name: str
    target: str  # "module:Class" or "path/to/file.py:Class"
    summary: str
    requires: tuple[str, ...] = ()  # optional modules; a missing one makes the row unavailable
    install: str = ""  # the command that installs them
    lacks: Callable[[], str | None] | None = None  # says what the machine itself lacks, if anything
    framework: bool = False  # a library that a user would pick instead: timed on request
    unseen: str = ""  # what a sampling profiler of Python cannot show of it
    unseen_threads: str = "BLAS's other threads"  # … and, in addition, when it has several threads

    @property
    def source(self) -> str:
        """Return the name of the file that the row is written in."""
        module = self.target.rpartition(":")[0]
        return Path(module).name if module.endswith(".py") else f"{module.rpartition('.')[2]}.py"

    def unavailable(self) -> str | None:
        """Return why this row cannot run here, with what to do, or None. Imports nothing."""
        missing = [module for module in self.requires if importlib.util.find_spec(module) is None]
        if missing:
            return f"needs {' and '.join(missing)}: {self.install}"
        lack = self.lacks and self.lacks()
        return f"needs {lack}" if lack else None


NUMBA = "pip install 'backprop-bench[numba]'"
RUST = ("backprop_bench_rust",)
MAKE = "make rust"
TORCH = "pip install 'backprop-bench[torch]'"
JAX = "pip install 'backprop-bench[jax]'"
JAX_CUDA = "pip install 'jax[cuda13]' or, for an older driver, 'jax[cuda12]'"
TENSORFLOW = "pip install 'backprop-bench[tensorflow]'"
OWN_THREADS = "the library's own threads"  # what a profiler of Python cannot show: …
XLA = "the threads of the library, on which it computes"
GPU = "the GPU, which computes"

ROWS = {
    row.name: row
    for row in (
        Row("pure_python", "impls.pure_python:PurePython", "lists and loops, no NumPy", unseen_threads=""),
        Row("per_example", "impls.per_example:PerExample", "the book's loop, one example at a time; the baseline"),
        Row("batched_3d", "impls.batched_3d:Batched3D", "stacks of column vectors through 3-D matmul"),
        Row("batched_2d", "impls.batched_2d:Batched2D", "the mini-batch as a matrix, one GEMM per product"),
        Row("in_place", "impls.in_place:InPlace", "2-D without temporaries, BLAS does the update"),
        Row(
            "multithreaded",
            "impls.multithreaded:Multithreaded",
            "mini-batch split over Python threads",
            unseen_threads="",
        ),
        Row(
            "numba",
            "impls.numba_jit:NumbaJit",
            "one compiled step, products by SciPy's BLAS",
            ("numba",),
            NUMBA,
            unseen="names of Numba's compiled functions",
            unseen_threads="Numba's other threads",
        ),
        Row(
            "rust_per_example",
            "impls.rust_rows:RustPerExample",
            "the post's Rust, one example at a time",
            RUST,
            MAKE,
            unseen_threads="",
        ),
        Row("rust_per_example_blas", "impls.rust_rows:RustPerExampleBlas", "the same, SciPy's BLAS", RUST, MAKE),
        Row("rust_batched", "impls.rust_rows:RustBatched", "the post's Rust, batched", RUST, MAKE, unseen_threads=""),
        Row("rust_batched_blas", "impls.rust_rows:RustBatchedBlas", "the same, SciPy's BLAS", RUST, MAKE),
        Row(
            "rust_rayon",
            "impls.rust_rows:RustRayon",
            "mini-batch split over rayon",
            RUST,
            MAKE,
            unseen_threads="rayon's threads",
        ),
        Row(
            "rust_fused",
            "impls.rust_rows:RustFused",
            "blocked AVX-512/AVX2/NEON kernels, update fused in",
            RUST,
            MAKE,
            unseen_threads="its own threads",
        ),
        Row(
            "torch",
            "impls.torch_autograd:Torch",
            "PyTorch: nn.Linear, autograd, optim.SGD",
            ("torch",),
            TORCH,
            framework=True,
            unseen_threads=OWN_THREADS,
        ),
        Row(
            "torch_compiled",
            "impls.torch_compile:TorchCompiled",
            "PyTorch: torch.func.grad and the update through torch.compile",
            ("torch",),
            TORCH,
            no_compiler,
            framework=True,
            unseen_threads=OWN_THREADS,
        ),
        Row(
            "torch_cuda",
            "impls.torch_autograd:TorchCuda",
            "torch on an NVIDIA GPU",
            ("torch",),
            TORCH,
            no_gpu,
            framework=True,
            unseen=GPU,
        ),
        Row(
            "jax",
            "impls.jax_grad:Jax",
            "JAX: jit of grad and update, donated buffers",
            ("jax",),
            JAX,
            framework=True,
            unseen=XLA,
        ),
        Row(
            "jax_cuda",
            "impls.jax_grad:JaxCuda",
            "jax on an NVIDIA GPU",
            ("jax", "jax_plugins"),
            JAX_CUDA,
            no_gpu,
            framework=True,
            unseen=GPU,
        ),
        Row(
            "tensorflow",
            "impls.tensorflow_tape:TensorFlow",
            "TensorFlow: GradientTape and update in a tf.function",
            ("tensorflow",),
            TENSORFLOW,
            framework=True,
            unseen=XLA,
        ),
        Row(
            "scikit_learn",
            "impls.scikit_learn:ScikitLearn",
            "MLPClassifier.partial_fit; its cost is the cross-entropy",
            ("sklearn",),
            "pip install scikit-learn",
            framework=True,
        ),
    )
}


def rows() -> dict[str, Row]:
    """Return all known rows by name, third parties' entry points included. Imports none of them."""
    found = dict(ROWS)
    for entry in importlib.metadata.entry_points(group=ENTRY_POINTS):
        if entry.name in found:
            raise RowError(f"two implementations are called {entry.name!r}: one is the entry point {entry.value}")
        found[entry.name] = Row(entry.name, entry.value, f"entry point of {entry.dist.name if entry.dist else '?'}")
    return found


def find(spec: str) -> Row:
    """Return the row for a name or for `path/to/file.py:Class`. Imports nothing."""
    path, colon, class_name = spec.rpartition(":")
    if colon and path.endswith(".py"):
        if not Path(path).is_file():
            raise RowError(f"{spec}: there is no file {path}")
        if class_name in rows():
            raise RowError(f"{spec}: an implementation is already called {class_name!r}; rename the class")
        return Row(class_name, f"{Path(path).resolve()}:{class_name}", f"from {path}")
    known = rows()
    if spec not in known:
        near = difflib.get_close_matches(spec, known, n=1)
        hint = f"did you mean {near[0]}?" if near else f"known: {', '.join(known)}"
        raise RowError(f"unknown implementation {spec!r}; {hint} (or give path/to/file.py:Class)")
    return known[spec]


def load(spec: str) -> type[Implementation]:
    """Import and return the class of a row.

    Raises RowError if there is no such row or it is not an Implementation, Unavailable if an optional
    dependency is missing; any other error of the row's module propagates.
    """
    row = find(spec)
    reason = row.unavailable()
    if reason:
        raise Unavailable(f"{row.name} is unavailable: it {reason}")
    module_name, _, class_name = row.target.rpartition(":")
    module = _import_path(Path(module_name)) if module_name.endswith(".py") else importlib.import_module(module_name)
    found = getattr(module, class_name, None)
    if not (isinstance(found, type) and issubclass(found, Implementation)):
        raise RowError(f"{spec}: expected a subclass of impls.interface.Implementation, found {found!r}")
    if found.__abstractmethods__:
        raise RowError(f"{spec}: {class_name} does not define {', '.join(sorted(found.__abstractmethods__))}")
    return found


def _import_path(path: Path) -> object:
    name = str(path)  # no other module's name, so that a row in json.py does not replace json
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise RowError(f"{path}: not a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses of the row look it up
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module
