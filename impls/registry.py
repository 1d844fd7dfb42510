"""The registry of implementations: one table of names.

The module of an implementation is imported only when it is loaded, so that listing them imports nothing heavy. Third
parties add implementations by an entry point in the group `backprop_bench.implementations` or by path,
`path/to/file.py:Class`; all of them go through `Entry.load`.
"""

import difflib
import importlib.metadata
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from impls.support.errors import RowError, Unavailable
from impls.support.loading import Target, load_target
from impls.support.mpiexec import no_mpiexec
from impls.support.needs import (
    Needs,
    extra_command,
    lacking,
    make_command,
    no_compiler,
    no_gpu,
    pip_command,
    switched_off,
)
from impls.support.text import one_line

if TYPE_CHECKING:
    from impls.interface import Implementation

ENTRY_POINTS = "backprop_bench.implementations"
RESERVED = ("control", "peak", "reference")  # what the benchmark itself measures under these names
NAME = re.compile(r"[\w.-]{1,40}")

NUMPY, COMPILED, RUST_CRATE, RANKS = "Python and NumPy", "Numba", "Rust", "MPI"  # families
FRAMEWORK, GPU, OTHER = "framework", "GPU", "other"


@dataclass(frozen=True)
class Entry:
    """One implementation as the registry knows it."""

    name: str
    target: Target
    summary: str
    needs: Needs | None = None
    family: str = OTHER  # decides colours and marker in plots
    ranks: bool = False  # one process per core, started by mpiexec where there are several
    engine: str = ""  # the implementation that computes a rank's share, where any can
    unseen: str = ""  # what a sampling profiler of Python threads cannot show, even with one thread
    own_name: str = ""  # the implementation's, where `name` is a label that the user gave it
    tree: str = ""  # the folder whose `impls` it is loaded from, for another revision of the project

    @property
    def implementation(self) -> str:
        """Return the implementation's own name, whatever label it has."""
        return self.own_name or self.name

    @property
    def framework(self) -> bool:
        """Return whether this is a library that a user would pick instead, which is timed on request."""
        return self.family in (FRAMEWORK, GPU)

    @property
    def source(self) -> str:
        """Return the name of the file that the implementation is written in."""
        return self.target.path.name if self.target.path else f"{self.target.module.rpartition('.')[2]}.py"

    def unavailable(self) -> str | None:
        """Return why this implementation cannot run here, with what to do, or None. Imports nothing."""
        return self.needs.missing() if self.needs else None

    def load(self) -> "type[Implementation]":
        """Import and return the class.

        Raises Unavailable if an optional dependency is missing, RowError if it is not an Implementation; any other
        error of the module propagates.
        """
        reason = self.unavailable()
        if reason:
            raise Unavailable(f"{self.name} is unavailable: it {reason}")
        return load_target(self.target)


NUMBA = Needs(("numba",), lambda: pip_command("numba"), lambda: switched_off("Numba's compiler", "NUMBA_DISABLE_JIT"))
RUST = Needs(("backprop_bench_rust",), lambda: make_command("rust"), distribution="backprop-bench-rust")
RUST_TCH = Needs(
    ("backprop_bench_rust_tch",),
    lambda: make_command("rust-tch"),  # into an environment of its own
    distribution="backprop-bench-rust-tch",
)
TORCH = Needs(("torch",), lambda: extra_command("torch"))
TORCH_COMPILED = Needs(
    ("torch",),
    TORCH.command,
    lambda: no_compiler() or switched_off("torch.compile", "TORCH_COMPILE_DISABLE", "TORCHDYNAMO_DISABLE"),
)
TORCH_CUDA = Needs(("torch",), TORCH.command, no_gpu)
JAX = Needs(("jax",), lambda: extra_command("jax"), lambda: switched_off("JAX's compiler", "JAX_DISABLE_JIT"))
JAX_CUDA = Needs(("jax", "jax_plugins"), lambda: pip_command("'jax[cuda13]'"), lambda: no_gpu() or JAX.machine())
TENSORFLOW = Needs(("tensorflow",), lambda: extra_command("tensorflow"))
RUST_TENSORFLOW = Needs(
    ("backprop_bench_rust_tensorflow", "tensorflow"),
    lambda: make_command("rust-tensorflow"),
    distribution="backprop-bench-rust-tensorflow",
)
SCIKIT_LEARN = Needs(("sklearn",), lambda: pip_command("scikit-learn"))
MPI = Needs(("mpi4py",), lambda: extra_command("mpi"), no_mpiexec)
TORCH_DDP = Needs(("torch", "mpi4py"), lambda: extra_command("ddp"), no_mpiexec)


def _ours(path: str, summary: str, family: str, needs: Needs | None = None, name: str = "", **declared: Any) -> Entry:
    """Return the entry of a class in `impls`, named as its file where it has no name of its own."""
    name = name or path.partition(":")[0]
    return Entry(name, Target.parse(f"impls.{path}"), summary, needs, family, **declared)


COMPILED_NAMES = "names of Numba's compiled functions"
THREADS = "the threads of the library, on which it computes"
DEVICE = "the GPU, which computes"

ENTRIES = {
    entry.name: entry
    for entry in (
        _ours("pure_python:PurePython", "lists and loops, no NumPy", NUMPY),
        _ours("per_example:PerExample", "the book's loop, one example at a time; the baseline", NUMPY),
        _ours("batched_3d:Batched3D", "stacks of column vectors through 3-D matmul", NUMPY),
        _ours("batched_2d:Batched2D", "the mini-batch as a matrix, one GEMM per product", NUMPY),
        _ours("in_place:InPlace", "2-D without temporaries, BLAS does the update", NUMPY),
        _ours("multithreaded:Multithreaded", "mini-batch split over Python threads", NUMPY),
        _ours(
            "numba:NumbaJit",
            "one compiled step, products by SciPy's BLAS",
            COMPILED,
            NUMBA,
            unseen=COMPILED_NAMES,
        ),
        _ours("rust_per_example:RustPerExample", "the post's Rust, one example at a time", RUST_CRATE, RUST),
        _ours("rust_per_example_blas:RustPerExampleBlas", "the same, SciPy's BLAS", RUST_CRATE, RUST),
        _ours("rust_batched:RustBatched", "the post's Rust, batched", RUST_CRATE, RUST),
        _ours("rust_batched_blas:RustBatchedBlas", "the same, SciPy's BLAS", RUST_CRATE, RUST),
        _ours("rust_batched_gemm:RustBatchedGemm", "the same, the crate gemm", RUST_CRATE, RUST),
        _ours("rust_rayon:RustRayon", "mini-batch split over rayon", RUST_CRATE, RUST),
        _ours("rust_candle:RustCandle", "candle: layers, autograd, SGD, no Python", RUST_CRATE, RUST),
        _ours("rust_fused:RustFused", "blocked AVX-512/AVX2/NEON kernels, update fused in", RUST_CRATE, RUST),
        _ours(
            "mpi:Mpi",
            "mini-batch split over MPI ranks, one Allreduce a step",
            RANKS,
            MPI,
            ranks=True,
            engine="in_place",
        ),
        _ours("torch:Torch", "PyTorch: nn.Linear, autograd, optim.SGD", FRAMEWORK, TORCH),
        _ours(
            "torch_compiled:TorchCompiled",
            "PyTorch: torch.func.grad and the update through torch.compile",
            FRAMEWORK,
            TORCH_COMPILED,
        ),
        _ours("torch:TorchCuda", "torch on an NVIDIA GPU", GPU, TORCH_CUDA, name="torch_cuda", unseen=DEVICE),
        _ours(
            "torch_ddp:TorchDdp",
            "PyTorch on several ranks: DistributedDataParallel over gloo",
            FRAMEWORK,
            TORCH_DDP,
            ranks=True,
        ),
        _ours(
            "rust_tch:RustTch",
            "PyTorch from Rust: tch's layers, autograd and SGD, in .venv-tch",
            FRAMEWORK,
            RUST_TCH,
        ),
        _ours("jax:Jax", "JAX: jit of grad and update, donated buffers", FRAMEWORK, JAX, unseen=THREADS),
        _ours("jax:JaxCuda", "jax on an NVIDIA GPU", GPU, JAX_CUDA, name="jax_cuda", unseen=DEVICE),
        _ours(
            "tensorflow:TensorFlow",
            "TensorFlow: GradientTape and update in a tf.function",
            FRAMEWORK,
            TENSORFLOW,
            unseen=THREADS,
        ),
        _ours(
            "rust_tensorflow:RustTensorFlow",
            "TensorFlow from Rust: a graph with its gradients, run by a session",
            FRAMEWORK,
            RUST_TENSORFLOW,
        ),
        _ours(
            "scikit_learn:ScikitLearn",
            "MLPClassifier.partial_fit; its cost is the cross-entropy",
            FRAMEWORK,
            SCIKIT_LEARN,
        ),
    )
}


def entries() -> dict[str, Entry]:
    """Return all known implementations by name, third parties' entry points included. Imports none of them.

    An entry point whose name cannot be used is listed as unavailable, with its target in the name.
    """
    known = dict(ENTRIES)
    for point in importlib.metadata.entry_points(group=ENTRY_POINTS):
        distribution = point.dist.name if point.dist else "?"
        name, needs = point.name, Needs(distribution=distribution)
        reason = _why_not(name, known)
        if reason:
            needs = lacking(f"another name: {reason}; rename the entry point {one_line(point.value)}")
            name = one_line(f"{name} ({point.value})")
        known[name] = Entry(name, Target.parse(point.value), f"entry point of {distribution}", needs)
    return known


def find(spec: str) -> Entry:
    """Return the entry for a name, for `path/to/file.py:Class`, or for either with a name of its own: `LABEL=…`.

    What stands before the first `=` is a label unless there is a `/` or a `:` in it. Imports nothing. Raises RowError.
    """
    label, named = _label_and_target(spec)
    is_file = Target.parse(named).path is not None
    entry = _from_file(named) if is_file else _registered(named)
    name = entry.name if label is None else label
    if name == entry.name and not is_file:
        return entry
    reason = _why_not(name, entries())
    if reason:
        raise RowError(f"{spec}: {reason}; give yours another name: mine={named}")
    return replace(entry, name=name, own_name=entry.name)


def find_all(specs: Iterable[str]) -> list[Entry]:
    """Return the entries, one that is given twice only once. Imports nothing.

    Raises RowError if two of them have one name.
    """
    chosen: dict[str, Entry] = {}
    for spec in specs:
        entry = find(spec)
        earlier = chosen.setdefault(entry.name, entry)
        if earlier.target != entry.target:
            raise RowError(
                f"two implementations would be called {entry.name!r}: {earlier.summary} and {entry.summary}; "
                f"name them, as in new={_label_and_target(spec)[1]}"
            )
    return list(chosen.values())


def _from_file(spec: str) -> Entry:
    """Return the entry for `path/to/file.py:Class`."""
    target = Target.parse(spec)
    path = Path(target.module)
    if not spec.isprintable():  # nor are bytes that are not UTF-8
        raise RowError(f"{one_line(spec)}: expected a path and a class in printable letters; rename the file")
    if not path.is_file():
        raise RowError(f"{spec}: there is no file {path}")
    return Entry(target.class_name, replace(target, module=str(path.resolve())), f"from {path}")


def _registered(name: str) -> Entry:
    """Return the entry of a name, or of `mpi-ENGINE`."""
    known = entries()
    if name in known:
        return known[name]
    launcher, _, engine = name.partition("-")
    if launcher == "mpi" and engine in known and not known[engine].ranks:
        mpi = known["mpi"]
        needs = mpi.needs if mpi.unavailable() else known[engine].needs or mpi.needs
        target = replace(mpi.target, engine=engine)
        return replace(mpi, name=name, target=target, summary=f"the same, {engine}", needs=needs, engine=engine)
    if Path(name).is_file():
        raise RowError(
            f"{one_line(name)}: expected the name of an implementation or path/to/file.py:Class, found a file; "
            "backprop profile draws a recording, backprop plot a run"
        )
    near = difflib.get_close_matches(name, known, n=1)
    hint = f"did you mean {near[0]}?" if near else f"known: {', '.join(known)}"
    raise RowError(f"unknown implementation {name!r}; {hint} (or give path/to/file.py:Class)")


def _label_and_target(spec: str) -> tuple[str | None, str]:
    """Return a specification's label, None if it has none, and what it names."""
    label, equals, named = spec.partition("=")
    return (label, named) if equals and not set(label) & set("/\\:") else (None, spec)


def _why_not(name: str, known: Mapping[str, Entry]) -> str | None:
    """Return why an implementation cannot be added under a name, or None."""
    if not NAME.fullmatch(name):
        return f"expected a name of up to 40 letters, digits and _ . -, found {name[:80]!r}"
    if name in RESERVED:
        return f"{name!r} is a name of the benchmark's own"
    return f"an implementation is already called {name!r}" if name in known else None
